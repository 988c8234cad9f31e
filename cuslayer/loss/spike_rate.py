"""The loss of firing rates."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.loss.base import ClassLoss, check_order
from cuslayer.neurons.base import Neuron
from cuslayer.tape import Tensor


class SpikeRateLoss(ClassLoss):
    """The square error of firing rates within a region of time, summed over batch and classes.

    With R steps in the region and rates in spikes per millisecond::

        r = count / (R dt)
        E = 1/2 sum (r - desired)^2

    A rate is linear in the spikes, so the gradient is exact: each bin of the region receives ``(r - desired) / (R dt)``
    whether it holds a spike or not, and bins outside receive 0. (`SpikeCountLoss` filters its error by the spike
    response instead, and desires no spikes outside its region.)

    Args:
        neuron: the output neuron; its dt is the step.
        true: the desired rate of the labelled class, in Hz.
        false: the desired rate of the others, in Hz.
        region: start and stop of the counted time in ms; by default all of it.

    Raises:
        ValueError: a rate is negative or above one spike per step, true is less than false, or the region is empty or
            begins before 0.
        TypeError: neuron is not a neuron, or a rate or time is not a number.

    Source: SpikeRate of Intel's lava-dl, whose rates are spikes per step, 1000 / dt times smaller, and whose sum has
    no factor 1/2.

    >>> from cuslayer.neurons import SRM
    >>> loss = SpikeRateLoss(SRM(), true=200, false=0)
    >>> round(loss(np.zeros((10, 1, 2), bool), [1]).item(), 6)
    0.02
    """

    def __init__(
        self, neuron: Neuron, true: float = 200, false: float = 30, region: tuple[float, float] | None = None
    ) -> None:
        super().__init__(neuron, region)
        self.true, self.false = self._rate("true", true), self._rate("false", false)
        check_order("SpikeRateLoss", self.true, self.false)

    def _rate(self, name: str, value: float) -> float:
        rate, most = check.not_negative("SpikeRateLoss", name, value), 1000 / self.neuron.dt
        if rate > most:
            raise ValueError(f"SpikeRateLoss: {name} must be at most a spike a step, {most:g} Hz, got {rate:g}")
        return rate

    def desired_rate(self, target: Any, outputs: int, steps: int) -> float:
        return (self.true + (outputs - 1) * self.false) / max(outputs, 1)

    def _error(self, spikes: Tensor, chosen: Array, first: int, last: int) -> Tensor:
        counts = spikes[first:last].sum(axis=0)
        desired = np.where(chosen, self.true, self.false) / 1000
        error = counts / ((last - first) * self.neuron.dt) - Tensor(desired.astype(counts.dtype))
        return (error * error).sum() * 0.5
