"""Networks as HDF5: the same output after a round trip, the layout that netx reads, and the errors."""

import re
import sys
import warnings
from functools import partial

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.layers import Average, Shift
from cuslayer.network import Word
from tests.support.lif import LIF
from tests.support.refused import refuses

pytestmark = pytest.mark.all

h5py = pytest.importorskip("h5py")
RNG = np.random.default_rng(6)
SRM = cs.SRM(theta=4.0, gradient="exact", ref_cutoff=1e-4)
LOIHI = cs.Loihi(vth_mant=20, i_decay=900)
TO_CHIP = partial(cs.functions.quantize, step=2)


class Coarse(cs.Loihi):
    """Neurons before which weights are integers from -8 to 4."""

    weight_grid = (3.0, (-8.0, 2.0))


def spikes(shape, steps=40, rate=0.3):
    return np.random.default_rng(1).random((steps, 2, *shape)) < rate


def round_trip(net, tmp_path, shape, **options):
    """Export and import a network, and check that both have the same output, with spikes."""
    path = tmp_path / "trained.net"
    cs.interchange.export_hdf5(net, path, **options)
    again = cs.interchange.import_hdf5(path)
    x = spikes(shape)
    net.train(False)
    a, b = net(x).data, again(x).data
    assert a.any()
    assert (a == b).all()
    assert [p.name for p in tmp_path.iterdir()] == ["trained.net"]
    return again, path


def plain(path):
    """Return the datasets of a file by their path, as h5py has them."""
    found = {}
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item[()]}) if isinstance(item, h5py.Dataset) else None)
    return found


def test_an_srm_network_of_every_layer(tmp_path):
    delay = cs.Delay(12, dt=1.0, max_delay=9.0)
    delay.delay.data[:] = RNG.uniform(0, 9, 12)
    stages = [
        *(cs.Conv(2, 4, (3, 2), stride=(1, 2), padding=(1, 0), dilation=(2, 1), groups=2, weight_scale=9), SRM),
        *(cs.SumPool(2, padding=(0, 1), gain=4.4), cs.SRM(theta=3.0)),
        *(cs.layers.Unpool(2, gain=4.4), SRM),
        *(cs.ConvTranspose(4, 2, 3, stride=2, output_padding=1, weight_scale=9), SRM, Shift(1.0)),
        *(cs.Dropout(0.3), cs.Dense((18, 14, 2), 12, weight_scale=9), SRM, delay),
        Average(3),
    ]
    again, _ = round_trip(cs.Sequential(*stages), tmp_path, (9, 8, 2), input_shape=(9, 8, 2))
    del stages[9]
    assert [repr(layer) for layer in again.layers] == [repr(layer) for layer in stages]


@pytest.mark.parametrize("neuron", [SRM, LOIHI])
@pytest.mark.parametrize("notation", ["7x5x2-6c3-2a-8-5", "5x4x3-6", "6-3-1"])
def test_networks_in_words(tmp_path, notation, neuron):
    net = cs.Network(notation, neuron)
    last = net.parameters()[-1]
    last.data = np.abs(last.data)  # so that the output fires
    again, path = round_trip(net, tmp_path, net.input_shape)
    assert [type(layer) for layer in again.layers] == [type(layer) for layer in net.layers]
    assert again.layers[1] == neuron
    # An imported network can be exported again.
    other = tmp_path / "trained.net"
    cs.interchange.export_hdf5(again, other, input_shape=net.input_shape)
    assert {k: v.tolist() for k, v in plain(path).items()} == {k: v.tolist() for k, v in plain(other).items()}


def test_delays_of_the_chip_are_whole_steps(tmp_path):
    net = cs.Network([Word("5x4x2"), Word("3c3", delay=True), Word("6", delay=True)], cs.Loihi(20, dt=0.5))
    for layer in net.layers:
        if isinstance(layer, cs.Delay):
            layer.delay.data[:] = RNG.uniform(0, 5, layer.delay.shape)
    _, path = round_trip(net, tmp_path, (5, 4, 2))
    expected = np.floor(net.layers[3].delay.data / 0.5)
    assert plain(path)["layer/1/delay"].tolist() == expected.tolist()
    assert plain(path)["layer/1/maxDelay"] == 31.0
    each = cs.Sequential(cs.Conv(2, 3, 3), SRM, cs.Delay((3, 2, 3), dt=1.0))
    each.layers[2].delay.data[:] = RNG.uniform(0, 5, (3, 2, 3))
    again, path = round_trip(each, tmp_path, (5, 4, 2), input_shape=(5, 4, 2))
    assert plain(path)["layer/1/delay"].shape == (3, 3, 2)
    assert (again.layers[2].delay.data == np.floor(each.layers[2].delay.data)).all()


