"""The constants of sigma-delta neurons for the kernels."""

from __future__ import annotations

from dataclasses import dataclass

from cuslayer.kernels.constants import EXPONENTIAL, ScaledSurrogate, Shape


@dataclass(frozen=True)
class DeltaSpiking(ScaledSurrogate):
    """Threshold, activation and surrogate gradient of sigma-delta neurons.

    Attributes:
        theta: the least change that is sent.
        sums: whether the input is summed over time; else it is the signal.
        rectifies: whether the activation is ``max(v, 0)``; else it is v.
        exact: whether backward includes the threshold; else it is that of sending every change.
        width: ``tau_rho theta``, the unit of the surrogate's argument.
        height: ``dt scale_rho / (tau_rho theta)``, the factor of its shape, times the step in milliseconds.
        shape: the shape of the surrogate.
    """

    theta: float
    sums: bool
    rectifies: bool
    exact: bool
    width: float
    height: float
    shape: Shape = EXPONENTIAL
