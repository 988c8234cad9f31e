"""Competition: the largest weighted inputs pass."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.functions import k_winners

RNG = np.random.default_rng(37)


@pytest.mark.parametrize("among", ["layer", "channels"])
@pytest.mark.parametrize("k", [1, 3, 4])
def test_the_largest_win(k: int, among: str) -> None:
    x = RNG.integers(-3, 4, (6, 2, 2, 3, 4)).astype(float)  # with many equal numbers
    rows = x.reshape(12, -1) if among == "layer" else x.reshape(-1, 4)
    order = np.argsort(-rows, axis=1, kind="stable")[:, :k]
    expected = np.zeros_like(rows)
    np.put_along_axis(expected, order, np.take_along_axis(rows, order, axis=1), axis=1)
    np.testing.assert_array_equal(k_winners(x, k=k, among=among).data, expected.reshape(x.shape))
    assert cs.gradcheck(lambda x: k_winners(x, k=k, among=among), RNG.standard_normal((3, 2, 2, 2, 4))) < 1e-6


def test_a_tie_has_one_winner_with_the_gradient() -> None:
    x = cs.Tensor(np.ones((1, 1, 3)), requires_grad=True)
    k_winners(x, k=1).backward(np.full((1, 1, 3), 2.0))
    assert x.grad.ravel().tolist() == [2.0, 0.0, 0.0]
    assert k_winners(np.zeros((0, 2, 3)), k=1).shape == (0, 2, 3)


def test_in_a_network() -> None:
    net = cs.Sequential(cs.Dense(6, 8), cs.KWinners(2), cs.SRM(), cs.Dense(8, 3), cs.SRM())
    x = RNG.random((40, 1, 6)) < 0.3
    assert (np.count_nonzero(net[1](net[0](x)).data, axis=2) <= 2).all()
    stream = net.stream()
    np.testing.assert_array_equal(np.concatenate([stream(x[:9]), stream(x[9:])]), net(x).data)
    why = cs.explain(net, x, 2, 3, 20)
    assert why.potential == pytest.approx(why.contributions.sum() + why.refractory, abs=1e-3)
    assert repr(cs.KWinners(2, among="channels")) == "KWinners(2, among='channels')"


def test_errors() -> None:
    with pytest.raises(ValueError, match=r"^KWinners: k must be at least 1, got 0"):
        cs.KWinners(0)
    with pytest.raises(ValueError, match=r"^KWinners: among must be one of"):
        cs.KWinners(1, among="all")
    with pytest.raises(ValueError, match=r"^k_winners: k must be at most the 3 neurons that compete, got 4"):
        cs.KWinners(4)(np.zeros((1, 1, 3)))
    with pytest.raises(TypeError, match=r"^k_winners: x must be float"):
        cs.KWinners(1)(np.zeros((1, 1, 3), bool))
