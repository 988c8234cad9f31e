"""The loss of firing rates, and a penalty for rates outside a band."""

from __future__ import annotations

import math

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._base.sequences import ended
from cuslayer._tape import Tensor, as_tensor
from cuslayer.backend import Array, namespace
from cuslayer.loss.base import ClassLoss, check_order
from cuslayer.neurons.base import Neuron


class SpikeRateLoss(ClassLoss):
    """The square error of firing rates within a window of time, summed over batch and classes.

    With R steps in the window and rates in spikes per millisecond::

        r = count / (R dt)
        E = 1/2 sum (r - desired)^2

    A rate is linear in the spikes, so the gradient is exact. Each bin of the window receives
    ``(r - desired) / (R dt)``, with or without a spike; bins outside receive 0. `SpikeCountLoss` instead filters its
    error by the spike response, and desires no spikes outside its window.

    Args:
        neuron: the output neuron; its dt is the step.
        true: the desired rate of the labelled class, in Hz.
        false: the desired rate of the other classes, in Hz.
        window: start and stop of the counted time, ms; by default the whole time.

    Raises:
        ValueError: a rate is negative or above one spike per step, true is less than false, or the window is empty or
            begins before 0.
        TypeError: neuron is not a neuron, or a rate or time is not a number.

    Source: SpikeRate in Intel's lava-dl. Its rates are spikes per step, 1000 / dt times smaller, and its sum has no
    factor 1/2.

    >>> import numpy as np
    >>> from cuslayer.neurons import SRM
    >>> loss = SpikeRateLoss(SRM(), true=200, false=0)
    >>> round(loss(np.zeros((10, 1, 2), bool), [1]).item(), 6)
    0.02
    """

    def __init__(
        self, neuron: Neuron, true: float = 200, false: float = 30, window: tuple[float, float] | None = None
    ) -> None:
        super().__init__(neuron, window)
        self.true, self.false = self._rate("true", true), self._rate("false", false)
        check_order(self.true, self.false)

    def _rate(self, name: str, value: float) -> float:
        rate, most = check.not_negative(name, value), 1000 / self.neuron.dt
        if rate > most:
            raise ValueError(f"{name} must be at most a spike a step, {most:g} Hz, got {rate:g}")
        return rate

    def desired_rate(self, target: object, outputs: int, steps: int) -> float:
        return (self.true + (outputs - 1) * self.false) / max(outputs, 1)

    def _error(self, spikes: Tensor, chosen: Array, first: int, last: int) -> Tensor:
        counts = spikes[first:last].sum(axis=0)
        desired = namespace(chosen).where(chosen, self.true, self.false) / 1000
        error = counts / ((last - first) * self.neuron.dt) - Tensor(desired.astype(counts.dtype))
        return (error * error).sum() * 0.5


@check.named
class RateRegularizer:
    """A penalty for neurons whose mean firing rate lies outside a band.

    With r the rate of a neuron over time and batch, in spikes per millisecond, and N samples::

        r = count / (T N dt)
        E = weight N / 2 sum over neurons of max(0, low - r)^2 + max(0, r - high)^2

    The gradient is exact: every bin of a neuron receives ``weight (r - bound) / (T dt)``, or 0 if the rate lies in the
    band. Call it on the spikes of any layer and add it to the loss::

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
        ValueError: a rate or the weight is negative, high is below low, or dt is not positive.
        TypeError: an argument is not a number.

    Source: after Zenke and Vogels 2021 (Neural Computation 33(4)), who bound the number of spikes from both sides.

    >>> import numpy as np
    >>> regularize = RateRegularizer(5, 50, weight=2.0)
    >>> silent, regular = np.zeros((100, 1, 1), bool), np.arange(100)[:, None, None] % 50 == 0
    >>> regularize(silent).item() > 0, regularize(regular).item()
    (True, 0.0)
    """

    def __init__(self, low: float = 0.0, high: float | None = None, *, weight: float = 1.0, dt: float = 1.0) -> None:
        self.low = check.factor("low", low)
        self.high = None if high is None else check.factor("high", high)
        if self.high is not None and self.high < self.low:
            raise ValueError(f"high must be at least low, {self.low:g} Hz, got {self.high:g}")
        self.weight = check.factor("weight", weight)
        self.dt = check.time_step("dt", dt)

    def __repr__(self) -> str:
        return check.shown(self)

    def __call__(self, spikes: TensorLike) -> Tensor:
        """Return the penalty of spikes (T, N, ...), as a scalar.

        Raises:
            ValueError: spikes are not (T, N, ...), or T is 0.
        """
        spikes = as_tensor(spikes)
        check.time_first("spikes", spikes)
        if len(spikes) == 0:
            raise ValueError("spikes must have a step, got T = 0")
        samples, bins = spikes.shape[1], math.prod(spikes.shape[:2])
        if spikes.lengths is not None:
            bins = int(spikes.lengths.sum())
            spikes = ended(spikes, lengths=spikes.lengths)
        rate = spikes.sum(axis=(0, 1)) / (max(bins, 1) * self.dt)
        under = (self.low / 1000 - rate).clip(0)
        error = (under * under).sum()
        if self.high is not None:
            over = (rate - self.high / 1000).clip(0)
            error = error + (over * over).sum()
        return error * (0.5 * self.weight * samples)
