"""Layers, and networks given one by one or in the paper's notation."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions

SRM = cs.SRM()


def test_weights_start_uniform_and_seeded():
    cs.seed(5)
    dense, conv = cs.Dense(400, 300), cs.Conv(4, 30, (5, 3), groups=2)
    for weight, bound in ((dense.weight, 10 / 20), (conv.weight, 100 / np.sqrt(5 * 3 * 2))):
        values = weight.data.ravel()
        assert values.dtype == np.float32
        assert 0.98 * bound < np.abs(values).max() <= bound
        assert abs(values.mean()) < 0.1 * bound
        assert values.std() == pytest.approx(bound / np.sqrt(3), rel=0.05)
    cs.seed(5)
    assert (cs.Dense(400, 300).weight.data == dense.weight.data).all()
    assert (cs.Dense(400, 300).weight.data != dense.weight.data).any()
    assert np.abs(cs.Dense(100, 50, weight_scale=1.0).weight.data).max() <= 0.1


def test_a_layer_is_its_function():
    x = np.random.default_rng(0).random((6, 2, 9, 8, 4)) < 0.2
    conv = cs.Conv(4, 6, (3, 2), stride=2, padding=(1, 0), dilation=(1, 2), groups=2)
    expected = functions.conv(x, conv.weight, stride=2, padding=(1, 0), dilation=(1, 2), groups=2)
    assert (conv(x).data == expected.data).all()
    pool = cs.Pool((3, 2), stride=(2, 1), padding=1, dilation=(1, 2), gain=2.0)
    expected = functions.pool(x, kernel_size=(3, 2), stride=(2, 1), padding=1, dilation=(1, 2), gain=2.0)
    assert (pool(x).data == expected.data).all()
    dense = cs.Dense((9, 8, 4), 5)
    assert (dense(x).data == functions.dense(x, dense.weight).data).all()


def test_weight_hook_is_applied():
    layer = cs.Dense(3, 2, weight_hook=lambda w: w * 2.0)
    x = np.ones((1, 1, 3), np.float32)
    y = layer(x)
    np.testing.assert_allclose(y.data, x @ (2 * layer.weight.data))
    y.sum().backward()
    assert (layer.weight.grad == 2).all()
    conv = cs.Conv(1, 1, 1, weight_hook=lambda w: w * 0.0)
    assert not conv(np.ones((1, 1, 2, 2, 1))).data.any()


def test_parameters_and_reprs():
    net = cs.Sequential(cs.Conv(2, 3, 3, padding=1), SRM, cs.Pool(2, gain=11.0), SRM, cs.Dense((2, 2, 3), 4), SRM)
    assert [p.shape for p in net.parameters()] == [(3, 3, 2, 3), (12, 4)]
    text = repr(net)
    assert "0: Conv(2, 3, (3, 3), padding=(1, 1))" in text
    assert "2: Pool((2, 2), gain=11)" in text
    assert "4: Dense((2, 2, 3), 4)" in text
    shared = cs.Dense(3, 3)
    assert len(cs.Sequential(shared, SRM, shared, SRM).parameters()) == 1


def test_network_in_the_papers_notation():
    net = cs.Network("34x34x2-16c5-2a-32c3-2a-64c3-10", SRM)
    kinds = [type(layer).__name__ for layer in net.layers]
    assert kinds == ["Conv", "SRM", "Pool", "SRM", "Conv", "SRM", "Pool", "SRM", "Conv", "SRM", "Dense", "SRM"]
    assert [p.shape for p in net.parameters()] == [(5, 5, 2, 16), (3, 3, 16, 32), (3, 3, 32, 64), (9 * 9 * 64, 10)]
    assert net[0].padding == (2, 2)
    assert net[2].gain == pytest.approx(11.0)
    assert len(net) == 12
    valid = cs.Network("34x34x2-16c5v-2a-12", SRM)
    assert valid[0].padding == (0, 0)
    assert valid[4].weight.shape == (15 * 15 * 16, 12)
    flat = cs.Network("200-256-200", SRM)
    assert flat.input_shape == (200,)
    assert flat(np.zeros((4, 1, 200), bool)).shape == (4, 1, 200)


def test_index_by_position_or_object():
    net = cs.Network("3-4-2", SRM)
    assert net[0] is net.layers[0]
    assert net[-1] is SRM
    assert net[net.layers[2]] is net.layers[2]
    for position in (4, 9, -5):
        with pytest.raises(IndexError, match=f"^Network: no layer {position} in 4$"):
            net[position]
    with pytest.raises(ValueError, match=r"Network: Dense\(1, 1\) is none of its layers"):
        net[cs.Dense(1, 1)]


def test_state_round_trip():
    a, b = cs.Network("3-4-2", SRM), cs.Network("3-4-2", SRM)
    b.load_state(a.state())
    assert all((p.data == q.data).all() for p, q in zip(a.parameters(), b.parameters(), strict=True))
    before = b.state()
    with pytest.raises(ValueError, match=r"load_state: parameter 2\.0 is missing"):
        b.load_state({"0.0": before["0.0"]})
    with pytest.raises(ValueError, match=r"load_state: parameter 9\.0 is unknown"):
        b.load_state({**before, "9.0": before["0.0"]})
    with pytest.raises(
        ValueError, match=r"load_state: parameter 2\.0 has shape \(1,\), the network's has shape \(4, 2\)"
    ):
        b.load_state({"0.0": before["0.0"] + 1, "2.0": np.ones(1)})
    assert (b.parameters()[0].data == before["0.0"]).all()


def test_a_state_is_a_copy():
    """Training changes neither the arrays that `state` returned nor those that were loaded."""
    a, b = cs.Network("3-4-2", SRM), cs.Network("3-4-2", SRM)
    state = a.state()
    before = {name: array.copy() for name, array in state.items()}
    b.load_state(state)
    for p in (*a.parameters(), *b.parameters()):
        p.data += 1
    assert all((state[name] == before[name]).all() for name in before)


@pytest.mark.parametrize("layer", [lambda: cs.Dense(6, 3, weight_scale=40.0), lambda: cs.Conv(1, 3, (2, 3))])
def test_neurons_behind_a_synapse_have_their_own_gradient(layer):
    """In fused passes too: the path through refraction is kept only where the neuron's gradient is "exact"."""
    cs.seed(2)
    layer, grads = layer(), {}
    shape = (6,) if isinstance(layer, cs.Dense) else (2, 3, 1)
    x = np.random.default_rng(1).random((40, 2, *shape)) < 0.4
    for gradient in ("slayer", "exact"):
        srm = cs.SRM(tau_sr=3.0, tau_ref=3.0, gradient=gradient)
        for together in (True, False):
            layer.weight.grad = None
            s = cs.Sequential(layer, srm)(x) if together else srm(layer(x))
            s.backward(np.random.default_rng(2).standard_normal(s.shape).astype(np.float32))
            grads[gradient, together] = layer.weight.grad
        scale = np.abs(grads[gradient, True]).max()
        # A float32 sum of 80 terms in another order.
        np.testing.assert_allclose(grads[gradient, True], grads[gradient, False], rtol=0, atol=1e-5 * scale)
    assert np.abs(grads["slayer", True] - grads["exact", True]).max() > 0.01 * scale
