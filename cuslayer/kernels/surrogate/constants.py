"""The constants of a surrogate gradient for the kernels."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer.kernels.constants import Surrogate


class SurrogateNumbers(NamedTuple):
    """A surrogate, ``dt rho(u) = height f((u - theta) steep)``, in the number type of the arrays.

    Attributes:
        code: the number of the shape f.
        theta: the threshold.
        steep: 1 / width.
        height: the factor of f.
        a: a constant of the shape.
        b: another.
    """

    code: int
    theta: Any
    steep: Any
    height: Any
    a: Any
    b: Any


def surrogate_numbers(spiking: Surrogate, dtype: np.dtype[Any]) -> SurrogateNumbers:
    """Return the surrogate of neurons in a number type."""
    real, shape = dtype.type, spiking.shape
    return SurrogateNumbers(shape.code, *spiking.surrogate(dtype), real(shape.a), real(shape.b))
