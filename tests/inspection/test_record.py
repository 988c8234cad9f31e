"""`record`: arrays of whole layers and of selections, their labels, and that results do not change by a bit."""

from __future__ import annotations

import sys

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._tape import differentiable
from cuslayer.inspection.record import Labelled
from cuslayer.inspection.report.contents import contents
from tests.support import reference
from tests.support.refused import refuses

pytestmark = pytest.mark.all

FORWARD = ("weighted", "filtered", "refractory", "potential", "spikes", "surrogate")
ERRORS = ("spikes_error", "potential_error", "weighted_error")
NETS = {"40-30-3": (60, 2, 40), "9x8x2-4c3-2a-6c3-3": (60, 2, 9, 8, 2), "7x6x1-3c2v-3a-2": (40, 3, 7, 6, 1)}


def spikes_for(shape, rate=0.2):
    return np.random.default_rng(0).random(shape) < rate


def step(net, x, **asked):
    """Run forward and backward, with `record` if it has arguments; return spikes, gradients and the recording."""
    for p in net.parameters():
        p.grad = None
    seen = None
    if asked:
        with cs.record(net, **asked) as seen:
            out = net(x)
    else:
        out = net(x)
    out.backward(np.random.default_rng(3).standard_normal(out.shape).astype(np.float32))
    return out.data, [p.grad for p in net.parameters()], seen


def same(one, other):
    return all((a == b).all() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("notation", "gradient", "potentials"),
    [
        ("40-30-3", "exact", "full"),
        ("9x8x2-4c3-2a-6c3-3", "slayer", "full"),
        ("9x8x2-4c3-2a-6c3-3", "exact", "float16"),
    ],
)
def test_recording_changes_no_bit_and_equals_the_layers(notation, gradient, potentials):
    srm = cs.SRM(gradient=gradient)
    net = cs.Network(notation, srm, potentials=potentials)
    x = spikes_for(NETS[notation])
    spikes, grads, _ = step(net, x)
    recorded, recorded_grads, seen = step(net, x, layers=None)
    assert spikes.any()
    assert (spikes == recorded).all()
    assert same(grads, recorded_grads)
    s = x
    for at in range(0, len(net.layers), 2):
        record, weighted = seen[at], net[at](s)
        a = srm.psp(weighted)
        expected = srm.spike(a).data
        assert (record.spikes == expected).all()
        np.testing.assert_allclose(record.weighted, weighted.data, atol=1e-4)
        np.testing.assert_allclose(record.filtered, a.data, atol=2e-3)
        nu = cs.functions.psp(expected, response=srm.refraction)
        np.testing.assert_allclose(record.refractory, nu.data, atol=1e-4)
        np.testing.assert_allclose(record.potential, a.data + nu.data, atol=2e-3)
        assert ((record.potential >= np.float32(srm.theta)) == expected).all()
        rho = np.exp(-abs(record.potential.astype(float) - 10.0) / 10.0) / 10.0
        np.testing.assert_allclose(record.surrogate, rho, rtol=1e-4, atol=1e-30)
        s = expected
    check_errors(net, x, srm, seen, rtol=1e-4 if potentials == "full" else 5e-3)


def check_errors(net, x, srm, seen, rtol):
    """Compare the errors with gradients of the tape, of spikes, filtered and weighted inputs as leaves."""
    upstream = np.random.default_rng(3).standard_normal(net(x).shape).astype(np.float32)
    s = x
    for at in range(0, len(net.layers), 2):
        weighted = cs.Tensor(net[at](s).data, requires_grad=True)
        a = cs.Tensor(srm.psp(weighted).data, requires_grad=True)
        spikes = cs.Tensor(srm.spike(a).data, requires_grad=True)
        out = spikes
        for layer in net.layers[at + 2 :]:
            out = layer(out)
        out.backward(upstream)
        srm.spike(a).backward(spikes.grad)
        srm(weighted).backward(spikes.grad)
        for name, expected in zip(ERRORS, (spikes.grad, a.grad, weighted.grad), strict=True):
            size = abs(expected).max()
            assert size > 0
            np.testing.assert_allclose(getattr(seen[at], name), expected, rtol=0, atol=rtol * size)
        s = spikes.data


