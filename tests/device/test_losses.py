"""Losses and decisions on a device, against the CPU; test_operations.py says which device."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend, functions
from cuslayer.loss.base import OVER
from tests.device.test_operations import device as device
from tests.device.test_operations import module, run

RNG = np.random.default_rng(53)
SRM = cs.SRM()
LABELS = [1, 4]
MANY = np.array([[1, 0, 1, 0, 0], [0, 1, 1, 1, 0]])
OPERATIONS = {
    "spike count": lambda s: cs.SpikeCountLoss(SRM, true=7, false=2, region=(5, 25), count_scale=3.0)(s, LABELS),
    "piecewise count": lambda s: cs.SpikeCountLoss(SRM, true=15, region=(5, 25), piecewise=True)(s, LABELS),
    "rate": lambda s: cs.SpikeRateLoss(SRM, region=(5, 25))(s, LABELS),
    "spike max": lambda s: cs.SpikeMaxLoss(SRM, region=(5, 25))(s, LABELS),
    "window": lambda s: cs.ProbabilityWindowLoss(SRM)(s, LABELS),
    "window of ratios": lambda s: cs.ProbabilityWindowLoss(SRM, window=7, probability="ratio")(abs(s), LABELS),
    **{over: lambda s, over=over: cs.CrossEntropyLoss(over, region=(5, 25))(s, LABELS) for over in OVER},
    "several labels": lambda s: cs.BinaryCrossEntropyLoss("max", slope=2.0)(s, MANY),
    "regularizer": cs.RateRegularizer(50, 300),
    "moving count": lambda s: functions.moving_count(s, window=4),
}


@pytest.mark.parametrize("dtype", ["float32", "float64", "bool"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_a_loss(name: str, dtype: str) -> None:
    numbers = RNG.standard_normal((30, 2, 5))
    array = numbers > 0.8 if dtype == "bool" else numbers.astype(dtype)
    # `run` wants the gradient of what is not boolean: spikes come on a tape as numbers too.
    arrays = [array] if dtype != "bool" else [array.astype(np.float32)]
    for mine, other in zip(run("cuda", OPERATIONS[name], arrays), run("cpu", OPERATIONS[name], arrays), strict=True):
        assert (mine.dtype, mine.shape) == (other.dtype, other.shape)
        tolerance = {"float64": 1e-12}.get(other.dtype.name, 1e-5)
        np.testing.assert_allclose(mine, other, rtol=0, atol=tolerance * max(1.0, np.abs(other).max()))
    if dtype == "bool":
        (mine,), (other,) = (run(where, OPERATIONS[name], [array]) for where in ("cuda", "cpu"))
        assert mine == pytest.approx(other, rel=1e-5)


def test_gradients() -> None:
    for name, fn in OPERATIONS.items():
        if "count" in name and "moving" not in name:
            continue  # the count is not differentiated
        assert cs.gradcheck(fn, RNG.random((30, 2, 5))) < 1e-6


def test_decisions_and_distances_are_on_the_cpu() -> None:
    spikes, other = RNG.random((2, 30, 4, 5)) < 0.1
    labels = RNG.integers(5, size=4)
    x, y = (cs.Tensor(s) for s in (spikes, other))
    assert module(x.data) == "cupy"
    answers = [
        (cs.running_decision(x, window=6), cs.decision_time(x, backend.to_device(labels), window=6)),
        (cs.van_rossum(x, y, tau=4.0), cs.van_rossum(x, y, tau=4.0, total=True)),
    ]
    cs.use("cpu")
    expected = [
        (cs.running_decision(spikes, window=6), cs.decision_time(spikes, labels, window=6)),
        (cs.van_rossum(spikes, other, tau=4.0), cs.van_rossum(spikes, other, tau=4.0, total=True)),
    ]
    for ours, theirs in zip(answers, expected, strict=True):
        for mine, their in zip(ours, theirs, strict=True):
            assert isinstance(mine, np.ndarray)
            np.testing.assert_allclose(mine, their, rtol=1e-12)


def test_the_gradient_flow_is_read_when_the_epoch_ends() -> None:
    net = cs.Sequential(cs.Dense(6, 5), SRM, cs.Dense(5, 2), SRM)
    flow, stats = cs.GradientFlow(net), cs.Stats()
    x, labels = RNG.random((20, 4, 6)) < 0.4, backend.to_device(np.array([0, 1, 0, 1]))
    spikes = net(x)
    value = cs.SpikeRateLoss(SRM)(spikes, labels)
    value.backward()
    flow.add()
    stats.training.add(spikes, labels, value)
    for p, size in zip(net.parameters(), flow.end_epoch().values(), strict=True):
        assert size == pytest.approx(float(np.sqrt((backend.to_numpy(p.grad) ** 2).mean())), rel=1e-5)
    assert stats.end_epoch().train_loss == pytest.approx(value.item() / 4)
