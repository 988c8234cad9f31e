"""SLAYER-PyTorch's axes and parameters: each layer equals its formula in NCHWT."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.interchange import from_nchwt, load_slayer, to_nchwt
from cuslayer.layers import Average, TemporalFilter
from cuslayer.network import Word
from tests.support import reference
from tests.support.refused import refused, refuses

RNG = np.random.default_rng(4)
SRM = cs.SRM()


def conv_nchwt(x, w, stride, padding, groups):
    """Correlate (N, C, H, W, T) with a Conv3d weight (O, C / groups, kh, kw, 1), in plain loops."""
    n, c, h, w_, t = x.shape
    options = ((stride,) * 2, (padding,) * 2, (1, 1), groups)
    y = reference.conv(x.transpose(0, 4, 2, 3, 1).reshape(n * t, h, w_, c), w[..., 0].transpose(2, 3, 1, 0), *options)
    return y.reshape(n, t, *y.shape[1:]).transpose(0, 4, 2, 3, 1)


def frames(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def same(ours, theirs):
    np.testing.assert_allclose(to_nchwt(ours), theirs, rtol=1e-4, atol=1e-4)


def test_axes_round_trip():
    for shape in ((2, 3, 4, 5, 6), (1, 3, 1, 1, 4), (2, 0, 1, 1, 3), (0, 2, 3, 4, 5), (2, 3, 1, 5, 0)):
        x = RNG.standard_normal(shape)
        y = from_nchwt(x)
        assert y.flags.c_contiguous
        assert y.shape == ((shape[4], *shape[:2]) if shape[2:4] == (1, 1) else tuple(shape[i] for i in (4, 0, 2, 3, 1)))
        back = to_nchwt(y)
        assert back.flags.c_contiguous
        assert (back == x).all()
    x = RNG.standard_normal((2, 3, 4, 5, 6))
    assert from_nchwt(x)[5, 1, 2, 3, 0] == x[1, 0, 2, 3, 5]


def test_spikes_and_the_factor_of_their_height():
    x = RNG.random((2, 3, 4, 5, 6)) < 0.3
    for dt in (1.0, 0.5, 0.1):
        theirs = x.astype(np.float32) / np.float32(dt)
        ours = from_nchwt(theirs, dt=dt)
        assert ours.dtype == bool
        assert (to_nchwt(ours) == x).all()
        again = to_nchwt(ours, dt=dt)
        assert again.dtype == np.float32
        np.testing.assert_allclose(again, theirs, rtol=1e-6)
    assert (from_nchwt(x, dt=0.5) == from_nchwt(x)).all()
    given = x.astype(np.float32)
    from_nchwt(given)[:] = 5
    assert (given == x).all()


def test_errors_of_axes():
    ones, spikes = np.ones((1, 1, 1, 1, 1)), np.zeros((1, 1, 1), bool)
    for kind, message, work in (
        (ValueError, r"from_nchwt: x must be \(N, C, H, W, T\), got shape", lambda: from_nchwt(ones[0])),
        (ValueError, "from_nchwt: x must be 0 or 1/dt = 2 where dt is given", lambda: from_nchwt(ones, dt=0.5)),
        (ValueError, "from_nchwt: x must be 0 or 1/dt = 2 where dt is given", lambda: from_nchwt(-2 * ones, dt=0.5)),
        (ValueError, "from_nchwt: dt must be positive, got 0", lambda: from_nchwt(ones, dt=0)),
        (TypeError, "from_nchwt: x must be an array, got list", lambda: from_nchwt([1])),
        (ValueError, r"to_nchwt: x must be \(T, N, H, W, C\) or \(T, N, C\), got shape", lambda: to_nchwt(np.zeros(1))),
        (TypeError, "to_nchwt: x must be boolean spikes where dt", lambda: to_nchwt(np.zeros((1, 1, 1)), dt=1.0)),
        (ValueError, "to_nchwt: dt must be positive, got -1", lambda: to_nchwt(spikes, dt=-1)),
    ):
        with pytest.raises(kind, match=message):
            work()


@pytest.mark.parametrize(("stride", "padding", "groups"), [(1, 0, 1), (2, 1, 1), (1, 1, 2)])
def test_a_convolution_equals_slayers(stride, padding, groups):
    conv = cs.Conv(4, 6, (3, 2), stride=stride, padding=padding, groups=groups)
    w = frames(6, 4 // groups, 3, 2, 1)
    found = load_slayer({"conv1.weight": w}, cs.Sequential(conv, SRM))
    assert (found["conv1.weight"] == conv.weight.data).all()
    x = frames(2, 4, 6, 5, 3)
    same(conv(from_nchwt(x)), conv_nchwt(x, w, stride, padding, groups))


def test_a_dense_layer_of_frames_equals_slayers():
    dense = cs.Dense((6, 5, 2), 7)
    w = frames(7, 2, 6, 5, 1)
    x = frames(2, 2, 6, 5, 3)
    theirs = conv_nchwt(x, w, 1, 0, 1)
    load_slayer({"fc1.weight": w}, cs.Sequential(dense))
    same(dense(from_nchwt(x)), theirs)
    dense.weight.data[:] = 0
    # As in SLAYER's example: the input is reshaped to channels, and the weight is over them.
    load_slayer({"fc1.weight": w.reshape(7, -1, 1, 1, 1)}, cs.Sequential(dense))
    same(dense(from_nchwt(x)), theirs)
    flat = cs.Dense(60, 7)
    load_slayer({"fc1.weight": w.reshape(7, -1, 1, 1, 1)}, cs.Sequential(flat))
    same(flat(from_nchwt(x.reshape(2, -1, 1, 1, 3))), theirs)


def test_a_transposed_convolution_equals_slayers():
    layer = cs.ConvTranspose(2, 3, 2, stride=2)
    w = frames(2, 3, 2, 2, 1)
    load_slayer({"up.weight": w}, cs.Sequential(layer))
    x = frames(1, 2, 3, 4, 2)
    theirs = np.zeros((1, 3, 6, 8, 2))
    for r, c in np.ndindex(3, 4):
        theirs[:, :, 2 * r : 2 * r + 2, 2 * c : 2 * c + 2] += np.einsum("nct,cohw->nohwt", x[:, :, r, c], w[..., 0])
    same(layer(from_nchwt(x)), theirs)


def test_filters_and_delays_equal_slayers():
    psp, bank = TemporalFilter(SRM), cs.layers.FilterBank(3, 5)
    delay, each = cs.Delay(2, dt=1.0), cs.Delay((4, 5, 2), dt=1.0)
    taps = len(SRM.response)
    state = {
        "slayer.srmKernel": np.zeros(taps),
        "psp.weight": frames(1, 1, 1, 1, taps),
        "bank.weight": frames(3, 1, 1, 1, 5),
        "d1.delay": RNG.random((2, 1, 1)) * 9,
        "d2.delay": RNG.random((2, 4, 5)) * 9,
    }
    found = load_slayer(state, cs.Sequential(psp, bank, delay, each))
    assert found.keys() == {"psp.weight", "bank.weight", "d1.delay", "d2.delay"}
    assert (psp.weight.data == state["psp.weight"].ravel()[::-1]).all()
    assert (bank.weight.data == state["bank.weight"][:, 0, 0, 0, ::-1]).all()
    np.testing.assert_allclose(delay.delay.data, state["d1.delay"].ravel(), rtol=1e-6)
    np.testing.assert_allclose(each.delay.data, state["d2.delay"].transpose(1, 2, 0), rtol=1e-6)
    assert delay.delay.data.dtype == np.float32


def test_normalized_weights_are_computed():
    v, g = frames(6, 2, 3, 3, 1), frames(6, 1, 1, 1, 1)
    w = g * v / np.sqrt((v**2).sum(axis=(1, 2, 3, 4), keepdims=True))
    state = {"module.conv1.weight_g": g, "module.conv1.weight_v": v}
    for hook in (None, cs.WeightNorm()):
        conv = cs.Conv(2, 6, 3, weight_hook=hook)
        load_slayer(state, cs.Sequential(conv))
        used = conv.effective_weight().data
        np.testing.assert_allclose(used, w[..., 0].transpose(2, 3, 1, 0), rtol=1e-5, atol=1e-6)
    silent = load_slayer({"a.weight_g": g, "a.weight_v": np.zeros_like(v)})
    assert not silent["a.weight"].any()


def test_slayers_cnn_in_the_order_of_its_definition():
    net = cs.Network("34x34x2-16c5-2a-32c3-2a-64c3-10", SRM)
    shapes = {"conv1": (16, 2, 5, 5, 1), "conv2": (32, 16, 3, 3, 1), "conv3": (64, 32, 3, 3, 1)}
    state = {f"{name}.weight": frames(*shape) for name, shape in shapes.items()}
    state["slayer.refKernel"] = np.zeros(8)
    state |= {f"{pool}.weight": np.full((1, 1, 2, 2, 1), 11.0, np.float32) for pool in ("pool1", "pool2")}
    state["fc1.weight"] = frames(10, 64, 9, 9, 1)
    found = load_slayer(state, net)
    assert [p.shape for p in net.parameters()] == [(5, 5, 2, 16), (3, 3, 16, 32), (3, 3, 32, 64), (9 * 9 * 64, 10)]
    assert (net.parameters()[3].data == found["fc1.weight"].reshape(-1, 10)).all()
    assert found["pool1.weight"].shape == (2, 2, 1, 1)
    mixed = {key: state[key] for key in ("fc1.weight", "conv2.weight", "conv1.weight", "conv3.weight")}
    with refuses("load_slayer: fc1.weight has shape (10, 64, 9, 9, 1), layer 0 expects (16, 2, 5, 5, 1)"):
        load_slayer(mixed, net)
    before = net.state()
    load_slayer(mixed, net, names=["conv1", "conv2", "conv3", "fc1"])
    assert all((net.state()[name] == array).all() for name, array in before.items())
    state["pool2.weight"][:] = 12.0
    refused("load_slayer: pool2.weight has the gain 12, the network has 11, 11", lambda: load_slayer(state, net))
    with refuses("load_slayer: pool2.weight has the gain 12, the network has no pooling"):
        load_slayer({"pool2.weight": state["pool2.weight"]}, cs.Sequential(Average(2)))


def test_errors_leave_the_network_as_it_was():
    net = cs.Network([Word("4"), Word("3", delay=True, max_delay=5.0), Word("2")], SRM)
    before = net.state()
    good = {"fc1.weight": frames(3, 4, 1, 1, 1), "fc2.weight": frames(2, 3, 1, 1, 1), "d.delay": np.ones((3, 1, 1))}
    wrong = [
        ({"fc2.weight": frames(2, 4, 1, 1, 1)}, r"fc2\.weight has shape \(2, 4, 1, 1, 1\), layer 3 expects \(2, 3, 1"),
        ({"d.delay": np.ones((2, 1, 1))}, r"d\.delay has shape \(2, 1, 1\), layer 2 expects \(3, 1, 1\)"),
        ({"d.delay": np.full((3, 1, 1), 6.0)}, r"d\.delay must lie in 0 to 5 ms, got 6 to 6"),
        ({"d.delay": np.full((3, 1, 1), -0.5)}, r"d\.delay must lie in 0 to 5 ms, got -0.5"),
        (
            {"fc3.weight": frames(2, 2, 1, 1, 1)},
            r"the state has 3 weight arrays \(fc1\.weight, fc2\.weight, fc3\.weight",
        ),
        ({"f.weight": frames(2, 1, 1, 1, 9)}, r"the state has 1 filter arrays \(f\.weight\), the network 0 filter"),
        ({"fc1.bias": frames(3)}, r"fc1\.bias of shape \(3,\) is no weight, filter or delay of SLAYER's"),
        ({"a.weight": frames(2, 3, 1, 1, 2)}, r"a\.weight of shape \(2, 3, 1, 1, 2\) is no weight"),
        ({"a.weight_g": frames(2, 1, 1, 1, 1)}, r"a\.weight_v is missing; the state has a\.weight_g"),
        (
            {"a.weight_g": frames(2, 1), "a.weight_v": frames(2, 3, 1, 1, 1)},
            r"a\.weight_g has shape \(2, 1\), a\.weight_v",
        ),
    ]
    for spoilt, message in wrong:
        with pytest.raises(ValueError, match=f"^load_slayer: {message}"):
            load_slayer(good | spoilt, net)
    with refuses("load_slayer: the state has no delay array, the network 1 delay layers"):
        load_slayer({key: good[key] for key in ("fc1.weight", "fc2.weight")}, net)
    with refuses("load_slayer: names has 'fc9', the state has the modules fc1, fc2, d"):
        load_slayer(good, net, names=["fc9"])
    refused("load_slayer: state must be a mapping of arrays", lambda: load_slayer([], net))
    refused("load_slayer: net must be a network", lambda: load_slayer(good, cs.Dense(3, 2)))
    assert all((net.state()[name] == array).all() for name, array in before.items())
    load_slayer(good, net)
    assert (net.layers[2].delay.data == 1).all()


def test_shapes_of_weights_as_they_come():
    """A weight is flat if its kernel is one pixel, not if it is one row; a single number is a weight, not pooling."""
    shapes = {(5, 3, 1, 1, 1): (3, 5), (5, 3, 1, 2, 1): (1, 2, 3, 5), (5, 3, 2, 1, 1): (2, 1, 3, 5)}
    for theirs, ours in shapes.items():
        assert load_slayer({"a.weight": frames(*theirs)})["a.weight"].shape == ours
    net = cs.Sequential(cs.Dense(1, 1), SRM)
    load_slayer({"fc1.weight": np.full((1, 1, 1, 1, 1), 3.0)}, net)
    assert net[0].weight.data.tolist() == [[3.0]]


def test_modules_of_a_parallel_network_have_their_own_names():
    state = {"module.fc1.weight": frames(2, 3, 1, 1, 1), "module.fc2.weight": frames(4, 3, 1, 1, 1)}
    assert list(load_slayer(state, names=["fc2"])) == ["fc2.weight"]
