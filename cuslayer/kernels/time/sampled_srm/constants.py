"""The constants of a spike response neuron with a sampled refractory response, for the kernels."""

from __future__ import annotations

from dataclasses import dataclass

from cuslayer.backend import Array
from cuslayer.kernels.constants import ScaledSurrogate, Shape


@dataclass(frozen=True, eq=False)
class SampledSpiking(ScaledSurrogate):
    """Threshold, sampled refractory response and surrogate gradient."""

    theta: float
    refractory: Array  # the response of the potential to the neuron's own spike, (K,) float64, the first at lag 0
    width: float  # ``tau_rho theta``, the unit of the surrogate's argument
    height: float  # ``dt scale_rho / (tau_rho theta)``, the factor of its shape, times the step in milliseconds
    shape: Shape
