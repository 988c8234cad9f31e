"""Classification losses: spike max and the sliding window, and their operations."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions

RNG = np.random.default_rng(41)
SRM = cs.SRM(dt=0.5)
LABELS = np.array([0, 2, 1, 2])
KINDS = ["softmax", "ratio"]


def probabilities(counts, kind):
    share = np.exp(counts - counts.max(axis=-1, keepdims=True)) if kind == "softmax" else counts + 1
    return share / share.sum(axis=-1, keepdims=True)


def nats(counts, kind):
    """Return the cross-entropy of counts (N, classes) at LABELS, in float64."""
    return -np.log(probabilities(counts, kind)[np.arange(4), LABELS]).sum()


def windowed(s, t, window):
    return s[max(t - window + 1, 0) : t + 1].sum(axis=0)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("region", [None, (0, 15), (2.5, 12.5), (14.5, 15)])
def test_spike_max(region, kind):
    s = RNG.random((30, 4, 3)) < 0.3
    first, last = (0, 30) if region is None else (round(edge / 0.5) for edge in region)
    counts = s[first:last].sum(axis=0).astype(float)
    loss = cs.SpikeMaxLoss(SRM, region=region, probability=kind)
    for labelled in (LABELS, LABELS.tolist(), np.eye(3)[LABELS], cs.Tensor(np.eye(3)[LABELS])):
        t = cs.Tensor(s, requires_grad=True)
        value = loss(t, labelled)
        assert value.shape == ()
        assert value.item() == pytest.approx(nats(counts, kind), rel=1e-5)
        value.backward()
    expected = np.zeros(s.shape)
    expected[first:last] = probabilities(counts, kind) - np.eye(3)[LABELS]
    if kind == "ratio":
        expected /= counts + 1
    np.testing.assert_allclose(t.grad, expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("window", [0.5, 2.5, 15, 100])
@pytest.mark.parametrize("region", [None, (5, 12.5)])
def test_probability_window(region, window, kind):
    s = RNG.random((30, 4, 3)) < 0.3
    first, last = (0, 30) if region is None else (10, 25)
    each = [nats(windowed(s, t, round(window / 0.5)).astype(float), kind) for t in range(first, last)]
    loss = cs.ProbabilityWindowLoss(SRM, window=window, region=region, probability=kind)
    assert loss(s, LABELS).item() == pytest.approx(np.mean(each), rel=1e-5)


def test_one_window_of_all_the_time_is_spike_max():
    s = RNG.random((30, 4, 3)) < 0.3
    last = cs.ProbabilityWindowLoss(SRM, window=15, region=(14.5, 15))
    assert last(s, LABELS).item() == pytest.approx(cs.SpikeMaxLoss(SRM)(s, LABELS).item())


def test_a_spike_counts_in_every_window_that_contains_it():
    t = cs.Tensor(np.zeros((10, 1, 2), np.float64), requires_grad=True)
    cs.ProbabilityWindowLoss(cs.SRM(), window=3)(t, [1]).backward()
    np.testing.assert_allclose(t.grad[:, 0, 1], -np.array([3] * 8 + [2, 1]) * 0.5 / 10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("region", [None, (2.5, 10)])
def test_gradients(region, kind):
    s = RNG.random((24, 4, 3))
    for loss in (
        cs.SpikeMaxLoss(SRM, region=region, probability=kind),
        cs.ProbabilityWindowLoss(SRM, window=3.5, region=region, probability=kind),
    ):
        assert cs.gradcheck(lambda x, loss=loss: loss(x, LABELS), s) < 1e-6


@pytest.mark.parametrize("kind", KINDS)
def test_large_counts_do_not_overflow(kind):
    t = cs.Tensor(np.ones((5000, 1, 2), bool) & np.array([True, False]), requires_grad=True)
    value = cs.SpikeMaxLoss(SRM, probability=kind)(t, [1])
    value.backward()
    assert value.item() == pytest.approx(5000 if kind == "softmax" else np.log(5002), rel=1e-5)
    assert np.isfinite(t.grad).all()


@pytest.mark.parametrize("shape", [(9, 2, 3), (1, 1, 1), (7, 2), (0, 2, 3), (5, 0, 3)])
@pytest.mark.parametrize("window", [1, 4, 9, 50])
def test_moving_count(shape, window):
    for x in (RNG.random(shape) < 0.4, RNG.standard_normal(shape), RNG.standard_normal(shape).astype(np.float32)):
        c = functions.moving_count(x, window=window)
        assert c.dtype == (np.float32 if x.dtype == bool else x.dtype)
        expected = np.array([windowed(x.astype(float), t, window) for t in range(len(x))]).reshape(shape)
        np.testing.assert_allclose(c.data, expected, atol=1e-6 if c.dtype == np.float32 else 1e-13)


def test_gradient_of_moving_count():
    assert cs.gradcheck(lambda x: functions.moving_count(x, window=4), RNG.standard_normal((9, 2, 3))) < 1e-6


def test_a_long_count_is_as_exact_as_a_short_one():
    x = RNG.random((100_000, 1)).astype(np.float32)
    c = functions.moving_count(x, window=3).data[-100:]
    np.testing.assert_allclose(c, functions.moving_count(x[-102:], window=3).data[2:], rtol=2e-7)


def test_the_gradient_is_contiguous():
    pullback = functions.moving_count.__wrapped__(RNG.random((9, 2, 3)), window=4)[1]
    assert pullback(RNG.random((9, 2, 3))).flags.c_contiguous


@pytest.mark.parametrize("shape", [(2, 3), (5, 2, 3), (0, 2, 3), (1, 1, 1), (5, 0, 3)])
@pytest.mark.parametrize("kind", KINDS)
def test_cross_entropy(shape, kind):
    counts = RNG.random(shape) * 5
    labels = RNG.integers(shape[-1], size=shape[-2])
    chosen = labels[:, None] == np.arange(shape[-1])
    p = probabilities(counts, kind) if counts.size else counts
    value = functions.cross_entropy(counts, chosen=chosen, probability=kind)
    assert value.item() == pytest.approx(-(np.log(p) * chosen).sum() if p.size else 0.0)
    if counts.size:
        assert cs.gradcheck(lambda c: functions.cross_entropy(c, chosen=chosen, probability=kind), counts) < 1e-6


def test_a_window_is_rounded_to_steps():
    """0.3 ms are 3 steps of 0.1 ms, though 0.3 / 0.1 is a little less in floating point."""
    assert 0.3 / 0.1 < 3
    s, srm = RNG.random((10, 4, 3)), cs.SRM(dt=0.1)
    values = [cs.ProbabilityWindowLoss(srm, window=window)(s, LABELS).item() for window in (0.3, 0.31, 0.2)]
    assert values[0] == values[1] != values[2]
    spikes = s < 0.3
    found = cs.running_decision(spikes, window=0.3, dt=0.1)
    assert (found == cs.running_decision(spikes, window=3.0)).all()
    assert (found != cs.running_decision(spikes, window=2.0)).any()
