"""Encoders: rates, latencies and changes as spikes, compared with their formulas; seeds, shapes, errors."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from tools import fake_cupy as strict

RNG = np.random.default_rng(23)


def test_poisson_fires_as_often_as_its_rate():
    x = np.array([[0.0, 0.2, 1.0, 3.0]])
    steps = 200_000
    for rate, dt in ((50.0, 1.0), (200.0, 0.5), (1000.0, 1.0)):
        s = cs.encode_poisson(x, steps=steps, rate=rate, dt=dt, seed=1)
        assert (s.shape, s.dtype) == ((steps, 1, 4), bool)
        chance = 1 - np.exp(-x * rate * dt / 1000)
        # Five standard deviations.
        assert (np.abs(s.mean(axis=0) - chance) <= 5 * np.sqrt(chance * (1 - chance) / steps)).all()
        assert not s[..., 0].any()


def test_poisson_of_a_signal_uses_the_rate_of_each_step():
    x = np.zeros((6, 2, 3))
    x[2], x[4] = 1e6, 1e6
    s = cs.encode_poisson(x, rate=1000)
    assert s.shape == (6, 2, 3)
    assert s[[2, 4]].all()
    assert not s[[0, 1, 3, 5]].any()


def test_poisson_depends_on_the_seed_only(monkeypatch):
    x = RNG.random((2, 5, 4, 1))
    first = cs.encode_poisson(x, steps=40, seed=3)
    assert (cs.encode_poisson(x, steps=40, seed=3) == first).all()
    assert not (cs.encode_poisson(x, steps=40, seed=4) == first).all()
    cs.seed(3)
    assert (cs.encode_poisson(x, steps=40) == first).all()
    assert not (cs.encode_poisson(x, steps=40) == first).all()
    # The size of a block of random numbers does not matter.
    for block in (1, 41, 1000):
        monkeypatch.setattr("cuslayer._encoding._BLOCK", block)
        assert (cs.encode_poisson(x, steps=40, seed=3) == first).all()


def test_latency_is_linear():
    x = RNG.random((3, 4, 4, 2)).astype(np.float32)
    x[0, 0, 0] = 0, 1
    s = cs.encode_latency(x, steps=20)
    assert (s.shape, s.dtype) == ((20, *x.shape), bool)
    assert (s.sum(axis=0) == (x > 0)).all()
    time = s.argmax(axis=0)
    np.testing.assert_array_equal(time[x > 0], np.rint((1 - x[x > 0].astype(float)) * 19))
    assert time[0, 0, 0, 1] == 0
    assert (cs.encode_latency(2 * x, steps=20, largest=2) == s).all()
    assert cs.encode_latency(np.array([1e-9]), steps=7).ravel().tolist() == 6 * [False] + [True]


def test_latency_of_a_leaky_integrator():
    x = np.array([0.0, 0.1, 0.1001, 0.2, 0.5, 1.0])
    s = cs.encode_latency(x, steps=100, dt=0.5, tau=10, threshold=0.1)
    assert s.sum(axis=0).tolist() == [0, 0, 0, 1, 1, 1]
    for column in (3, 4, 5):
        # The potential x (1 - exp(-t / tau)) is below the threshold at the start of the bin and above it at the end.
        t = 0.5 * s[:, column].argmax()
        assert x[column] * (1 - math.exp(-t / 10)) <= 0.1 <= x[column] * (1 - math.exp(-(t + 0.5) / 10))
    # Fewer steps drop the later spikes alone, not the spike of the last step.
    for steps in range(1, 20):
        assert (cs.encode_latency(x, steps=steps, dt=0.5, tau=10, threshold=0.1) == s[:steps]).all()


def delta_reference(x, threshold):
    s = np.zeros((*x.shape, 2), bool)
    for place in np.ndindex(x.shape[1:]):
        level = None
        for t in range(len(x)):
            value = x[(t, *place)]
            if level is None:
                level = value
            elif abs(value - level) >= threshold:
                s[(t, *place, int(value > level))] = True
                level = value
    return s


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 30),
    st.sampled_from([(1,), (2, 3), (0, 2), (1, 2, 2), (1, 300)]),
    st.floats(0.1, 3),
    st.sampled_from([np.float32, np.float64, np.int16]),
    st.integers(0, 99),
)
@example(30, (2, 3), 1.0, np.int16, 0)  # changes that are the threshold
def test_delta_equals_a_plain_loop(steps, rest, threshold, dtype, seed):
    x = np.random.default_rng(seed).normal(0, 2, (steps, *rest)).cumsum(axis=0).astype(dtype)
    s = cs.encode_delta(x, threshold=threshold)
    assert (s.shape, s.dtype) == ((*x.shape, 2), bool)
    x = x if x.dtype == np.float64 else x.astype(np.float32)
    np.testing.assert_array_equal(s, delta_reference(x, x.dtype.type(threshold)))


@pytest.mark.parametrize("shape", [(1,), (0, 3), (2, 0), (1, 1, 1), (2, 3, 4, 2)])
def test_shapes(shape):
    x = np.ones(shape)
    for s in (cs.encode_poisson(x, steps=3), cs.encode_latency(x, steps=3)):
        assert s.shape == (3, *shape)
    assert cs.encode_latency(x, steps=1).all()
    if len(shape) > 1:
        assert cs.encode_poisson(x).shape == shape
        assert cs.encode_delta(x, threshold=1).shape == (*shape, 2)


def test_spikes_are_on_the_current_device():
    x = RNG.random((8, 2, 3))
    expected = [cs.encode_poisson(x, seed=1), cs.encode_latency(x[0], steps=4), cs.encode_delta(x, threshold=0.5)]
    with strict.strict():
        cs.use("cuda")
        found = [cs.encode_poisson(x, seed=1), cs.encode_latency(x[0], steps=4), cs.encode_delta(x, threshold=0.5)]
        for ours, theirs in zip(found, expected, strict=True):
            assert not isinstance(ours, np.ndarray)
            assert (cs.Tensor(ours).numpy() == theirs).all()


def test_errors():
    x = np.ones((3, 1, 2))
    for run, message in (
        (lambda: cs.encode_poisson(x * 1j, steps=5), "encode_poisson: x must be real numbers, got complex128"),
        (lambda: cs.encode_delta(x * math.nan, threshold=1.0), "encode_delta: x must be finite, got nan"),
        (lambda: cs.encode_latency(-x, steps=5), "encode_latency: x must not be negative, got -1"),
        (lambda: cs.encode_latency(2 * x, steps=5), "encode_latency: x must be at most 1, got 2"),
        (lambda: cs.encode_delta(np.ones(3), threshold=1.0), r"encode_delta: x must be \(T, N, ...\), got"),
    ):
        with pytest.raises((TypeError, ValueError), match=message):
            run()


def test_a_long_signal_has_its_own_rates_in_every_block():
    """Longer than a block of random numbers: no spike at rate 0, one at each step at a very high rate."""
    x = np.zeros((700_000, 1, 2))
    x[1::2, :, 0] = x[600_000:, :, 1] = 1e6
    assert (cs.encode_poisson(x, rate=1000.0) == (x > 0)).all()
