"""Layers, and networks given one by one or in the paper's notation."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from tests.support.refused import refuses

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
    pool = cs.SumPool((3, 2), stride=(2, 1), padding=1, dilation=(1, 2), gain=2.0)
    expected = functions.pool(x, kernel_size=(3, 2), stride=(2, 1), padding=1, dilation=(1, 2), gain=2.0)
    assert (pool(x).data == expected.data).all()
    dense = cs.Dense((9, 8, 4), 5)
    assert (dense(x).data == functions.dense(x, dense.weight).data).all()


def test_parameters_and_reprs():
    net = cs.Sequential(cs.Conv(2, 3, 3, padding=1), SRM, cs.SumPool(2, gain=11.0), SRM, cs.Dense((2, 2, 3), 4), SRM)
    assert [p.shape for p in net.parameters()] == [(3, 3, 2, 3), (12, 4)]
    text = repr(net)
    assert "0: Conv(2, 3, (3, 3), padding=(1, 1))" in text
    assert "2: SumPool((2, 2), gain=11)" in text
    assert "4: Dense((2, 2, 3), 4)" in text
    shared = cs.Dense(3, 3)
    assert len(cs.Sequential(shared, SRM, shared, SRM).parameters()) == 1


def test_index_by_position_or_object():
    net = cs.Network("3-4-2", SRM)
    assert net[0] is net.layers[0]
    assert net[-1] is SRM
    assert net[net.layers[2]] is net.layers[2]
    for position in (4, 9, -5):
        with pytest.raises(IndexError, match=f"^Network: no layer {position} in 4$"):
            net[position]
    with refuses("Network: Dense(1, 1) is none of its layers"):
        net[cs.Dense(1, 1)]


def test_state_round_trip():
    a, b = cs.Network("3-4-2", SRM), cs.Network("3-4-2", SRM)
    b.load_state(a.state())
    assert all((p.data == q.data).all() for p, q in zip(a.parameters(), b.parameters(), strict=True))
    before = b.state()
    with refuses("load_state: parameter 2.weight is missing"):
        b.load_state({"0.weight": before["0.weight"]})
    with refuses("load_state: parameter 9.weight is unknown"):
        b.load_state({**before, "9.weight": before["0.weight"]})
    with refuses("load_state: parameter 2.weight has shape (1,), the network's has shape (4, 2)"):
        b.load_state({"0.weight": before["0.weight"] + 1, "2.weight": np.ones(1)})
    assert (b.parameters()[0].data == before["0.weight"]).all()


def test_a_state_is_a_copy():
    """Training changes neither the arrays that `state` returned nor those that were loaded."""
    a, b = cs.Network("3-4-2", SRM), cs.Network("3-4-2", SRM)
    state = a.state()
    before = {name: array.copy() for name, array in state.items()}
    b.load_state(state)
    for p in (*a.parameters(), *b.parameters()):
        p.data += 1
    assert all((state[name] == before[name]).all() for name in before)
