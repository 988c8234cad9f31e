"""A penalty on firing rates outside a band."""

from __future__ import annotations

from typing import Any

from cuslayer import check
from cuslayer.tape import Tensor, as_tensor


class RateRegularizer:
    """A penalty on neurons whose mean firing rate lies outside a band.

    With r the rate of a neuron over time and batch, in spikes per millisecond, and N samples::

        r = count / (T N dt)
        E = weight N / 2 sum over neurons of max(0, low - r)^2 + max(0, r - high)^2

    The gradient is exact: every bin of a neuron receives ``weight (r - bound) / (T dt)``, or 0 where the rate lies in
    the band. Call it on the spikes of any layer and add it to the loss::

        x, penalty = spikes, 0.0
        for layer in net.layers:
            x = layer(x)
            if layer is srm:
                penalty = penalty + regularize(x)
        value = loss(x, labels) + penalty

    Args:
        low: the lowest rate without penalty, in Hz.
        high: the highest rate without penalty, in Hz; None for no limit.
        weight: the factor of the penalty.
        dt: the step, ms.

    Raises:
        ValueError: a rate or the weight is negative, high is under low, or dt is not positive.
        TypeError: an argument is not a number.

    Source: after Zenke and Vogels 2021 (Neural Computation 33(4)), who bound the number of spikes from both sides.

    >>> import numpy as np
    >>> regularize = RateRegularizer(5, 50, weight=2.0)
    >>> silent, regular = np.zeros((100, 1, 1), bool), np.arange(100)[:, None, None] % 50 == 0
    >>> regularize(silent).item() > 0, regularize(regular).item()
    (True, 0.0)
    """

    def __init__(self, low: float = 0.0, high: float | None = None, *, weight: float = 1.0, dt: float = 1.0) -> None:
        op = "RateRegularizer"
        self.low = check.not_negative(op, "low", low)
        self.high = None if high is None else check.not_negative(op, "high", high)
        if self.high is not None and self.high < self.low:
            raise ValueError(f"{op}: high must be at least low, {self.low:g} Hz, got {self.high:g}")
        self.weight = check.not_negative(op, "weight", weight)
        self.dt = check.time_step(op, "dt", dt)

    def __repr__(self) -> str:
        return check.shown(self)

    def __call__(self, spikes: Any) -> Tensor:
        """Return the penalty of spikes (T, N, ...), as a scalar.

        Raises:
            ValueError: spikes are not (T, N, ...), or T is 0.
        """
        spikes = as_tensor(spikes)
        check.time_first("RateRegularizer", "spikes", spikes)
        if len(spikes) == 0:
            raise ValueError("RateRegularizer: spikes must have a step, got T = 0")
        steps, samples = spikes.shape[:2]
        rate = spikes.sum(axis=(0, 1)) / (steps * max(samples, 1) * self.dt)
        under = (self.low / 1000 - rate).clip(0)
        error = (under * under).sum()
        if self.high is not None:
            over = (rate - self.high / 1000).clip(0)
            error = error + (over * over).sum()
        return error * (0.5 * self.weight * samples)
