"""The constants of adaptive neurons for the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cuslayer.kernels.constants import DynamicSpiking


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


@dataclass(frozen=True, kw_only=True)
class AdaptiveSpiking(DynamicSpiking):
    """Threshold, adaptation and surrogate gradient of adaptive neurons.

    Attributes:
        rise: what a spike adds to the threshold.
        scale: what it adds to the refractory state, in thresholds of its step.
    """

    rise: float
    scale: float

    def adaptation(self, dtype: np.dtype[Any]) -> Adaptation:
        """Return what a spike adds in a number type."""
        return Adaptation(*map(dtype.type, (self.theta, self.rise, self.scale)))
