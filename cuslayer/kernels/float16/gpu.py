"""Conversion to float16 and back on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array

__all__ = ["load", "store"]


def store(x: Array) -> Array:
    """Return x as float16; finite values out of range become the largest float16, others what is not finite."""
    # x - x is 0 for finite x, NaN for any other.
    return (x.clip(-65504, 65504) + (x - x)).astype(np.float16)


def load(half: Array, dtype: Any) -> Array:
    """Return the result of `store` in a number type."""
    return half.astype(dtype)
