"""The time shift: whole steps, one per neuron, forward and backward."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs

RNG = np.random.default_rng(8)


def by_hand(x, steps):
    y = np.zeros_like(x)
    for t in range(len(x)):
        for m in np.ndindex(x.shape[2:]):
            source = t - (steps if np.isscalar(steps) else steps[m])
            if 0 <= source < len(x):
                y[(t, slice(None), *m)] = x[(source, slice(None), *m)]
    return y


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 12), st.lists(st.integers(-14, 14), min_size=3, max_size=3), st.booleans())
def test_each_neuron_has_its_delay(steps, delays, spikes):
    x = np.random.default_rng(steps).standard_normal((steps, 2, 3))
    x = x > 0 if spikes else x
    y = cs.shift(x, delay=np.array(delays) * 0.5, dt=0.5)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y.data, by_hand(x, np.array(delays)))


def test_a_multiple_of_the_step_is_that_many_steps():
    x = np.arange(40.0).reshape(40, 1, 1)
    for n in range(40):
        assert cs.shift(x, delay=n * 0.1, dt=0.1).data[-1].item() == 39 - n
        assert cs.shift(x, delay=0.1 * n + 0.05, dt=0.1).data[-1].item() == 39 - n


@pytest.mark.parametrize("delay", [0.0, 3.0, -2.0, 100.0, np.array([0.0, 2.0, -3.0])])
def test_adjoint_and_gradient(delay):
    x, y = RNG.standard_normal((2, 9, 2, 3))
    t = cs.Tensor(x, requires_grad=True)
    ax = cs.shift(t, delay=delay)
    ax.backward(y)
    assert np.vdot(ax.data, y) == pytest.approx(np.vdot(x, t.grad), rel=1e-12, abs=1e-12)
    assert cs.gradcheck(lambda x: cs.shift(x, delay=delay), x) < 1e-6


def test_gradient_of_delayed_spikes():
    t = cs.Tensor(RNG.random((5, 1, 2)) < 0.5, requires_grad=True)
    cs.shift(t, delay=1.0).backward(np.arange(10.0).reshape(5, 1, 2))
    assert t.grad[:, 0].tolist() == [[2, 3], [4, 5], [6, 7], [8, 9], [0, 0]]


@pytest.mark.parametrize("shape", [(0, 1, 2), (3, 0, 2), (3, 1, 0), (1, 1, 1), (2, 1, 2, 3, 1)])
def test_shapes(shape):
    assert cs.shift(np.ones(shape), delay=1.0).shape == shape
    assert cs.shift(np.ones(shape), delay=np.ones(shape[2:])).shape == shape


def test_errors():
    x = np.ones((3, 1, 2))
    with pytest.raises(ValueError, match=r"shift: x must be \(T, N, ...\), got shape \(3,\)"):
        cs.shift(np.ones(3), delay=1.0)
    with pytest.raises(ValueError, match="shift: dt must be positive, got 0"):
        cs.shift(x, delay=1.0, dt=0.0)
    with pytest.raises(ValueError, match=r"shift: delay has shape \(3,\), a neuron of x each has shape \(2,\)"):
        cs.shift(x, delay=np.ones(3))
    with pytest.raises(ValueError, match="shift: delay must be finite"):
        cs.shift(x, delay=np.inf)
    with pytest.raises(TypeError, match="shift: delay must be numbers, got bool"):
        cs.shift(x, delay=True)