@pytest.mark.parametrize(
    ("notation", "gradient", "chosen"), [("9x8x2-4c3-2a-6c3-3", "exact", [1, 0, 1]), ("7x6x1-3c2v-3a-2", "slayer", 1)]
)
def test_a_selection_equals_part_of_the_whole(notation, gradient, chosen):
    net = cs.Network(notation, cs.SRM(gradient=gradient))
    x = spikes_for(NETS[notation])
    spikes, grads, whole = step(net, x, layers=None)
    part_spikes, part_grads, part = step(net, x, neurons=chosen, samples=[1, 0], window=(10, 35))
    assert (spikes == part_spikes).all()
    assert same(grads, part_grads)
    numbers = [chosen] if isinstance(chosen, int) else chosen
    for at in range(1, len(net.layers), 2):
        for name in FORWARD + ERRORS:
            full = getattr(whole[at], name)
            expected = full.reshape(*full.shape[:2], -1)[10:35, [1, 0]][..., numbers]
            found = getattr(part[at], name)
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, abs(full).max()), err_msg=name)
            # Only the selection is stored.
            assert found.values.base is None or found.values.base.nbytes <= found.nbytes


def test_neurons_by_index_and_by_layer():
    net = cs.Network("9x8x2-4c3-2a-6c3-3", cs.SRM())
    x = spikes_for((30, 1, 9, 8, 2))
    _, _, whole = step(net, x, layers=None)
    _, grads, part = step(net, x, neurons={1: [(0, 7, 3), (8, 0, 0)], net[6]: 2}, window=(0, 30))
    assert same(grads, step(net, x)[1])
    np.testing.assert_allclose(part[0].weighted[:, 0, 0], whole[0].weighted[:, 0, 0, 7, 3], atol=1e-4)
    np.testing.assert_allclose(part[1].spikes_error[:, 0, 1], whole[1].spikes_error[:, 0, 8, 0, 0], atol=1e-5)
    assert part[7].potential.shape == (30, 1, 1)
    assert len(part) == 2
    assert part[1].potential.coords["neuron"].tolist() == [31, 256]
    assert part[1].potential.coords["channel"].tolist() == [3, 0]
    with refuses("record: layer 3 was not asked for, only 1, 7"):
        part[2]


def test_without_gradients():
    net = cs.Network("9x8x2-4c3-2a-6c3-3", cs.SRM())
    x = spikes_for((30, 2, 9, 8, 2))
    _, _, whole = step(net, x, layers=None)
    with cs.no_grad(), cs.record(net) as seen:
        out = net(x)
    assert not out.requires_grad
    for at in (1, 3, 5, 7):
        for name in FORWARD:
            assert (getattr(seen[at], name) == getattr(whole[at], name)).all()
        with pytest.raises(ValueError, match=rf"^record: spikes_error of layer {at} .* SRM\) is not there before back"):
            _ = seen[at].spikes_error