@pytest.mark.parametrize("kind", ["of the sender", "of the receiver", "each", "none"])
def test_delays_of_synapses_are_those_of_the_neurons_before_them(tmp_path, kind):
    layer = cs.Dense((3, 2, 3), 4, delays=cs.SynapticDelays(5.0, dt=1.0))
    drawn = RNG.uniform(0, 5, (18, 4)).astype(np.float32)
    layer.delays.delay.data[...] = {"of the sender": drawn[:, :1], "of the receiver": drawn[:1], "each": drawn}.get(
        kind, 3
    )
    net = cs.Sequential(cs.Conv(2, 3, 3), SRM, layer, SRM)
    if kind in ("of the receiver", "each"):
        with refuses("export_hdf5: layer 2, Dense((3, 2, 3), 4, delays=SynapticDelays(5)), must have one delay"):
            cs.interchange.export_hdf5(net, tmp_path / "a.net", input_shape=(5, 4, 2))
        return
    again, _ = round_trip(net, tmp_path, (5, 4, 2), input_shape=(5, 4, 2))
    assert (again[2].delay.data.reshape(18) == np.rint(layer.delays.delay.data[:, 0])).all()


def test_as_netx_reads(tmp_path):
    """The names, shapes and types that netx requires, and a step of each layer computed from them."""
    net = cs.Network("6x5x2-4c3-7", LOIHI)
    path = tmp_path / "trained.net"
    cs.interchange.export_hdf5(net, path)
    found = plain(path)
    assert found["simulation/Ts"] == 1.0
    assert [found[f"layer/{i}/type"][0].decode() for i in range(4)] == ["input", "conv", "flatten", "dense"]
    assert [found[f"layer/{i}/shape"].tolist() for i in range(4)] == [[2, 6, 5], [4, 6, 5], [120, 1, 1], [7, 1, 1]]
    for i in (1, 3):
        assert found[f"layer/{i}/neuron/type"][0].decode("ascii") == "LOIHI"
        for name in ("iDecay", "vDecay", "vThMant", "refDelay", "wgtExp"):
            assert np.issubdtype(found[f"layer/{i}/neuron/{name}"].dtype, np.integer), name
    assert found["layer/1/neuron/iDecay"] == 900
    for name, value in {"kernelSize": [3, 3], "stride": [1, 1], "padding": [1, 1], "dilation": [1, 1]}.items():
        assert found[f"layer/1/{name}"].tolist() == value
    names = ("inChannels", "outChannels", "groups")
    assert [found[f"layer/1/{name}"].item() for name in names] == [2, 4, 1]
    assert [found[f"layer/3/{name}"].item() for name in ("inFeatures", "outFeatures")] == [120, 7]
    conv, dense = found["layer/1/weight"], found["layer/3/weight"]
    assert (conv.shape, dense.shape) == ((4, 2, 3, 3), (7, 120))
    for weight in (conv, dense):
        assert (weight == weight.astype(int)).all()
        assert not (weight % 2).any()
    x = spikes((6, 5, 2), steps=1)
    frame = np.pad(x[0, 0].transpose(2, 0, 1), ((0, 0), (1, 1), (1, 1)))
    maps = np.array([[(conv * frame[:, r : r + 3, c : c + 3]).sum(axis=(1, 2, 3)) for c in range(5)] for r in range(6)])
    assert (net.layers[0](x).data[0, 0] == maps).all()
    fired = RNG.random((6, 5, 4)) < 0.3
    assert (net.layers[3](fired[None, None]).data[0, 0] == dense @ fired.transpose(2, 0, 1).ravel()).all()


def test_the_input_has_no_neuron(tmp_path):
    """netx then takes spikes at its input, flat before a dense layer, since it flattens no input."""
    path, net = tmp_path / "a.net", cs.Network("5x4x2-6-2", SRM)
    cs.interchange.export_hdf5(net, path)
    found = plain(path)
    assert {name for name in found if name.startswith("layer/0/")} == {
        f"layer/0/{n}" for n in ("type", "shape", "frame")
    }
    assert [found[f"layer/{i}/type"][0].decode() for i in range(3)] == ["input", "dense", "dense"]
    assert (found["layer/0/shape"].tolist(), found["layer/0/frame"].tolist()) == ([40, 1, 1], [2, 5, 4])
    # The weight of the first layer multiplies the flat input in C, H, W order.
    x = spikes((5, 4, 2), steps=6)
    flat = x.transpose(0, 1, 4, 2, 3).reshape(6, 2, -1)
    np.testing.assert_allclose(flat @ found["layer/1/weight"].T, net[0](x).data, rtol=1e-5, atol=1e-4)


