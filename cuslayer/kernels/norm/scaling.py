"""The numbers by which batch normalization maps a signal on the CPU, and running statistics on either device."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from cuslayer.backend import Array


class Scaling(NamedTuple):
    """The scaling after the subtraction of the mean."""

    kind: str  # "none", "power" or "std"
    height: float  # a factor, unless there is a gain for each channel, or none of them is scaled
    eps: float  # added to the variance
    exponents: tuple[float, float]  # the least and the most exponent of "power"


class Scale(NamedTuple):
    """The statistics and parameters that normalize a batch, (channels,) each."""

    mean: Array
    var: Array
    centre: Array  # the mean, or a hook's result
    gain: Array | None
    offset: Array | None
    scaling: Scaling


class Applied(NamedTuple):
    """The numbers of a forward pass, (channels,) each: ``y = (x - centre) factor + added``."""

    centre: Array
    factor: Array  # gain or height, divided by the divisor
    added: Array
    divisor: Array
    mean: Array  # the mean of its batch


def shifted(weighted: Array, shift: Array | None) -> Array:
    """Return a weighted input (..., K) after a shift; it may be overwritten.

    A shift is a bias (K,); or rows (3, K), centre, factor and addend of a normalization, ``(x - centre) factor +
    added``; or (4, K), a bias and these; or None.
    """
    if shift is None:
        return weighted
    rows = shift if shift.ndim == 2 else shift[None]
    if len(rows) != 3:
        weighted += rows[0]
    if len(rows) > 1:
        weighted -= rows[-3]
        weighted *= rows[-2]
        weighted += rows[-1]
    return weighted


def move(running: Array, found: Array, momentum: float) -> None:
    """Move a running statistic towards the batch's, in place."""
    running[...] = running + running.dtype.type(momentum) * (found.astype(running.dtype) - running)


def applied(scale: Scale) -> Applied:
    """Return the numbers that normalize a signal."""
    mean, var, centre, gain, offset, scaling = scale
    dtype = np.result_type(*(a.dtype for a in (mean, var, centre, gain, offset) if a is not None))
    divisor = _divisor(var.astype(dtype, copy=False), scaling)
    height = dtype.type(1.0 if scaling.kind == "none" else scaling.height)
    factor = (height if gain is None else gain.astype(dtype, copy=False)) / divisor
    added = np.zeros_like(divisor) if offset is None else offset.astype(dtype)
    # Running statistics may move before the gradients are computed.
    return Applied(centre.astype(dtype), factor, added, divisor, mean.astype(dtype))


def _divisor(var: Array, scaling: Scaling) -> Array:
    """Return the divisor of each channel: its standard deviation, or the power of two at or above it."""
    deviation = var + var.dtype.type(scaling.eps)
    if scaling.kind == "std":
        return np.sqrt(deviation)
    if scaling.kind == "none":
        return np.ones_like(var)
    # The ceiling of the binary logarithm of the standard deviation, which lies between -64 and 64.
    exponent = 64 - np.trunc(64 - np.log(deviation) / (2 * math.log(2)))
    power: Array = 2.0 ** exponent.clip(*scaling.exponents)
    return power.astype(var.dtype)
