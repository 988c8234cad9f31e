"""What the encoders are handed, checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_numpy


def signal(op: str, x: Any) -> Array:
    """Return the array x as float32 or float64 on the CPU, contiguous.

    Raises:
        TypeError: x is not made of real numbers.
        ValueError: a value is infinite or not a number.
    """
    given = to_numpy(x)
    if given.dtype.kind not in "biuf":
        raise TypeError(f"{op}: x must be real numbers, got {given.dtype}")
    numbers = np.asarray(given, given.dtype if given.dtype in (np.float32, np.float64) else np.float32, order="C")
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if wrong.size:
        raise ValueError(f"{op}: x must be finite, got {numbers.flat[wrong[0]]}")
    return numbers


def not_negative(op: str, x: Array) -> None:
    """Raise ValueError where a value of x is under 0."""
    if x.size and x.min() < 0:
        raise ValueError(f"{op}: x must not be negative, got {x.min():g}")


def batch_first(op: str, x: Array) -> None:
    """Raise ValueError unless x is an array (N, ...)."""
    if x.ndim < 1:
        raise ValueError(f"{op}: x must be (N, ...), got shape ()")


def count(op: str, steps: Any) -> int:
    """Return a number of steps, 1 or more."""
    return check.integer(op, "steps", steps, least=1)
