"""Numbers kept at half their size."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array

__all__ = ["load", "store"]


def store(x: Array) -> Array:
    """Return x as float16; what is too large becomes the largest float16, not infinite."""
    return x.clip(-65504, 65504).astype(np.float16)


def load(half: Array, dtype: Any) -> Array:
    """Return what `halved` has made in a number type again."""
    return half.astype(dtype)
