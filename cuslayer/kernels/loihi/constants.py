"""The constants of a Loihi neuron for the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import EXPONENTIAL, Shape


class Integers(NamedTuple):
    """The constants of the recurrence, integers in the number type of the arrays; `gain` is a power of two.

    Attributes:
        gain: ``2^(6 + wgt_exp)``, the factor of the weighted input.
        i_keep: ``4096 - i_decay``.
        v_keep: ``4096 - v_decay``.
        theta: the threshold.
        hold: the number of bins after a spike in which the voltage stays 0.
        mark: the recorded value of the voltage at a spike; 0 for the voltage itself.
    """

    gain: Any
    i_keep: Any
    v_keep: Any
    theta: Any
    hold: Any
    mark: Any


@dataclass(frozen=True, eq=False)
class FixedPoint:
    """The constants of a fixed-point neuron, forward and backward.

    Attributes:
        integers: the integers of the recurrence.
        first: the first bin that has an effect, 0 or 1.
        width: ``tau_rho theta``, the unit of the surrogate's argument.
        height: the factor of its shape, divided by the response's largest sample, times the step.
        samples: the response with which the gradient is correlated, (K,) float64.
        shape: the shape of the surrogate; one pass of the CPU knows the exponential only.
    """

    integers: Integers
    first: int
    width: float
    height: float
    samples: Array
    shape: Shape = EXPONENTIAL

    def recurrence(self, dtype: np.dtype[Any]) -> Integers:
        """Return the integers in a number type."""
        return Integers(*(dtype.type(number) for number in self.integers))

    def surrogate(self, dtype: np.dtype[Any]) -> tuple[Any, Any, Any]:
        """Return theta, 1 / width and height in a number type; see `ScaledSurrogate.surrogate`."""
        real = dtype.type
        return real(self.integers.theta), real(1 / self.width), real(self.height)
