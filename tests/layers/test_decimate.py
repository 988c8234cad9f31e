"""Decimation in time."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.functions import decimate

RNG = np.random.default_rng(41)


@pytest.mark.parametrize("steps", [0, 1, 6, 7])
@pytest.mark.parametrize("factor", [1, 2, 3, 9])
@pytest.mark.parametrize("how", ["sum", "mean", "max", "last"])
def test_the_formula(how: str, factor: int, steps: int) -> None:
    x = RNG.standard_normal((steps, 2, 3))
    padded = np.concatenate([x, np.zeros((-steps % factor, 2, 3))])
    fold: dict[str, Any] = {"sum": np.sum, "mean": np.mean, "max": np.max, "last": lambda part, axis: part[-1]}
    parts = [fold[how](padded[t : t + factor], axis=0) for t in range(0, len(padded), factor)]
    expected = np.array(parts).reshape(-1, 2, 3)
    np.testing.assert_allclose(decimate(x, factor=factor, how=how).data, expected)
    if steps:
        assert cs.gradcheck(lambda x: decimate(x, factor=factor, how=how), x) < 1e-6


def test_the_adjoint() -> None:
    for how in ("sum", "mean", "last"):
        x, g = RNG.standard_normal((7, 2, 3)), RNG.standard_normal((3, 2, 3))
        given = cs.Tensor(x, requires_grad=True)
        y = decimate(given, factor=3, how=how)
        y.backward(g)
        assert np.vdot(y.data, g) == pytest.approx(np.vdot(x, given.grad))


def test_spikes() -> None:
    x = np.array([1, 0, 0, 0, 0, 1, 1], bool).reshape(7, 1, 1)
    found = {how: decimate(x, factor=2, how=how).data for how in ("sum", "mean", "max", "last")}
    assert {how: y.dtype.name for how, y in found.items()} == {
        **{"sum": "float32", "mean": "float32"},
        **{"max": "bool", "last": "bool"},
    }
    assert found["sum"].ravel().tolist() == [1.0, 0.0, 1.0, 1.0]
    assert found["max"].ravel().tolist() == [True, False, True, True]


def test_equal_largest_share_the_gradient() -> None:
    x = cs.Tensor(np.array([1.0, 1.0, 0.0, 2.0]).reshape(4, 1, 1), requires_grad=True)
    decimate(x, factor=4, how="max").backward(np.ones((1, 1, 1)))
    decimate(cs.Tensor(x.data), factor=4, how="max")
    assert x.grad.ravel().tolist() == [0.0, 0.0, 0.0, 1.0]
    y = cs.Tensor(np.array([2.0, 2.0]).reshape(2, 1, 1), requires_grad=True)
    decimate(y, factor=2, how="max").backward(np.ones((1, 1, 1)))
    assert y.grad.ravel().tolist() == [0.5, 0.5]


def network() -> cs.Sequential:
    fast, slow = cs.SRM(dt=1.0), cs.SRM(dt=5.0)
    return cs.Sequential(cs.Dense(6, 8), fast, cs.Decimate(5), cs.Dense(8, 3), slow)


def test_in_a_network(tmp_path: Any) -> None:
    net, x = network(), RNG.random((40, 2, 6)) < 0.3
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


def test_what_is_refused(tmp_path: Any) -> None:
    net, x = network(), RNG.random((40, 2, 6)) < 0.3
    with pytest.raises(ValueError, match=r"^stream: layer 2 Decimate\(5\) keeps no state"):
        net.stream()
    with pytest.raises(
        ValueError, match=r"^explain: the inputs of layer 4 must have its steps, they have 40 steps, the"
    ):
        cs.explain(net, x, 4, 0, 5)
    with pytest.raises(ValueError, match=re.escape("report: layer 4 must keep the input's 40 steps")):
        cs.report(net, x, tmp_path / "a.html")
    with pytest.raises(ValueError, match=r"^Decimate: factor must be at least 1, got 0"):
        cs.Decimate(0)
    with pytest.raises(ValueError, match=r"^Decimate: how must be one of"):
        cs.Decimate(2, how="or")
    with pytest.raises(TypeError, match=r"^decimate: factor must be an integer"):
        decimate(x, factor=1.5)
