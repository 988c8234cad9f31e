"""Losses of classes: spike max, the sliding window, firing rates; the regularizer; what they refuse."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from cuslayer.loss.base import ClassLoss
from tests.support.refused import raises, refuses

RNG = np.random.default_rng(41)
SRM = cs.SRM(dt=0.5)
LABELS = np.array([0, 2, 1, 2])
KINDS = ["softmax", "ratio"]


def windowed(s, t, window):
    return s[max(t - window + 1, 0) : t + 1].sum(axis=0)


@pytest.mark.parametrize("kind", KINDS)
def test_large_counts_do_not_overflow(kind):
    t = cs.Tensor(np.ones((5000, 1, 2), bool) & np.array([True, False]), requires_grad=True)
    value = cs.loss.SpikeMaxLoss(SRM, probability=kind)(t, [1])
    value.backward()
    assert value.item() == pytest.approx(5000 if kind == "softmax" else np.log(5002), rel=1e-5)
    assert np.isfinite(t.grad).all()


@pytest.mark.parametrize("shape", [(9, 2, 3), (1, 1, 1), (7, 2), (0, 2, 3), (5, 0, 3)])
@pytest.mark.parametrize("window", [1, 4, 9, 50])
def test_moving_count(shape, window):
    for x in (RNG.random(shape) < 0.4, RNG.standard_normal(shape), RNG.standard_normal(shape).astype(np.float32)):
        c = functions.moving_count(x, width=window)
        assert c.dtype == (np.float32 if x.dtype == bool else x.dtype)
        expected = np.array([windowed(x.astype(float), t, window) for t in range(len(x))]).reshape(shape)
        np.testing.assert_allclose(c.data, expected, atol=1e-6 if c.dtype == np.float32 else 1e-13)


def test_gradient_of_moving_count():
    x = RNG.random((100_000, 1)).astype(np.float32)
    c = functions.moving_count(x, width=3).data[-100:]
    np.testing.assert_allclose(c, functions.moving_count(x[-102:], width=3).data[2:], rtol=2e-7)
    pullback = functions.moving_count.__wrapped__(RNG.random((9, 2, 3)), width=4)[1]
    assert pullback(RNG.random((9, 2, 3))).flags.c_contiguous


def test_a_window_is_rounded_to_steps():
    """0.3 ms are 3 steps of 0.1 ms, though 0.3 / 0.1 is a little less in floating point."""
    assert 0.3 / 0.1 < 3
    s, srm = RNG.random((10, 4, 3)), cs.SRM(dt=0.1)
    values = [cs.loss.ProbabilityWindowLoss(srm, width=window)(s, LABELS).item() for window in (0.3, 0.31, 0.2)]
    assert values[0] == values[1] != values[2]
    spikes = s < 0.3
    found = cs.loss.running_decision(spikes, width=0.3, dt=0.1)
    assert (found == cs.loss.running_decision(spikes, width=3.0)).all()
    assert (found != cs.loss.running_decision(spikes, width=2.0)).any()


@pytest.mark.parametrize(("low", "high"), [(0, 50), (100, None), (40, 60), (40, 40)])
@pytest.mark.parametrize("shape", [(20, 4, 5), (20, 2, 3, 4, 2), (1, 1), (20, 1, 1)])
def test_the_regularizer(shape, low, high):
    s = RNG.random(shape) < 0.1
    t = cs.Tensor(s, requires_grad=True)
    value = cs.loss.RateRegularizer(low, high, weight=3.0, dt=2.0)(t)
    rate = s.mean(axis=(0, 1)) / 2.0
    under, over = np.maximum(low / 1000 - rate, 0), np.maximum(rate - (np.inf if high is None else high / 1000), 0)
    assert value.shape == ()
    assert value.item() == pytest.approx(1.5 * shape[1] * ((under**2).sum() + (over**2).sum()), rel=1e-4, abs=1e-12)
    value.backward()
    expected = np.broadcast_to(3.0 * (over - under) / (2.0 * shape[0]), shape)
    np.testing.assert_allclose(t.grad, expected, atol=1e-6 * max(np.abs(expected).max(), 1e-9))


LOSSES = [cs.SpikeCountLoss, cs.loss.SpikeRateLoss, cs.loss.SpikeMaxLoss, cs.loss.ProbabilityWindowLoss]


@pytest.mark.parametrize("make", LOSSES)
def test_what_a_loss_of_classes_refuses(make):
    srm, s, op = cs.SRM(dt=0.5), np.zeros((10, 2, 3), bool), make.__name__
    loss = make(srm)
    raises(f"{op}: label 3 of sample 1 is none of 3 classes", lambda: loss(s, [0, 3]))
    raises(f"{op}: label -1 of sample 0 is none of 3 classes", lambda: loss(s, [-1, 0]))
    raises(rf"{op}: labels have shape \(3,\), spikes \(T, 2, 3\) expect \(2,\) or", lambda: loss(s, [0, 1, 2]))
    raises(f"{op}: labels must be integers, got float64", lambda: loss(s, [0.0, 1.0]), TypeError)
    raises(rf"{op}: labels \(N, classes\) must hold one 1 a sample and 0 elsewhere", lambda: loss(s, np.ones((2, 3))))
    raises(rf"{op}: spikes must be \(T, N, C\), got shape \(10, 2\)", lambda: loss(s[..., 0], [0, 1]))
    raises(f"{op}: spikes must have a step, got T = 0", lambda: loss(s[:0], [0, 1]))
    raises(f"{op}: window reaches to 5.5 ms, the recording ends at 5 ms", lambda: make(srm, window=(0, 5.5))(s, [0, 1]))
    raises(rf"{op}: window must hold a step of 0\.5 ms, got 3 to 3.1 ms", lambda: make(srm, window=(3, 3.1)))
    raises(f"{op}: window must not be negative, got -1", lambda: make(srm, window=(-1, 3)))
    raises(rf"{op}: window must be \(start, stop\) in ms, got \(5,\)", lambda: make(srm, window=(5,)))
    raises(f"{op}: neuron must be a neuron, got int", lambda: make(3), TypeError)


@pytest.mark.parametrize("make", LOSSES)
def test_types(make):
    s, loss = RNG.random((70, 4, 3)), make(cs.SRM())
    assert loss(s, LABELS).dtype == np.float64
    assert loss(s.astype(np.float32), LABELS).dtype == np.float32
    assert loss(s > 0.5, LABELS).dtype == np.float32
    assert loss(np.zeros((70, 0, 3), bool), np.zeros(0, int)).item() == 0.0


@pytest.mark.parametrize("make", LOSSES)
def test_a_region_is_rounded_to_steps(make):
    """0.3 ms are 3 steps of 0.1 ms, and 0.7 ms are 7, though both quotients are a little less in floating point."""
    assert 0.3 / 0.1 < 3
    assert 0.7 / 0.1 < 7
    s, srm = RNG.random((10, 4, 3)), cs.SRM(dt=0.1)
    values = [make(srm, window=window)(s, LABELS).item() for window in ((0.3, 0.7), (0.31, 0.71), (0.31, 0.69))]
    assert values[0] == values[1] != make(srm, window=(0.2, 0.7))(s, LABELS).item()
    assert values[0] == values[2]


def test_rates_at_their_limits():
    """A limit of 0 Hz is a limit: 4 spikes in 20 ms are 0.2 per ms, and the penalty is half its square."""
    s = np.zeros((20, 1, 1), bool)
    s[::5] = True
    assert cs.loss.RateRegularizer(0, 0)(s).item() == pytest.approx(0.5 * 0.2**2)
    assert cs.loss.RateRegularizer(0, None)(s).item() == cs.loss.RateRegularizer(5, 50)(s[:, :0]).item() == 0.0
    loss = cs.loss.SpikeRateLoss(cs.SRM(dt=2.0), true=500, false=0)
    s = np.ones((10, 1, 2), bool) & np.array([True, False])
    assert loss(s, [0]).item() == 0.0


def test_a_loss_of_classes_without_an_error():
    with refuses("ClassLoss: a loss of classes must define _error"):
        ClassLoss(cs.SRM(), None)(np.zeros((5, 1, 2), bool), [0])


def test_a_wrong_label_gets_no_advice_on_axes():
    """Only a wrong shape is a reason to ask whether time is the first axis."""
    for spikes, target, loss, message in (
        (np.zeros((3, 2, 4), bool), np.array([-2, 1, 0]), cs.CrossEntropyLoss(), "has shape|have shape"),
        (
            np.zeros((2, 3, 4), bool),
            np.full((2, 3), -2),
            cs.CrossEntropyLoss(over="every"),
            "^CrossEntropyLoss: label -2 of",
        ),
        (
            np.zeros((2, 3, 4), np.float32),
            np.full((2, 3, 4), np.nan),
            cs.MeanSquaredErrorLoss(),
            "must be finite, got nan in it$",
        ),
        (np.zeros((2, 3, 4), np.float32), np.full((2, 3, 4), 1e300), cs.MeanSquaredErrorLoss(), "got 1e.300 in it$"),
    ):
        with pytest.raises(ValueError, match=message) as problem:
            loss(spikes, target)
        assert ("as many as steps" in str(problem.value)) == ("shape" in message)
