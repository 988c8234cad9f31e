"""What the launchers share: new arrays where the old ones lie, rows without gaps, constants in a kernel's type."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from cuslayer.backend import Array, namespace
from cuslayer.kernels.constants import Alpha, Recurrence, Spiking
from cuslayer.kernels.loihi.constants import FixedPoint

# AHEAD of common.cuh: the steps that one thread of fir and shift makes. Only how many threads start depends on it.
TILE = 8


def sizes(x: Array) -> tuple[int, int]:
    """Return the steps and the columns of x (T, ...)."""
    return x.shape[0], math.prod(x.shape[1:])


def empty(beside: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array without contents on the device of another."""
    return namespace(beside).empty(shape, dtype)


def contiguous(x: Array) -> Array:
    """Return x, copied where its rows are not contiguous, as a broadcast gradient's are not."""
    return namespace(x).ascontiguousarray(x)


def numbers(x: Array) -> Array:
    """Return spikes as float32, and numbers as they are."""
    return contiguous(x.astype(np.float32) if x.dtype == bool else x)


def samples(taps: Array, beside: Array) -> Array:
    """Return the samples of a filter in the type and on the device of the signal that it filters."""
    return namespace(beside).asarray(taps, beside.dtype, order="C")


@lru_cache(maxsize=256)
def recurrence(alpha: Alpha, dtype: np.dtype[Any], steps: int) -> Recurrence:
    """Return the constants of a filter; where it is never cut, the kernels take a cut at the end for none."""
    f = alpha.recurrence(dtype, steps)
    return f if f.cut else f._replace(cut=steps)


@lru_cache(maxsize=256)
def surrogate(spiking: Spiking | FixedPoint, dtype: np.dtype[Any]) -> tuple[Any, Any, Any]:
    """Return theta, 1 / width and height of the surrogate as the kernels take them."""
    return spiking.surrogate(dtype)