def test_a_refractory_delay_is_kept_with_a_warning(tmp_path):
    net = cs.Network("6-4", cs.Loihi(20, ref_delay=3))
    with pytest.warns(UserWarning, match="^export_hdf5: netx ignores that Loihi neurons have a ref_delay of 3$"):
        cs.interchange.export_hdf5(net, tmp_path / "a.net")
    assert cs.interchange.import_hdf5(tmp_path / "a.net")[1] == cs.Loihi(20, ref_delay=3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        cs.interchange.export_hdf5(cs.Network("6-4", cs.Loihi(20)), tmp_path / "a.net")
        cs.interchange.export_hdf5(cs.Network("6-4", SRM), tmp_path / "a.net")


# Convolutions with one input channel, one map, one row; and all of these with pooling over one pixel.
SQUEEZED = [
    ([cs.Conv(2, 1, 3, weight_scale=60)], (5, 5, 2)),
    ([cs.Conv(2, 3, (1, 4), padding=(0, 1), weight_scale=60)], (5, 6, 2)),
    ([cs.Conv(3, 3, (1, 3), groups=3, weight_scale=60)], (2, 6, 3)),
    ([cs.ConvTranspose(1, 2, 3, weight_scale=60)], (3, 3, 1)),
    ([cs.Conv(1, 2, 1, weight_scale=60), LOIHI, cs.SumPool(1, gain=40.0), LOIHI, cs.Dense((1, 5, 2), 1)], (1, 5, 1)),
]


@pytest.mark.parametrize("time_axis", [False, True])
@pytest.mark.parametrize(("layers", "shape"), SQUEEZED)
def test_axes_of_size_one_are_dropped(tmp_path, layers, shape, time_axis):
    """As SLAYER-PyTorch's genModel writes weights: squeezed; lava-dl's have an axis of time at the end."""
    random = np.random.default_rng(0)
    for layer in layers:
        if hasattr(layer, "weight_hook") and not isinstance(layer, cs.SumPool):
            layer.weight.data = 2 * random.integers(0, 20, layer.weight.shape).astype(np.float32)
    net = cs.Sequential(*layers, LOIHI)
    path = tmp_path / "trained.net"
    cs.interchange.export_hdf5(net, path, input_shape=shape)
    with h5py.File(path, "a") as file:
        for name in list(file["layer"]):
            if "weight" in file[f"layer/{name}"]:
                weight = file[f"layer/{name}/weight"][()]
                del file[f"layer/{name}/weight"]
                file[f"layer/{name}/weight"] = weight[..., None] if time_axis else weight.squeeze()
    x = spikes(shape)
    assert net(x).data.any()
    assert (cs.interchange.import_hdf5(path)(x).data == net(x).data).all()


def test_files_as_slayer_pytorch_writes_them(tmp_path):
    """Axes of size 1 dropped, one integer for two, theta beside vThMant, no delayShift."""
    net = cs.Network("6x6x2-4c3-2a-1", LOIHI)
    path = tmp_path / "trained.net"
    cs.interchange.export_hdf5(net, path)
    with h5py.File(path, "a") as file:
        for i in (1, 2, 4):
            layer = file[f"layer/{i}"]
            del layer["delayShift"]
            layer["neuron/theta"] = 1280
            for name in ("kernelSize", "stride", "padding", "dilation"):
                if name in layer:
                    one = layer[name][0]
                    del layer[name]
                    layer[name] = one
        weight = file["layer/4/weight"][0]
        del file["layer/4/weight"]
        file["layer/4/weight"] = weight
    x = spikes((6, 6, 2))
    assert net(x).data.any()
    assert (cs.interchange.import_hdf5(path)(x).data == net(x).data).all()


def test_hooks_are_in_the_weights(tmp_path):
    pools = cs.SumPool(2, 3.0, weight_hook=lambda w: w * 3.0), SRM, cs.layers.Unpool(2, 7.0, weight_hook=TO_CHIP), SRM
    again, _ = round_trip(cs.Sequential(*pools), tmp_path, (4, 4, 1), input_shape=(4, 4, 1))
    assert [layer.gain for layer in again.layers[::2]] == [9.0, 8.0]
    net = cs.Sequential(cs.Dense(6, 4, weight_hook=lambda w: w * 3.0), SRM)
    again, _ = round_trip(net, tmp_path, (6,))
    assert (again.layers[0].weight.data == net.layers[0].weight.data * np.float32(3)).all()


def uneven(w):
    return w * np.arange(4, dtype=np.float32).reshape(2, 2, 1, 1)


def dense(**options):
    return cs.Dense(3, 2, **options)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([cs.Conv(1, 1, 1), SRM], r"input_shape is needed, \(H, W, C\) or \(N,\): the network's layers do not tell it"),
        ([dense()], r"Dense\(3, 2\) has no neurons behind it"),
        ([dense(), SRM, SRM], r"layer 2, SRM\(.*\), has no place in the file"),
        ([dense(), SRM, Shift(2.0)], r"layer 2, Shift\(2, dt=1\), must be one shift of one step, behind the neurons"),
        ([dense(), SRM, Shift(1.0), Shift(1.0)], r"layer 3, Shift\(1, dt=1\), must be one shift"),
        ([dense(), SRM, cs.Delay(2, dt=1.0), Shift(1.0)], r"layer 3, Shift\(1, dt=1\), must be one shift of one step"),
        ([dense(), SRM, cs.Delay(2, dt=1.0), cs.Delay(2, dt=1.0)], r"layer 3, Delay\(.*\), must be one delay in whole"),
        ([dense(), SRM, cs.Delay(2, dt=1.0, mode="linear")], r"layer 2, Delay\(.*\), must be one delay in whole steps"),
        ([dense(weight_scale=0.1), LOIHI], r"Dense\(3, 2\) must have integer weights from -256 to 255 before Loihi"),
        ([cs.SumPool(1, 5.0), Coarse()], r"SumPool\(.*\) must have integer weights from -8 to 4 before Coarse neurons"),
        ([cs.SumPool(2, 5.0, weight_hook=uneven), SRM], r"SumPool\(.*\) must have one weight for all its inputs, got"),
        ([dense(), LIF()], r"layer 1, .*LIF.*, has no place in the file"),
        (
            [cs.SumPool(1, 5.0), SRM, cs.Dense(1, 2), SRM],
            r"layer 2, Dense\(1, 2\), .*: it maps each place of \(4, 4, 1\)",
        ),
    ],
)
def test_errors_of_export(tmp_path, layers, message):
    options = {"input_shape": (4, 4, 1)} if isinstance(layers[0], cs.SumPool) else {}
    with pytest.raises(ValueError, match=f"^export_hdf5: {message}"):
        cs.interchange.export_hdf5(cs.Sequential(*layers), tmp_path / "a.net", **options)
    assert not list(tmp_path.iterdir())


