"""The gradient check itself: it passes what is right and catches what is not."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._tape import differentiable


def test_right_and_wrong():
    @differentiable
    def wrong(x, /):
        return x * x, lambda g: g * x * 2.001

    x = np.array([1.0, -2.0, 3.0])
    assert cs.gradcheck(lambda t: t * t, x) < 1e-9
    assert 1e-4 < cs.gradcheck(wrong, x) < 1e-2


def test_a_missing_gradient_is_found():
    @differentiable
    def forgets(x, y, /):
        return x * y, lambda g: (g * y, None)

    assert cs.gradcheck(forgets, np.ones(4), np.ones(4) * 2) > 1e-2


def test_it_runs_in_float64_and_leaves_its_arrays():
    seen = []
    x = np.ones(3, np.float32)
    cs.gradcheck(lambda t: seen.append(t.dtype) or t * 1.0, x)
    assert set(seen) == {np.dtype(np.float64)}
    assert x.tolist() == [1, 1, 1]


def test_errors():
    with pytest.raises(ValueError, match="gradcheck: arrays must be at least one, got none"):
        cs.gradcheck(lambda: 1)
    with pytest.raises(ValueError, match="gradcheck: step must be positive, got 0"):
        cs.gradcheck(lambda t: t, np.ones(1), step=0.0)
    with pytest.raises(TypeError, match="gradcheck: fn must return a tensor made from its arrays"):
        cs.gradcheck(lambda t: t.data, np.ones(1))
