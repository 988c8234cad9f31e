"""Conversion to float16 and back on a GPU: the launcher of `float16.cu`."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty

__all__ = ["load", "store"]


def store(x: Array) -> Array:
    """Return x as float16; finite values out of range become the largest float16, others infinity."""
    half = empty(x, x.shape, np.float16)
    kernel("store_float16", x.dtype)(x.size, x=contiguous(x), half=half)
    return half


def load(half: Array, dtype: Any) -> Array:
    """Return the result of `store` in a number type."""
    return half.astype(dtype)