def test_no_network(tmp_path):
    with refuses("export_hdf5: the network has no layers"):
        cs.interchange.export_hdf5(cs.Sequential(), tmp_path / "a.net", input_shape=(3,))
    with refuses("export_hdf5: net must be a network"):
        cs.interchange.export_hdf5(dense(), tmp_path / "a.net")


NOT_FLOAT32 = (np.nan, np.inf, 1e300, -1e39)


def spoil(file, name, value=None):
    if name in file:
        del file[name]
    if value is not None:
        file[name] = value


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("simulation/Ts", 0.0, "simulation/Ts must be positive, got 0"),
        ("layer/1", None, "layer/1 is missing"),
        ("layer/1/type", b"cov", "layer/1/type must be one of .*, got 'cov'; did you mean conv"),
        ("layer/1/type", b"input", "layer/1/type is input, which must be the first layer"),
        ("layer/1/shape", [4, 0, 5], "layer/1/shape must be whole numbers from 1 to 2,147,483,648, got 0"),
        ("layer/1/shape", [4, 5], "layer/1/shape must be three numbers from 1, got array"),
        *(
            (f"layer/{i}/weight", x, f"layer/{i}/weight must be .*, got {re.escape(f'{x:g}')} in it")
            for i in (1, 2, 4)
            for x in NOT_FLOAT32
        ),
        *(
            ("layer/1/delay", x, f"layer/1/delay must be .*, got {re.escape(f'{x:g}')}")
            for x in (*NOT_FLOAT32, -3, 1.5, 1e30, 65536)
        ),
        *(
            (f"layer/1/{name}", 1.5, f"layer/1/{name} must be .*, got 1.5")
            for name in ("groups", "inChannels", "shape")
        ),
        ("layer/1/weight", None, "layer/1/weight is missing"),
        ("layer/1/weight", np.zeros((4, 2, 3, 2)), r"layer/1/weight has shape \(4, 2, 3, 2\), its layer expects 72 n"),
        ("layer/1/kernelSize", [1, 2, 3], "layer/1/kernelSize must be one integer or two, got 3"),
        ("layer/1/neuron/type", b"RF", "layer/1/neuron/type must be one of SRNN, SRMALPHA, SIGMADELTA, RESONATE, "),
        ("layer/1/neuron/vDecay", 0, "layer/1/neuron/vDecay must be at least 1, got 0"),
        ("layer/2/weight", [[28, 28], [28, 27]], "layer/2/weight of a pool layer must be one number throughout"),
        ("layer/4/weight", np.zeros((3, 8)), r"layer/4/weight has shape \(3, 8\), its layer expects 108 numbers"),
    ],
)
def test_a_wrong_file_is_named(tmp_path, name, value, message):
    path = tmp_path / "a.net"
    cs.interchange.export_hdf5(cs.Network("6x6x2-4c3-2a-3", LOIHI), path)
    with h5py.File(path, "a") as file:
        shape = file[name].shape if name.endswith("weight") and np.ndim(value) == 0 and value is not None else ()
        spoil(file, name, np.full(shape, value) if shape else value)
    with pytest.raises(ValueError, match=rf"^import_hdf5: .*a\.net: {message}"):
        cs.interchange.import_hdf5(path)


