"""Decisions at every step against a plain loop; the van Rossum distance and the coincidence factor."""

import math

import numpy as np
import pytest

import cuslayer as cs

pytestmark = pytest.mark.all

RNG = np.random.default_rng(47)


def running(spikes, window):
    """Return the decisions by a loop over steps."""
    steps, samples, _ = spikes.shape
    found = np.full((steps, samples), -1)
    for n in range(samples):
        for t in range(steps):
            counts = spikes[max(t - window + 1, 0) : t + 1, n].sum(axis=0)
            found[t, n] = counts.argmax() if counts.any() else (found[t - 1, n] if t else -1)
    return found


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("window", [1, 3, 10, 40, 100])
def test_running_decision(window, rate):
    s = RNG.random((40, 20, 4)) < rate
    found = cs.loss.running_decision(s, width=window * 0.5, dt=0.5)
    assert found.dtype == np.int64
    assert (found == running(s, window)).all()
    for given in (cs.Tensor(s), s.astype(np.float64), s.astype(int)):
        assert (cs.loss.running_decision(given, width=window * 0.5, dt=0.5) == found).all()


def test_all_the_time_so_far_ends_as_classify():
    s = RNG.random((40, 30, 4)) < 0.05
    s[0, :, 2] = True
    found = cs.loss.running_decision(s)
    assert (found == running(s, 40)).all()
    assert (found[-1] == cs.classify(s)).all()
    s = np.zeros((5, 2, 3), bool)
    s[2, 1, 2] = True
    assert cs.loss.running_decision(s, width=1).T.tolist() == [[-1] * 5, [-1, -1, 2, 2, 2]]
    assert cs.loss.running_decision(s[:0]).shape == (0, 2)
    assert cs.loss.running_decision(s[:, :0]).shape == (5, 0)


@pytest.mark.parametrize("window", [None, 2.0, 7.5])
def test_decision_time(window):
    s = RNG.random((40, 200, 3)) < 0.08
    labels = RNG.integers(3, size=200)
    decisions = cs.loss.running_decision(s, width=window, dt=0.5)
    expected = []
    for n, label in enumerate(labels):
        t = 40
        while t > 0 and decisions[t - 1, n] == label:
            t -= 1
        expected.append(0.5 * t if t < 40 else math.inf)
    found = cs.loss.decision_time(s, labels, width=window, dt=0.5)
    assert found.dtype == np.float64
    assert found.tolist() == expected
    assert 0 < np.isinf(found).sum() < 200
    assert cs.loss.decision_time(cs.Tensor(s), labels.tolist(), width=window, dt=0.5).tolist() == expected


def test_right_from_the_first_spike():
    s = np.zeros((5, 2, 2), bool)
    s[0, :, 1] = True
    assert cs.loss.decision_time(s, [1, 0]).tolist() == [0.0, math.inf]
    assert cs.loss.decision_time(s[:0], [1, 0]).tolist() == [math.inf, math.inf]
    assert cs.loss.decision_time(s[:, :0], []).shape == (0,)


def squared(a, b, tau, dt):
    """Return the integral in closed form: 1/2 of the sum over pairs of spikes of sign exp(-|t_i - t_j| / tau)."""
    sign = a.astype(float) - b
    times = dt * np.arange(len(a))
    near = np.exp(-np.abs(times[:, None] - times) / tau)
    return 0.5 * np.einsum("tn,tu,un->n", sign, near, sign)


@pytest.mark.parametrize("tau", [0.3, 4.0, 1000.0])
@pytest.mark.parametrize("dt", [1.0, 0.1])
def test_van_rossum(tau, dt):
    a, b = RNG.random((2, 60, 12)) < 0.2
    expected = np.sqrt(squared(a, b, tau, dt))
    found = cs.loss.van_rossum(a.reshape(60, 3, 4), b.reshape(60, 3, 4), tau=tau, dt=dt)
    assert found.shape == (3, 4)
    assert found.dtype == np.float64
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-10)
    total = cs.loss.van_rossum(cs.Tensor(a.reshape(60, 3, 2, 2)), b.reshape(60, 3, 2, 2), tau=tau, dt=dt, total=True)
    np.testing.assert_allclose(total, np.sqrt((expected.reshape(3, 4) ** 2).sum(axis=1)), rtol=1e-10)


def test_shapes_of_van_rossum():
    assert cs.loss.van_rossum(np.zeros((0, 2, 3)), np.zeros((0, 2, 3)), tau=1.0).tolist() == [[0.0] * 3] * 2
    assert cs.loss.van_rossum(np.zeros((9, 0, 3)), np.zeros((9, 0, 3)), tau=1.0, total=True).shape == (0,)
    assert cs.loss.van_rossum(np.ones((9, 2)), np.ones((9, 2)), tau=1.0, total=True).tolist() == [0.0, 0.0]


def most_pairs(near, taken, row, tried):
    """Return whether one more row gets a column that is near it, others making room."""
    for column in np.flatnonzero(near[row]):
        if column not in tried:
            tried.add(column)
            if column not in taken or most_pairs(near, taken, taken[column], tried):
                taken[column] = row
                return True
    return False


@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_coincidence_factor(dt):
    s, target = RNG.random((2, 300, 2, 3)) < 0.06
    s[:, 0, 0] = False
    target[:, 1, 1] = s[:, 1, 1]
    found = cs.loss.coincidence_factor(cs.Tensor(s), target, within=2.0, dt=dt)
    for place in np.ndindex(2, 3):
        times, wanted = (dt * np.flatnonzero(train[(slice(None), *place)]) for train in (s, target))
        near = np.abs(times[:, None] - wanted) <= 2.0
        taken = {}
        pairs = sum(most_pairs(near, taken, row, set()) for row in range(len(times)))
        chance = 4.0 * len(times) / (300 * dt)
        expected = (pairs - chance * len(wanted)) / ((len(times) + len(wanted)) / 2 * (1 - chance))
        assert found[place] == pytest.approx(expected)
    assert (found[0, 0], found[1, 1]) == (0.0, pytest.approx(1.0))
    assert np.isnan(cs.loss.coincidence_factor(s[:, :1, 0], s[:, :1, 0])).all()
    padded = cs.loss.coincidence_factor(cs.Tensor(s, lengths=[300, 170]), target, within=2.0, dt=dt)
    np.testing.assert_array_equal(padded[0], found[0])
    np.testing.assert_array_equal(
        padded[1:], cs.loss.coincidence_factor(s[:170, 1:], target[:170, 1:], within=2.0, dt=dt)
    )


def test_numbers_are_counted_in_float64():
    """Numbers before the window do not round its sum: after 3e8, float32 would count 2 as 0."""
    x = np.zeros((2, 1, 2))
    x[:, 0] = [3e8, 0], [2, 1]
    assert np.float32(3e8) + np.float32(2) == np.float32(3e8)
    assert cs.loss.running_decision(x, width=1).ravel().tolist() == [0, 0]
