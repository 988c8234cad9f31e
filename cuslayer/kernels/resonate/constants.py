"""The constants of resonant neurons for the kernels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cuslayer.kernels.constants import EXPONENTIAL, ScaledSurrogate, Shape


class ComplexReset(NamedTuple):
    """What a spike leaves of the state: ``re_share re`` and ``im_share im + im_add``."""

    re_share: Any
    im_share: Any
    im_add: Any

    def of_type(self, dtype: np.dtype[Any]) -> ComplexReset:
        """Return the reset in a number type."""
        return ComplexReset(*map(dtype.type, self))


@dataclass(frozen=True)
class ResonantSpiking(ScaledSurrogate):
    """Threshold, reset and surrogate gradient of resonant neurons.

    Attributes:
        theta: the threshold.
        reset: what a spike leaves of the state.
        exact: whether backward includes the path through the reset.
        graded: whether a spike carries the potential.
        width: ``tau_rho theta``, the unit of the surrogate's argument.
        height: ``dt scale_rho / (tau_rho theta)``, the factor of its shape, times the step in milliseconds.
        shape: the shape of the surrogate.
    """

    theta: float
    reset: ComplexReset
    exact: bool
    graded: bool
    width: float
    height: float
    shape: Shape = EXPONENTIAL