def test_every_kind_of_layer():
    srm = cs.SRM()
    delay = cs.Delay(5, dt=1.0, max_delay=9.0)
    first = cs.Dense(6, 5), srm, delay, cs.Dropout(0.5), cs.Dense(5, 4), srm, lambda x: x * 2.0
    net = cs.Sequential(*first, cs.Dense(4, 3), cs.Loihi())
    x = spikes_for((40, 3, 6), rate=0.5)
    cs.seed(4)
    spikes, grads, _ = step(net, x)
    cs.seed(4)
    recorded, recorded_grads, seen = step(net, x, layers=None)
    assert (spikes == recorded).all()
    assert same(grads, recorded_grads)
    assert len(seen) == 6
    assert (seen[2].output == cs.functions.shift(seen[1].spikes.values, delay=delay.delay.data).data).all()
    assert seen[delay].output.dtype == bool
    dropped = seen[3].output
    assert set(np.unique(dropped.values)) <= {0.0, 2.0}
    assert dropped.dims == ("time", "sample", "neuron")
    np.testing.assert_allclose(seen[5].weighted, dropped.values @ net[4].weight.data, atol=1e-5)
    assert (seen[6].output == 2.0 * seen[5].spikes).all()
    np.testing.assert_allclose(seen[5].spikes_error, 2.0 * seen[6].output_error.values, rtol=1e-6)
    loihi = seen[8]
    assert (loihi.spikes == spikes).all()
    assert loihi.weighted_error.any()
    assert ((loihi.potential > net[8].theta) == spikes).all()
    with refuses("record: layer 8 (Dense(4, 3), Loihi) has no filtered, only weighted, potential, spikes,"):
        _ = loihi.filtered
    with refuses("record: layer 3 (Dropout(0.5)) has no potential, only output, output_error"):
        _ = seen[3].potential


def test_a_layer_of_one_neuron():
    """The record has a copy: the column of one neuron is the whole array, which backward overwrites."""
    net = cs.Network("6-1", cs.SRM())
    x = spikes_for((40, 1, 6), rate=0.5)
    _, _, whole = step(net, x, layers=None)
    _, _, one = step(net, x, neurons=[0])
    for name in FORWARD + ERRORS:
        assert (getattr(one[1], name) == getattr(whole[1], name)).all()
    np.testing.assert_allclose(one[1].potential, one[1].filtered + one[1].refractory, atol=1e-5)
    np.testing.assert_allclose(one[1].filtered, cs.SRM().psp(net[0](x)).data, atol=1e-4)


def test_neurons_as_the_first_stage_and_an_input_that_changes_after_the_call():
    net = cs.Sequential(cs.SRM(tau_sr=2.0))
    x = np.zeros((6, 1, 1), np.float32)
    x[0] = 12.0
    with cs.record(net) as seen:
        net(x)
    x[:] = 5.0
    assert seen[0].weighted[:, 0, 0].tolist() == [12, 0, 0, 0, 0, 0]
    assert seen[0].spikes.ravel().tolist() == [False, False, True, False, False, False]


def test_a_weight_hook_is_called_once_a_pass():
    calls = []

    def noisy(weight):
        calls.append(1)
        return weight + cs.Tensor(cs.backend.generator().standard_normal(weight.shape).astype(np.float32))

    net = cs.Sequential(cs.Conv(2, 3, 3, weight_hook=noisy), cs.SRM())
    x = spikes_for((30, 1, 6, 6, 2))
    cs.seed(9)
    spikes, grads, _ = step(net, x)
    cs.seed(9)
    calls.clear()
    recorded, recorded_grads, seen = step(net, x, neurons=[3])
    assert len(calls) == 1
    assert (spikes == recorded).all()
    assert same(grads, recorded_grads)
    np.testing.assert_allclose(cs.SRM().psp(seen[0].weighted.values).data, seen[0].filtered, atol=1e-4)


def test_the_last_call_is_recorded_and_backward_of_another_call_is_not():
    net = cs.Network("4-3", cs.SRM())
    first, second = spikes_for((20, 1, 4), 0.9), spikes_for((30, 2, 4), 0.5)
    with cs.record(net) as seen:
        before = net(first)
        out = net(second)
    net(first)
    assert seen[1].spikes.shape == (30, 2, 3)
    before.backward(np.ones(before.shape, np.float32))
    with refuses("record: spikes_error of layer 1 (Dense(4, 3), SRM) is not there before backward"):
        _ = seen[1].spikes_error
    out.backward(np.full(out.shape, 2.0, np.float32))
    assert (seen[1].spikes_error == 2.0).all()


