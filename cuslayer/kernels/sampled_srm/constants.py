"""The constants of a spike response neuron with a sampled refractory response, for the kernels."""

from __future__ import annotations

from dataclasses import dataclass

from cuslayer.backend import Array
from cuslayer.kernels.constants import LaplaceSurrogate


@dataclass(frozen=True, eq=False)
class SampledSpiking(LaplaceSurrogate):
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
