"""The loss of firing rates, the regularizer, and the errors of all losses of classes."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.loss.base import ClassLoss

RNG = np.random.default_rng(43)
LABELS = np.array([0, 2, 1, 2])


@pytest.mark.parametrize("region", [None, (0, 30), (5, 25), (29, 30)])
@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_spike_rate(region, dt):
    s = RNG.random((30, 4, 3)) < 0.3
    first, last = region or (0, 30)
    milliseconds = (last - first) * dt
    rates = s[first:last].sum(axis=0) / milliseconds
    error = rates - np.where(LABELS[:, None] == np.arange(3), 0.25, 0.04)
    loss = cs.SpikeRateLoss(cs.SRM(dt=dt), true=250, false=40, region=region and tuple(dt * edge for edge in region))
    for labelled in (LABELS, np.eye(3)[LABELS]):
        t = cs.Tensor(s, requires_grad=True)
        value = loss(t, labelled)
        assert value.shape == ()
        assert value.item() == pytest.approx(0.5 * (error**2).sum(), rel=1e-5)
        value.backward()
    expected = np.zeros(s.shape)
    expected[first:last] = error / milliseconds
    np.testing.assert_allclose(t.grad, expected, atol=1e-6 * np.abs(expected).max())


def test_a_rate_does_not_depend_on_the_step():
    s = np.zeros((20, 1, 2), bool)
    s[::4] = True
    fine = s.repeat(2, axis=0)
    fine[1::2] = False
    coarse = cs.SpikeRateLoss(cs.SRM(dt=1.0))(s, [0]).item()
    assert cs.SpikeRateLoss(cs.SRM(dt=0.5))(fine, [0]).item() == pytest.approx(coarse)


@pytest.mark.parametrize("region", [None, (3, 20)])
def test_gradient_of_spike_rate(region):
    loss = cs.SpikeRateLoss(cs.SRM(), region=region)
    assert cs.gradcheck(lambda s: loss(s, LABELS), RNG.random((24, 4, 3))) < 1e-6


@pytest.mark.parametrize(("low", "high"), [(0, 50), (100, None), (40, 60), (40, 40)])
@pytest.mark.parametrize("shape", [(20, 4, 5), (20, 2, 3, 4, 2), (1, 1), (20, 1, 1)])
def test_the_regularizer(shape, low, high):
    s = RNG.random(shape) < 0.1
    t = cs.Tensor(s, requires_grad=True)
    value = cs.RateRegularizer(low, high, weight=3.0, dt=2.0)(t)
    rate = s.mean(axis=(0, 1)) / 2.0
    under, over = np.maximum(low / 1000 - rate, 0), np.maximum(rate - (np.inf if high is None else high / 1000), 0)
    assert value.shape == ()
    assert value.item() == pytest.approx(1.5 * shape[1] * ((under**2).sum() + (over**2).sum()), rel=1e-4, abs=1e-12)
    value.backward()
    expected = np.broadcast_to(3.0 * (over - under) / (2.0 * shape[0]), shape)
    np.testing.assert_allclose(t.grad, expected, atol=1e-6 * max(np.abs(expected).max(), 1e-9))


def test_gradient_of_the_regularizer():
    for low, high in ((600, None), (0, 400), (450, 550)):
        assert cs.gradcheck(cs.RateRegularizer(low, high, weight=2.0), RNG.random((9, 2, 5))) < 1e-6


def test_an_empty_batch_has_no_penalty():
    assert cs.RateRegularizer(5, 50)(np.zeros((9, 0, 3), bool)).item() == 0.0


LOSSES = [cs.SpikeCountLoss, cs.SpikeRateLoss, cs.SpikeMaxLoss, cs.ProbabilityWindowLoss]


@pytest.mark.parametrize("make", LOSSES)
def test_what_a_loss_of_classes_refuses(make):
    srm, s, op = cs.SRM(dt=0.5), np.zeros((10, 2, 3), bool), make.__name__
    loss = make(srm)
    with pytest.raises(ValueError, match=f"{op}: label 3 of sample 1 is none of 3 classes"):
        loss(s, [0, 3])
    with pytest.raises(ValueError, match=f"{op}: label -1 of sample 0 is none of 3 classes"):
        loss(s, [-1, 0])
    with pytest.raises(ValueError, match=rf"{op}: labels have shape \(3,\), spikes \('T', 2, 3\) expect \(2,\) or"):
        loss(s, [0, 1, 2])
    with pytest.raises(TypeError, match=f"{op}: labels must be integers, got float64"):
        loss(s, [0.0, 1.0])
    with pytest.raises(ValueError, match=rf"{op}: labels \(N, classes\) must hold one 1 a sample and 0 elsewhere"):
        loss(s, np.ones((2, 3)))
    with pytest.raises(ValueError, match=rf"{op}: spikes must be \(T, N, C\), got shape \(10, 2\)"):
        loss(s[..., 0], [0, 1])
    with pytest.raises(ValueError, match=f"{op}: spikes must have a step, got T = 0"):
        loss(s[:0], [0, 1])
    with pytest.raises(ValueError, match=f"{op}: region reaches to 6 ms, the spikes end at 5 ms"):
        make(srm, region=(0, 6))(s, [0, 1])
    with pytest.raises(ValueError, match=rf"{op}: region must hold a step of 0\.5 ms, got 3 to 3 ms"):
        make(srm, region=(3, 3))
    with pytest.raises(ValueError, match=f"{op}: region must not be negative, got -1"):
        make(srm, region=(-1, 3))
    with pytest.raises(ValueError, match=rf"{op}: region must be \(start, stop\) in ms, got 5"):
        make(srm, region=5)
    with pytest.raises(TypeError, match=f"{op}: neuron must be a neuron, got int"):
        make(3)


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
    values = [make(srm, region=region)(s, LABELS).item() for region in ((0.3, 0.7), (0.31, 0.71), (0.31, 0.69))]
    assert values[0] == values[1] != make(srm, region=(0.2, 0.7))(s, LABELS).item()
    assert values[0] == values[2]


@pytest.mark.parametrize("make", LOSSES)
def test_a_region_may_reach_to_the_last_step_and_no_further(make):
    s, srm = RNG.random((10, 4, 3)), cs.SRM(dt=0.5)
    assert make(srm, region=(0, 5))(s, LABELS).item() == make(srm)(s, LABELS).item()
    with pytest.raises(ValueError, match=f"{make.__name__}: region reaches to 5.5 ms, the spikes end at 5 ms"):
        make(srm, region=(0, 5.5))(s, LABELS)


def test_the_highest_rate_may_be_zero():
    """A limit of 0 Hz is a limit: 4 spikes in 20 ms are 0.2 per ms, and the penalty is half its square."""
    s = np.zeros((20, 1, 1), bool)
    s[::5] = True
    assert cs.RateRegularizer(0, 0)(s).item() == pytest.approx(0.5 * 0.2**2)
    assert cs.RateRegularizer(0, None)(s).item() == 0.0


def test_a_spike_a_step_is_a_rate():
    loss = cs.SpikeRateLoss(cs.SRM(dt=2.0), true=500, false=0)
    s = np.ones((10, 1, 2), bool) & np.array([True, False])
    assert loss(s, [0]).item() == 0.0


def test_usual_constants():
    srm = cs.SRM()
    count, rate, window = cs.SpikeCountLoss(srm), cs.SpikeRateLoss(srm), cs.ProbabilityWindowLoss(srm)
    assert (count.true, count.false, count.region) == (60, 10, None)
    assert (rate.true, rate.false, rate.region) == (200, 30, None)
    assert (window.window, window.region, window.probability) == (20, None, "softmax")
    assert cs.SpikeMaxLoss(srm).probability == "softmax"


def test_a_loss_of_classes_defines_its_error():
    with pytest.raises(TypeError, match=r"^ClassLoss: a loss of classes must define _error$"):
        ClassLoss(cs.SRM(), None)(np.zeros((5, 1, 2), bool), [0])