def test_nested_recorders_and_recorders_of_other_networks():
    net, other = cs.Network("6x6x2-3c3-2a-4", cs.SRM()), cs.Network("4-3", cs.SRM())
    x = spikes_for((20, 1, 6, 6, 2))
    alone = step(net, x, neurons=[1])
    with cs.record(net, layers=[1]) as outer, cs.record(net, neurons=[1]) as inner, cs.record(other) as idle:
        for p in net.parameters():
            p.grad = None
        out = net(x)
    out.backward(np.random.default_rng(3).standard_normal(out.shape).astype(np.float32))
    assert same(alone[1], [p.grad for p in net.parameters()])
    assert (inner[1].potential == alone[2][1].potential).all()
    np.testing.assert_allclose(outer[1].spikes_error[:, :, 0, 0, 1], inner[1].spikes_error[..., 0], atol=1e-5)
    assert len(idle) == 0
    with refuses("record: the network has not been called yet"):
        idle[1]


def test_empty_shapes():
    net = cs.Network("6x6x2-3c3-2a-4", cs.SRM())
    for shape, asked in (((0, 1), {"layers": None}), ((5, 0), {"neurons": [0]})):
        _, _, seen = step(net, np.ones((*shape, 6, 6, 2), bool), **asked)
        assert {getattr(record, name).shape[:2] for record in seen for name in FORWARD + ERRORS} == {shape}


def test_errors():
    srm = cs.SRM()
    net = cs.Sequential(cs.Dense(4, 3), srm, cs.Dense(3, 2), srm, lambda x: x.sum())
    x = np.ones((10, 2, 4), bool)
    for asked, message in (
        ({"layers": cs.Dropout(0.1)}, r"layer Dropout\(0.1\) is none of the network's; its layers are 0 "),
        ({"layers": [1], "neurons": {2: [0]}}, "neurons of layer 3 are asked for, but not that layer$"),
        ({"window": 3}, r"window must be \(start, stop\) in ms, got 3$"),
        ({"window": (5, 5)}, r"window must end after it starts, got 5 to 5 ms$"),
    ):
        with pytest.raises(ValueError, match=f"^record: {message}"):
            cs.record(net, **asked)
    cases = [
        (ValueError, {"window": (5, 5.4)}, r"^record: window must hold a step of 1 ms, got 5 to 5.4 ms$"),
        (ValueError, {"window": (5, 11)}, r"^record: window reaches to 11 ms, the recording ends at 10 ms$"),
        (IndexError, {"samples": 2}, r"^record: sample must be under 2, got 2$"),
        (
            IndexError,
            {"neurons": 3},
            r"^record: neuron 3 lies outside a layer of shape \(3,\), layer 1 .*; neurons=\{1: ...\} chooses ",
        ),
        (TypeError, {"neurons": "a"}, r"^record: neuron must be an integer, got str$"),
        (ValueError, {"layers": 4}, r"^record: the output of layer 4 must be \(T, N, ...\), got shape \(\)$"),
    ]
    for kind, asked, message in cases:
        with pytest.raises(kind, match=message), cs.record(net, **({"layers": [1]} | asked)):
            net(x)


def test_labels():
    net = cs.Network("6x6x2-3c3", cs.SRM(dt=0.5))
    with cs.record(net, window=(2, 7), samples=1) as seen:
        net(spikes_for((20, 2, 6, 6, 2)))
    u = seen[0].potential
    assert isinstance(u, Labelled)
    assert u.dims == ("time", "sample", "row", "column", "channel")
    assert u.shape == (10, 1, 6, 6, 3)
    assert u.coords["time"].tolist() == list(np.arange(2, 7, 0.5))
    assert u.coords["sample"].tolist() == [1]
    assert repr(u) == "Labelled(potential: time 10, sample 1, row 6, column 6, channel 3; float32)"
    assert (type(u + 1.0), type(u[2:4]), len(u)) == (np.ndarray, np.ndarray, 10)
    assert (np.maximum(u, 0.0) == np.maximum(u.values, 0.0)).all()
    assert "time 10, sample 1, row 6, column 6, channel 3; weighted, potential" in repr(seen)


