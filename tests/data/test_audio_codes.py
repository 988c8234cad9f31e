"""Codes of sounds, `Rate`, `Latency`, `Delta`, `Levels`: against plain loops, and their limits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from cuslayer.data import Delta, Latency, Levels, Rate
from tests.support.refused import refused, refuses

CODES = [Rate(300.0), Latency(20.0), Delta(0.15), Levels((0.2, 0.5, 0.9)), Levels((0.3,), falling=True)]


def values(steps, channels, seed=0):
    x = np.random.default_rng(seed).random((steps, channels))
    x[x < 0.2] = 0
    x[x > 0.9] = 1
    return x


def by_loops(code, x, dt):
    """Spikes of the formulas, one value at a time."""
    steps, channels = x.shape
    spikes = np.zeros((steps, code.populations, channels), bool)
    for c in range(channels):
        if isinstance(code, Rate):
            total = 0.0
            for t in range(steps):
                before, total = math.floor(total + 1e-9), total + x[t, c] * (code.hz * dt / 1000)
                spikes[t, 0, c] = math.floor(total + 1e-9) > before
        elif isinstance(code, Latency):
            n = round(code.period / dt)
            for start in range(0, steps, n):
                part = x[start : start + n, c]
                mean = sum(part) / len(part)
                late = round((1 - mean) * (n - 1))
                if mean > 0 and late < len(part):
                    spikes[start + late, 0, c] = True
        elif isinstance(code, Delta):
            reference = 0.0
            for t in range(steps):
                if abs(x[t, c] - reference) >= code.threshold:
                    spikes[t, int(x[t, c] > reference), c] = True
                    reference = x[t, c]
        else:
            before = 0.0
            for t in range(steps):
                for i, level in enumerate(code.levels):
                    spikes[t, i, c] = before < level <= x[t, c]
                    if code.falling:
                        spikes[t, len(code.levels) + i, c] = before >= level > x[t, c]
                before = x[t, c]
    return spikes.reshape(steps, code.populations * channels)


@pytest.mark.parametrize("code", CODES, ids=str)
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (7, 0), (37, 5), (64, 130)], ids=str)
@pytest.mark.parametrize("dt", [1.0, 5.0, 0.7])
def test_spikes_are_those_of_the_formula(code, shape, dt):
    x = values(*shape)
    found = code(x, dt)
    assert found.dtype == np.bool_
    assert found.shape == (shape[0], code.populations * shape[1])
    np.testing.assert_array_equal(found, by_loops(code, x, dt))
    if found.size > 100:
        assert found.any()
        assert not found.all()
    # Values in another type, or not contiguous, are the same numbers.
    np.testing.assert_array_equal(code(x[:, ::-1], dt), by_loops(code, x[:, ::-1], dt))
    single = x.astype(np.float32)
    np.testing.assert_array_equal(code(single, dt), by_loops(code, single.astype(np.float64), dt))


def test_a_rate_is_exact():
    spikes = Rate(40.0)(np.full((5000, 1), 0.5), 1.0)  # 20 Hz over 5 s
    assert spikes.sum() == 100
    assert set(np.diff(np.flatnonzero(spikes))) == {50}
    assert Rate(1000.0)(np.ones((50, 1)), 1.0).all()
    assert Rate(5000.0)(np.ones((50, 1)), 1.0).sum() == 50


def test_latency_is_earlier_for_larger_values_and_once_a_period():
    spikes = Latency(50.0)(np.tile([[0.2, 0.4, 0.9, 1.0]], (30, 1)), 5.0)
    assert spikes.sum(axis=0).tolist() == [3, 3, 3, 3]
    first = spikes.argmax(axis=0)
    assert first.tolist() == [7, 5, 1, 0]
    np.testing.assert_array_equal(spikes[10:20], spikes[:10])


def test_delta_begins_at_zero():
    assert np.argwhere(Delta(0.5)(np.array([[0.6], [0.6], [0.0]]), 1.0)).tolist() == [[0, 1], [2, 0]]


def test_a_level_itself_is_above():
    assert Levels((0.5,), falling=True)(np.array([[0.5], [0.5], [0.4]]), 1.0).tolist() == [
        [True, False],
        [False, False],
        [False, True],
    ]


def test_constants_out_of_range_raise():
    refused("Rate: hz must be positive, got 0", lambda: Rate(0))
    refused("Latency: period must be positive, got -1", lambda: Latency(-1))
    refused("Latency: period must be at least a step of 5 ms, got 2", lambda: Latency(2.0)(np.zeros((3, 1)), 5.0))
    refused("Delta: threshold must be positive, got 0", lambda: Delta(0.0))
    refused("Levels: levels must have a level, got none", lambda: Levels(()))
    refused("Levels: a level must be positive, got 0", lambda: Levels((0.0, 0.5)))
    for levels in ((0.5, 0.5), (0.6, 0.3), (0.5, 1.5)):
        with refuses(f"Levels: levels must ascend to at most 1, got {levels}"):
            Levels(levels)
    refused("Rate: hz must be a number, got str", lambda: Rate("fast"), TypeError)


@pytest.mark.parametrize("code", CODES, ids=str)
def test_values_that_do_not_fit_raise(code):
    op = type(code).__name__
    refused(f"{op}: x must be real numbers, got complex128", lambda: code(np.zeros((2, 2), complex), 1.0), TypeError)
    refused(f"{op}: x must be (T, channels), got shape (3,)", lambda: code(np.zeros(3), 1.0))
    for wrong in (-0.1, 1.5, np.nan):
        with refuses(f"{op}: x must have values from 0 to 1, got {wrong:g}"):
            code(np.array([[0.5], [wrong]]), 1.0)
    if isinstance(code, (Rate, Latency)):
        refused(f"{op}: dt must be positive, got 0", lambda: code(np.zeros((2, 2)), 0.0))
