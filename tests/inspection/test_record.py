"""Tests of record: arrays of whole layers and of selections, and that results do not change by a bit."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from tools.emulator.driver import emulation

FORWARD = ("weighted", "filtered", "refractory", "potential", "spikes", "surrogate")
ERRORS = ("spikes_error", "potential_error", "weighted_error")
NETS = {
    "40-30-3": (60, 2, 40),
    "9x8x2-4c3-2a-6c3-3": (60, 2, 9, 8, 2),
    "7x6x1-3c2v-3a-2": (40, 3, 7, 6, 1),
}


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


@pytest.mark.parametrize("notation", NETS)
@pytest.mark.parametrize("gradient", ["slayer", "exact"])
@pytest.mark.parametrize("potentials", ["full", "float16"])
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
        nu = cs.functions.psp(expected, response=srm.spiking.refractory)
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


@pytest.mark.parametrize("notation", NETS)
@pytest.mark.parametrize("gradient", ["slayer", "exact"])
@pytest.mark.parametrize("chosen", [[0], [1, 0, 1], 1])
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
    with pytest.raises(ValueError, match=r"^record: layer 3 was not asked for, only 1, 7$"):
        part[2]


def test_receptive_fields_of_every_neuron_of_a_map():
    """Windows at every edge, with strides, dilation, padding, groups, and pooling whose windows overlap."""
    srm = cs.SRM()
    net = cs.Sequential(
        cs.Conv(4, 6, (3, 2), stride=(2, 1), padding=(1, 2), dilation=(1, 2), groups=2),
        srm,
        cs.Pool((3, 2), stride=2, padding=1, dilation=(1, 2), gain=7.0),
        srm,
    )
    x = spikes_for((12, 1, 7, 6, 4))
    _, _, whole = step(net, x, layers=None)
    for at in (1, 3):
        count = whole[at].spikes[0, 0].size
        for number in range(count):
            _, _, part = step(net, x, neurons={at: [number]})
            for name in ("weighted", "potential", *ERRORS):
                full = getattr(whole[at], name)
                expected = full.reshape(12, 1, -1)[..., [number]]
                np.testing.assert_allclose(getattr(part[at], name), expected, atol=1e-5 * (1 + abs(full).max()))


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
        with pytest.raises(
            ValueError, match=rf"^record: spikes_error of layer {at} .*, SRM\) is not there before back"
        ):
            _ = seen[at].spikes_error


@pytest.mark.parametrize("asked", [{"layers": [1]}, {"layers": 3}, {"neurons": [0, 5], "window": (5, 20)}])
def test_on_emulated_cuda(asked):
    x = spikes_for((25, 2, 6, 6, 2))
    found = []
    for where in (None, emulation()):
        cs.seed(1)
        net = cs.Network("6x6x2-3c3-2a-6", cs.SRM())
        if where is None:
            _, _, seen = step(net, x, **asked)
        else:
            with where:
                _, _, seen = step(net, x, **asked)
        found.append([getattr(record, name) for record in seen for name in FORWARD + ERRORS])
    for mine, emulated in zip(*found, strict=True):
        np.testing.assert_allclose(mine, emulated, atol=1e-5 * (1 + abs(mine).max()))


def test_every_kind_of_layer():
    srm = cs.SRM()
    delay = cs.Delay(5, dt=1.0, max_delay=9.0)
    net = cs.Sequential(
        cs.Dense(6, 5),
        srm,
        delay,
        cs.Dropout(0.5),
        cs.Dense(5, 4),
        srm,
        lambda x: x * 2.0,
        cs.Dense(4, 3),
        cs.Loihi(),
    )
    x = spikes_for((40, 3, 6), rate=0.5)
    cs.seed(4)
    spikes, grads, _ = step(net, x)
    cs.seed(4)
    recorded, recorded_grads, seen = step(net, x, layers=None)
    assert (spikes == recorded).all()
    assert same(grads, recorded_grads)
    assert len(seen) == 6
    assert (seen[2].output == cs.shift(seen[1].spikes.values, delay=delay.delay.data).data).all()
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
    with pytest.raises(ValueError, match=r"^record: layer 8 \(Dense\(4, 3\), Loihi\) has no filtered, only weighted"):
        _ = loihi.filtered
    with pytest.raises(ValueError, match=r"^record: layer 3 \(Dropout\(0.5\)\) has no potential, only output, output_"):
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


def test_a_map_computed_on_access_uses_input_and_weights_of_the_call():
    net = cs.Network("6x6x2-3c3", cs.SRM())
    x = spikes_for((20, 1, 6, 6, 2))
    expected = net[0](x).data.copy()
    with cs.record(net) as seen:
        net(x)
    x[:] = False
    net[0].weight.data[:] = 0.0
    np.testing.assert_allclose(seen[0].weighted, expected, atol=1e-5)


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
    with pytest.raises(ValueError, match="is not there before backward"):
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
    with pytest.raises(ValueError, match=r"^record: the network has not been called yet$"):
        idle[1]


@pytest.mark.parametrize("shape", [(0, 1, 6, 6, 2), (5, 0, 6, 6, 2), (1, 1, 6, 6, 2)])
@pytest.mark.parametrize("asked", [{"layers": None}, {"neurons": [0]}])
def test_empty_shapes(shape, asked):
    net = cs.Network("6x6x2-3c3-2a-4", cs.SRM())
    _, _, seen = step(net, np.ones(shape, bool), **asked)
    for record in seen:
        for name in FORWARD + ERRORS:
            assert getattr(record, name).shape[:2] == shape[:2]


def test_a_recording_notes_rates():
    net = cs.Network("4-3", cs.SRM(dt=0.5))
    with cs.record(net) as seen:
        net(np.ones((100, 1, 4), bool))
    rate = 2000.0 * seen[1].spikes.mean()
    assert rate > 0
    assert cs.inspection.rates_of(net) == {1: pytest.approx(rate)}


def test_errors():
    srm = cs.SRM()
    net = cs.Sequential(cs.Dense(4, 3), srm, cs.Dense(3, 2), srm, lambda x: x.sum())
    x = np.ones((10, 2, 4), bool)
    with pytest.raises(TypeError, match=r"^record: net must be a Network or Sequential, got int$"):
        cs.record(3)
    with pytest.raises(IndexError, match=r"^record: layer must be under 5, got 5; its layers are 0 "):
        cs.record(net, layers=[5])
    with pytest.raises(ValueError, match=r"^record: layer SRM stands at 1, 3: name a position$"):
        cs.record(net, layers=srm)
    with pytest.raises(ValueError, match=r"^record: layer Dropout\(0.1\) is none of the network's; its layers are 0 "):
        cs.record(net, layers=cs.Dropout(0.1))
    with pytest.raises(ValueError, match=r"^record: neurons of layer 3 are asked for, but not that layer$"):
        cs.record(net, layers=[1], neurons={2: [0]})
    with pytest.raises(ValueError, match=r"^record: window must be \(start, stop\) in ms, got 3$"):
        cs.record(net, window=3)
    cases = [
        (ValueError, {"window": (5, 5)}, r"^record: window must hold a step of 1 ms, got 5 to 5 ms$"),
        (ValueError, {"window": (5, 11)}, r"^record: window reaches to 11 ms, the input ends at 10 ms$"),
        (ValueError, {"window": (-1, 3)}, r"^record: window must not be negative, got -1$"),
        (IndexError, {"samples": 2}, r"^record: sample must be under 2, got 2$"),
        (TypeError, {"samples": 0.5}, r"^record: sample must be an integer, got float$"),
        (IndexError, {"neurons": 3}, r"^record: neuron 3 lies outside a layer of shape \(3,\)$"),
        (IndexError, {"neurons": [(0, 1)]}, r"^record: neuron \(0, 1\) lies outside a layer of shape \(3,\)$"),
        (TypeError, {"neurons": "a"}, r"^record: neuron must be an integer, got str$"),
        (ValueError, {"layers": 4}, r"^record: the output of layer 4 must be \(T, N, ...\), got shape \(\)$"),
    ]
    for kind, asked, message in cases:
        with pytest.raises(kind, match=message), cs.record(net, **({"layers": [1]} | asked)):
            net(x)


def test_rates_of_selected_neurons_are_not_noted():
    net = cs.Network("4-3", cs.SRM())
    with cs.record(net, neurons=[0]):
        net(np.ones((100, 1, 4), bool))
    assert cs.inspection.rates_of(net) == {}


def test_conv_and_pool_neurons_with_different_gradient_modes():
    for modes in (("slayer", "exact"), ("exact", "slayer")):
        first, second = (cs.SRM(gradient=mode) for mode in modes)
        net = cs.Sequential(cs.Conv(2, 3, 3, padding=1), first, cs.Pool(2, gain=11.0), second)
        x = spikes_for((30, 2, 6, 6, 2))
        spikes, grads, _ = step(net, x)
        recorded, recorded_grads, seen = step(net, x, layers=None)
        assert (spikes == recorded).all()
        assert same(grads, recorded_grads)
        pooled = cs.Tensor(seen[1].spikes.values.astype(np.float32), requires_grad=True)
        net[2](pooled).backward(seen[3].weighted_error.values)
        np.testing.assert_allclose(seen[1].spikes_error, pooled.grad, rtol=1e-5, atol=1e-7)