def test_xarray(monkeypatch):
    net = cs.Network("6x6x2-3c3", cs.SRM())
    x = spikes_for((20, 2, 6, 6, 2))
    with cs.record(net, neurons=[(1, 2, 0), (3, 4, 2)]) as seen:
        out = net(x)
    data = seen[0].potential.to_xarray()
    assert (data.sel(time=7.0, sample=1).values == seen[0].potential[7, 1]).all()
    assert data.row.values.tolist() == [1, 3]
    assert set(seen[0].to_xarray()) == set(FORWARD)
    out.backward(np.ones(out.shape, np.float32))
    assert set(seen[0].to_xarray()) == {*FORWARD, *ERRORS}
    monkeypatch.setitem(sys.modules, "xarray", None)
    with pytest.raises(ImportError, match=r"^to_xarray: xarray is not installed; pip install 'cuslayer\[xarray\]'$"):
        seen[0].potential.to_xarray()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(("size", "options"), [(6, (1, -7, True)), (0, (4095, 7, False)), (3, (300, 0, False))])
def test_the_current_is_a_plain_loop(dtype, size, options):
    neuron = cs.Loihi(**dict(zip(("i_decay", "wgt_exp", "first_bin"), options, strict=True)))
    for shape in ((30, 4), (1, 1), (0, 2)):
        x = np.rint(np.random.default_rng(0).standard_normal(shape) * 10**size).astype(dtype)
        found = neuron.current(x)
        assert (found.dtype, found.shape) == (x.dtype, x.shape)
        np.testing.assert_array_equal(found, reference.loihi_current(x, neuron))


def test_a_current_that_is_no_number_is_the_smallest_state():
    x = np.array([[np.inf], [-np.inf], [np.nan], [0.0]], np.float32)
    assert cs.Loihi(i_decay=2048).current(x).ravel().tolist() == [8388607.0, -8388607.0, -8388607.0, -4194303.0]


@pytest.mark.parametrize(("potentials", "gradients"), [("full", False), ("float16", True)])
def test_the_current_of_a_network(potentials, gradients):
    neuron = cs.Loihi(vth_mant=20, ref_delay=2, wgt_exp=-1)
    net = cs.Network("6x5x2-3c3-2a-4", neuron, potentials=potentials)
    x = spikes_for((25, 2, 6, 5, 2), 0.4)
    plain = net(x).data
    with cs.record(net) as seen:
        if gradients:
            net(x)
        else:
            with cs.no_grad():
                net(x)
    for position in (1, 4, 7):
        record = seen[position]
        flat = record.weighted.reshape(25, -1)
        expected = reference.loihi_current(flat, neuron).reshape(record.weighted.shape)
        assert expected.any()
        np.testing.assert_array_equal(record.current, expected)
        # Where the voltage is not held, it is its decayed value and the current.
        v, _ = reference.loihi(flat, neuron)
        np.testing.assert_array_equal(record.potential.reshape(25, -1), v)
    assert (net(x).data == plain).all()
    with cs.record(net, layers=1, neurons=[(0, 0, 1), 5], samples=1, window=(10, 20)) as part:
        net(x)
    whole = seen[1].current[10:20, [1]].reshape(10, 1, -1)
    np.testing.assert_array_equal(part[1].current, whole[..., [1, 5]])


# A subclass of SRM with its own `__call__`: every view has what the network had, or refuses it.


@differentiable
def on_even_steps(s, /):
    kept = np.zeros_like(s)
    kept[::2] = s[::2]

    def pullback(g):
        kept = np.zeros_like(g)
        kept[::2] = g[::2]
        return kept

    return kept, pullback


