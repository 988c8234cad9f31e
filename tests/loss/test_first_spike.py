"""The times of first spikes, their gradient, and their cross-entropy."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.functions import first_spike_times
from cuslayer.loss import FirstSpikeLoss
from tests.support.refused import refuses

LIF = cs.LIF(dt=0.5)


def drawn(steps: int = 12) -> np.ndarray:
    s = np.random.default_rng(0).random((steps, 6, 3)) < 0.1
    s[:, 0, 1] = False
    s[[3, 7], 1, 2] = True
    s[:3, 1, 2] = False
    return s


def plain(s: np.ndarray, dt: float) -> np.ndarray:
    """Return the first spike times (N, classes)."""
    times = np.full(s.shape[1:], len(s) * dt)
    for t in range(len(s) - 1, -1, -1):
        times[s[t]] = t * dt
    return times


def test_the_gradient_is_the_change_by_a_spike():
    s = drawn()
    given = cs.Tensor(s.astype(np.float64), requires_grad=True)
    times = first_spike_times(given, dt=0.5)
    np.testing.assert_array_equal(times.data, plain(s, 0.5))
    weights = np.random.default_rng(1).standard_normal(times.shape)
    times.backward(weights)
    for t, n, c in np.ndindex(s.shape):
        more = s.copy()
        more[t, n, c] = True
        change = (plain(more, 0.5) - plain(s, 0.5))[n, c] * weights[n, c]
        if t > times.data[n, c] / 0.5:  # the first spike moves there
            change = 0.5 * weights[n, c]
        np.testing.assert_allclose(given.grad[t, n, c], change, atol=1e-12)


@pytest.mark.parametrize("early", [0.0, 0.25])
@pytest.mark.parametrize("window", [None, (1.0, 5.0)], ids=str)
def test_the_loss(early, window):
    s, labels = drawn(), np.array([0, 1, 2, 2, 0, 1])
    loss = FirstSpikeLoss(LIF, tau=1.5, early=early, early_tau=4.0, window=window)
    first, last = (0, 12) if window is None else (2, 10)
    times = plain(s[first:last], 0.5)
    p = np.exp(-times / 1.5)
    p /= p.sum(axis=1, keepdims=True)
    own = np.arange(6), labels
    expected = (-np.log(p[own]) + early * (np.exp(times[own] / 4) - 1)).sum()
    np.testing.assert_allclose(loss(s, labels).item(), expected, rtol=1e-6)
    output, target = loss.scored(cs.Tensor(s), labels)
    np.testing.assert_array_equal(cs.classify(output), times.argmin(axis=1))
    assert target is labels
    assert loss.desired_rate(labels, 3, 12) == 1000 / 0.5 / (last - first)


def test_the_others_do_not_flee_from_a_silent_class():
    s = np.zeros((12, 2, 3), bool)
    s[4, :, 1] = s[6, :, 2] = s[5, 1, 0] = True
    given = cs.Tensor(s.astype(np.float64), requires_grad=True)
    FirstSpikeLoss(LIF, early=0.1)(given, [0, 0]).backward()
    assert not given.grad[:, 0, 1:].any()
    assert (given.grad[:, 0, 0] < 0).all()
    assert given.grad[5, 1, 1] < 0
    assert given.grad[7, 1, 2] < 0


def test_recordings_end_by_themselves():
    s, labels = drawn(), np.array([0, 1, 2, 2, 0, 1])
    lengths = np.array([12, 5, 8, 12, 3, 7])
    loss = FirstSpikeLoss(LIF)
    alone = sum(loss(s[:end, i : i + 1], labels[i : i + 1]).item() for i, end in enumerate(lengths))
    np.testing.assert_allclose(loss(cs.Tensor(s, lengths=lengths), labels).item(), alone, rtol=1e-6)
    decided, _ = loss.scored(cs.Tensor(s, lengths=lengths), labels)
    times = np.array([plain(s[:end, i : i + 1], 0.5)[0] for i, end in enumerate(lengths)])
    np.testing.assert_array_equal(cs.classify(decided), times.argmin(axis=1))


def test_wrong_arguments():
    with refuses("FirstSpikeLoss: tau must be positive, got 0"):
        FirstSpikeLoss(LIF, tau=0)
    with refuses("FirstSpikeLoss: early must not be negative, got -1"):
        FirstSpikeLoss(LIF, early=-1)
    with refuses("first_spike_times: s must be (T, N, ...)"):
        first_spike_times(np.zeros(3))
