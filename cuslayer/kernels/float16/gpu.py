"""Conversion to float16 and back on a GPU."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array

__all__ = ["load", "store"]


def store(x: Array) -> Array:
    """Return x as float16; values out of range become the largest float16, not infinity."""
    return x.clip(-65504, 65504).astype(np.float16)


def load(half: Array, dtype: Any) -> Array:
    """Return the result of `store` in a number type."""
    return half.astype(dtype)
