"""The constants of adaptive neurons for the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cuslayer.kernels.constants import EXPONENTIAL, ScaledSurrogate, Shape


class Adaptation(NamedTuple):
    """What a spike adds, in the number type of the arrays.

    Attributes:
        theta: the threshold without spikes.
        rise: what a spike adds to the threshold.
        scale: what it adds to the refractory state, in thresholds of its step.
    """

    theta: Any
    rise: Any
    scale: Any


@dataclass(frozen=True)
class AdaptiveSpiking(ScaledSurrogate):
    """Threshold, adaptation and surrogate gradient of adaptive neurons.

    Attributes:
        theta: the threshold without spikes.
        rise: what a spike adds to the threshold.
        scale: what it adds to the refractory state, in thresholds of its step.
        exact: whether backward includes the path through adaptation.
        graded: whether a spike carries the potential.
        width: ``tau_rho theta``, the unit of the surrogate's argument.
        height: ``dt scale_rho / (tau_rho theta)``, the factor of its shape, times the step in milliseconds.
        shape: the shape of the surrogate.
    """

    theta: float
    rise: float
    scale: float
    exact: bool
    graded: bool
    width: float
    height: float
    shape: Shape = EXPONENTIAL

    def adaptation(self, dtype: np.dtype[Any]) -> Adaptation:
        """Return what a spike adds in a number type."""
        return Adaptation(*map(dtype.type, (self.theta, self.rise, self.scale)))