def test_the_extra_is_named(tmp_path, monkeypatch):
    net = cs.Network("3-2", SRM)
    cs.interchange.export_hdf5(net, tmp_path / "a")
    monkeypatch.setitem(sys.modules, "h5py", None)
    for use in (
        lambda: cs.interchange.export_hdf5(net, tmp_path / "b"),
        lambda: cs.interchange.import_hdf5(tmp_path / "a"),
    ):
        with pytest.raises(ImportError, match=r"port_hdf5: h5py is not installed; pip install 'cuslayer\[hdf5\]'"):
            use()


def test_a_shift_is_where_the_file_has_one(tmp_path):
    """Also of Loihi neurons, which a `Network` follows with a shift."""
    stages = [cs.Dense(6, 5), LOIHI, cs.Dense(5, 4), LOIHI, Shift(1.0)]
    for layer in stages[::2][:2]:
        layer.weight.data = RNG.integers(20, 100, layer.weight.shape).astype(np.float32)
    again, path = round_trip(cs.Sequential(*stages), tmp_path, (6,))
    assert [type(layer) for layer in again.layers] == [type(stage) for stage in stages]
    assert [bool(plain(path)[f"layer/{at}/delayShift"]) for at in (1, 2)] == [False, True]
    for neuron, expected in ((SRM, [cs.Dense, cs.SRM]), (LOIHI, [cs.Dense, cs.Loihi, Shift])):
        path = tmp_path / "trained.net"
        cs.interchange.export_hdf5(cs.Network("3-2", neuron), path)
        with h5py.File(path, "a") as file:
            del file["layer/1/delayShift"]
        assert [type(layer) for layer in cs.interchange.import_hdf5(path).layers] == expected


@pytest.mark.parametrize(("weights", "fit"), [((-256, 255), True), ((-257, 255), False), ((-256, 256), False)])
def test_weights_of_the_chip_are_eight_bits_and_a_sign(tmp_path, weights, fit):
    layer = cs.Dense(2, 1)
    layer.weight.data = np.array(weights, np.float32)[:, None]
    net = cs.Sequential(layer, LOIHI)
    if fit:
        cs.interchange.export_hdf5(net, tmp_path / "a.net")
        assert plain(tmp_path / "a.net")["layer/1/weight"].tolist() == [list(weights)]
    else:
        with refuses(
            "export_hdf5: Dense(2, 1) must have integer weights from -256 to 255 before Loihi neurons",
            f"got {weights[0]} to {weights[1]}; quantize",
        ):
            cs.interchange.export_hdf5(net, tmp_path / "a.net")


def test_neurons_with_constants_that_are_none(tmp_path):
    net, x = cs.Network("6-5-3", cs.LIF(tau=7.0)), np.random.default_rng(0).random((30, 2, 6)) < 0.5
    cs.interchange.export_hdf5(net, tmp_path / "lif.net")
    assert (cs.interchange.import_hdf5(tmp_path / "lif.net")(x).data == net(x).data).all()
