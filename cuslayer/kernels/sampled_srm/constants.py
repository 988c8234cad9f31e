"""The constants of a spike response neuron with a sampled refractory response, for the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from cuslayer.backend import Array


@dataclass(frozen=True, eq=False)
class SampledSpiking:
    """Threshold, sampled refractory response and surrogate gradient.

    Attributes:
        theta: the threshold.
        refractory: the response of the potential to the neuron's own spike, (K,) float64, the first at lag 0.
        width: ``tau_rho theta``, the distance from the threshold at which the surrogate is 1/e of its height.
        height: ``dt scale_rho / (tau_rho theta)``, the surrogate at the threshold times the step in milliseconds.
    """

    theta: float
    refractory: Array
    width: float
    height: float

    def surrogate(self, dtype: np.dtype[Any]) -> tuple[Any, Any, Any]:
        """Return theta, 1 / width and height in a number type; see `Spiking.surrogate`."""
        real = dtype.type
        return real(self.theta), real(1 / self.width), real(self.height)