class EvenSteps(cs.SRM):
    """SRM neurons whose spikes at odd steps are dropped."""

    def __call__(self, x):
        return on_even_steps(super().__call__(x))


CASES = {
    "dense": (
        lambda neuron: [cs.Dense(8, 5, weight_scale=20.0), neuron, cs.Dense(5, 3, weight_scale=20.0), neuron],
        (8,),
    ),
    "conv and pool": (
        lambda neuron: [
            *(cs.Conv(2, 3, 3, padding=1, weight_scale=50.0), neuron, cs.SumPool(2, gain=11.0), neuron),
            *(cs.Dense((3, 3, 3), 2, weight_scale=20.0), neuron),
        ],
        (6, 6, 2),
    ),
}


def of_subclass(name):
    cs.seed(2)
    layers, shape = CASES[name]
    net = cs.Sequential(*layers(EvenSteps(tau_sr=4.0)))
    for p in net.parameters():
        p.data = abs(p.data)
    return net, np.random.default_rng(0).random((40, 2, *shape)) < 0.3


def spikes_by_hand(net, x):
    """Return the spikes of each layer of neurons, called stage by stage."""
    found, y = {}, cs.Tensor(x)
    for at, stage in enumerate(net.layers):
        y = stage(y)
        if at % 2:
            found[at] = y.data
    return found


ALL, SOME = {"layers": None}, {"neurons": [1, 0], "samples": [1], "window": (3, 31)}


@pytest.mark.parametrize(("name", "selected"), [("dense", ALL), ("conv and pool", ALL), ("conv and pool", SOME)])
def test_a_record_has_the_arrays_of_the_network(name, selected):
    net, x = of_subclass(name)
    expected = spikes_by_hand(net, x)
    _, grads, _ = step(net, x)
    out, recorded_grads, recording = step(net, x, **selected)
    assert (out == expected[len(net) - 1]).all()
    assert out.any()
    assert same(grads, recorded_grads)
    for at, spikes in expected.items():
        record = recording[at]
        if "window" in selected:
            spikes = spikes.reshape(*spikes.shape[:2], -1)[3:31, [1]][..., [1, 0]]
        assert (record.spikes == spikes).all()
        odd = slice(0, None, 2) if "window" in selected else slice(1, None, 2)
        assert not record.spikes[odd].any()
        # The potential is the saved one: it reaches the threshold also at odd steps.
        assert ((record.potential >= 10.0) >= record.spikes).all()
        np.testing.assert_allclose(record.surrogate, net[at].surrogate(record.potential), rtol=1e-6)
        assert record.spikes_error.shape == record.weighted_error.shape == record.spikes.shape
        with pytest.raises(ValueError, match=r"EvenSteps\) has no refractory, only weighted, potential, spikes"):
            _ = record.refractory
    assert ((recording[1].potential >= 10.0) > recording[1].spikes).any()


def test_health_and_a_page_have_what_the_network_had_and_others_refuse_it():
    net, x = of_subclass("dense")
    found = cs.diagnose(net, [(x, [0, 1])])
    for at, spikes in spikes_by_hand(net, x).items():
        np.testing.assert_allclose(found[at].rates, 1000.0 * spikes.mean(axis=(0, 1)))
        assert found[at].never == pytest.approx(1.0 - spikes.any(axis=(0, 1)).mean())
    # The page does not know the neurons, so it computes none of them.
    layers = contents(net, x, [0, 0], lambda s, t: s.sum())["layers"][1:]
    assert all(layer["potentials"] and layer["errors"] for layer in layers)
    with refuses("reassign: layer 1 (Dense(8, 5), EvenSteps) has no SRM neurons"):
        cs.reassign(net, x, [0, 1], layer=1, index=2)
    with refuses("compare_gradients: layer 1 must be SRM or Loihi to be relaxed"):
        cs.inspection.compare_gradients(net, x, [0, 1], perturbations=1)
