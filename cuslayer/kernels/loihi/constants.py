"""The constants of a Loihi neuron, as kernels take them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array


class Chip(NamedTuple):
    """What the loop over time needs, in the number type of the arrays; every one is an integer, `gain` a power of two.

    Attributes:
        gain: ``2^(6 + wgt_exp)``, by which the weighted input enters the current.
        i_keep: ``4096 - i_decay``.
        v_keep: ``4096 - v_decay``.
        theta: the threshold.
        hold: the bins after a spike's own in which the voltage is held at 0.
        mark: what is recorded of the voltage at a spike; 0 where it is the voltage itself.
    """

    gain: Any
    i_keep: Any
    v_keep: Any
    theta: Any
    hold: Any
    mark: Any


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """A fixed-point neuron: how it runs forward, and the way back.

    Attributes:
        chip: the integers of its recurrence.
        first: the first bin that has an effect, 0 or 1.
        width: ``tau_rho theta``, by which the surrogate falls to 1/e.
        height: the surrogate at the threshold, divided by the response's largest sample, times the step.
        samples: the response by which the gradient is spread back in time, (K,) float64.
    """

    chip: Chip
    first: int
    width: float
    height: float
    samples: Array

    def forward(self, dtype: np.dtype[Any]) -> Chip:
        """Return the integers in a number type."""
        return Chip(*(dtype.type(number) for number in self.chip))

    def surrogate(self, dtype: np.dtype[Any]) -> tuple[Any, Any, Any]:
        """Return theta, 1 / width and height in a number type, as `Spiking.surrogate` does."""
        real = dtype.type
        return real(self.chip.theta), real(1 / self.width), real(self.height)
