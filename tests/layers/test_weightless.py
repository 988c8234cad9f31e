"""Layers without weights: dropout, competition, decimation in time."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from cuslayer.functions import decimate, k_winners
from tests.support.refused import refuses


def test_dropout():
    y = functions.dropout(np.ones((20, 50, 40)), p=0.25).data
    assert (y == y[0]).all()
    assert set(np.unique(y)) == {0.0, 1 / 0.75}
    assert np.mean(y[0] == 0) == pytest.approx(0.25, abs=0.03)
    assert len(np.unique(y[0], axis=0)) == 50  # each sample draws its own

    def dropped(x):
        cs.seed(3)
        return functions.dropout(x, p=0.4)

    assert cs.gradcheck(dropped, np.random.default_rng(0).standard_normal((5, 2, 6))) < 1e-6

    def run():
        return functions.dropout(np.ones((1, 1, 100), np.float32), p=0.5).data

    cs.seed(1)
    first, second = run(), run()
    cs.seed(1)
    assert (run() == first).all()
    assert (first != second).any()
    s = np.ones((2, 1, 3), bool)
    layer = cs.Dropout(0.5)
    assert layer(s).dtype == np.float32
    layer.training = False
    assert layer(s).data is s
    assert repr(layer) == "Dropout(0.5)"


@pytest.mark.parametrize("shape", [(0, 1, 2), (2, 0, 3), (1, 1)])
def test_shapes_of_dropout(shape):
    assert functions.dropout(np.ones(shape), p=0.5).shape == shape


RNG = np.random.default_rng(37)


@pytest.mark.parametrize("among", ["layer", "channels"])
@pytest.mark.parametrize("k", [1, 3, 4])
def test_the_largest_win(k, among):
    x = RNG.integers(-3, 4, (6, 2, 2, 3, 4)).astype(float)  # with many equal numbers
    rows = x.reshape(12, -1) if among == "layer" else x.reshape(-1, 4)
    order = np.argsort(-rows, axis=1, kind="stable")[:, :k]
    expected = np.zeros_like(rows)
    np.put_along_axis(expected, order, np.take_along_axis(rows, order, axis=1), axis=1)
    np.testing.assert_array_equal(k_winners(x, k=k, among=among).data, expected.reshape(x.shape))
    assert cs.gradcheck(lambda x: k_winners(x, k=k, among=among), RNG.standard_normal((3, 2, 2, 2, 4))) < 1e-6


def test_a_tie_has_one_winner_with_the_gradient():
    x = cs.Tensor(np.ones((1, 1, 3)), requires_grad=True)
    k_winners(x, k=1).backward(np.full((1, 1, 3), 2.0))
    assert x.grad.ravel().tolist() == [2.0, 0.0, 0.0]
    assert k_winners(np.zeros((0, 2, 3)), k=1).shape == (0, 2, 3)


@pytest.mark.all
def test_competition_in_a_network():
    net = cs.Sequential(cs.Dense(6, 8), cs.layers.KWinners(2), cs.SRM(), cs.Dense(8, 3), cs.SRM())
    x = RNG.random((40, 1, 6)) < 0.3
    assert (np.count_nonzero(net[1](net[0](x)).data, axis=2) <= 2).all()
    stream = net.stream()
    np.testing.assert_array_equal(np.concatenate([stream(x[:9]), stream(x[9:])]), net(x).data)
    why = cs.explain(net, x, 2, 3, 20)
    assert why.potential == pytest.approx(why.contributions.sum() + why.refractory, abs=1e-3)
    assert repr(cs.layers.KWinners(2, among="channels")) == "KWinners(2, among='channels')"


@pytest.mark.parametrize("steps", [0, 1, 6, 7])
@pytest.mark.parametrize("factor", [1, 2, 3, 9])
@pytest.mark.parametrize("how", ["sum", "mean", "max", "last"])
def test_decimation(how, factor, steps):
    x = RNG.standard_normal((steps, 2, 3))
    padded = np.concatenate([x, np.zeros((-steps % factor, 2, 3))])
    fold = {"sum": np.sum, "mean": np.mean, "max": np.max, "last": lambda part, axis: part[-1]}
    parts = [fold[how](padded[t : t + factor], axis=0) for t in range(0, len(padded), factor)]
    expected = np.array(parts).reshape(-1, 2, 3)
    np.testing.assert_allclose(decimate(x, factor=factor, how=how).data, expected)
    if steps:
        assert cs.gradcheck(lambda x: decimate(x, factor=factor, how=how), x) < 1e-6


def test_decimation_of_spikes_and_of_equal_numbers():
    x = np.array([1, 0, 0, 0, 0, 1, 1], bool).reshape(7, 1, 1)
    found = {how: decimate(x, factor=2, how=how).data for how in ("sum", "mean", "max", "last")}
    assert {how: y.dtype.name for how, y in found.items()} == {
        **{"sum": "float32", "mean": "float32"},
        **{"max": "bool", "last": "bool"},
    }
    assert found["sum"].ravel().tolist() == [1.0, 0.0, 1.0, 1.0]
    assert found["max"].ravel().tolist() == [True, False, True, True]
    x = cs.Tensor(np.array([1.0, 1.0, 0.0, 2.0]).reshape(4, 1, 1), requires_grad=True)
    decimate(x, factor=4, how="max").backward(np.ones((1, 1, 1)))
    decimate(cs.Tensor(x.data), factor=4, how="max")
    assert x.grad.ravel().tolist() == [0.0, 0.0, 0.0, 1.0]
    y = cs.Tensor(np.array([2.0, 2.0]).reshape(2, 1, 1), requires_grad=True)
    decimate(y, factor=2, how="max").backward(np.ones((1, 1, 1)))
    assert y.grad.ravel().tolist() == [0.5, 0.5]


def decimated():
    fast, slow = cs.SRM(dt=1.0), cs.SRM(dt=5.0)
    return cs.Sequential(cs.Dense(6, 8), fast, cs.layers.Decimate(5), cs.Dense(8, 3), slow)


@pytest.mark.all
def test_decimation_in_a_network(tmp_path):
    net, x = decimated(), RNG.random((40, 2, 6)) < 0.3
    y = net(x)
    assert y.shape == (8, 2, 3)
    y.backward(np.ones(y.shape, np.float32))
    assert np.abs(net[0].weight.grad).sum() > 0
    cs.save(net, tmp_path / "net.npz")
    np.testing.assert_array_equal(cs.load(tmp_path / "net.npz")(x).data, y.data)
    with cs.record(net) as seen:
        net(x)
    assert seen[4].spikes.values.shape[0] == 8
    assert "layer 1" in repr(cs.explain(net, x, 1, 0, 5))


def test_what_is_refused(tmp_path):
    net, x = decimated(), RNG.random((40, 2, 6)) < 0.3
    with refuses("stream: layer 2 Decimate(5) keeps no state: it may depend on any other step"):
        net.stream()
    with refuses("explain: the inputs of layer 4 must have its steps, they have 40 steps, the neurons 8"):
        cs.explain(net, x, 4, 0, 5)
    with refuses("write_report: layer 4 must keep the input's 40 steps and 2 samples"):
        cs.write_report(net, x, tmp_path / "a.html")
