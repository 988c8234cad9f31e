"""Batch normalization on the CPU: statistics of channels, the normalized signal and its gradients."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from cuslayer.backend import Array


class Scaling(NamedTuple):
    """The scaling after the subtraction of the mean."""

    kind: str  # "none", "power" or "std"
    height: float  # a factor, unless there is a gain for each channel, or none of them is scaled
    eps: float  # added to the variance
    exponents: tuple[float, float]  # the least and the most exponent of "power"


class Applied(NamedTuple):
    """The numbers that a forward pass has subtracted and divided by, (channels,) each, and the mean of its batch."""

    centre: Array
    divisor: Array
    mean: Array


def move(running: Array, found: Array, momentum: float) -> None:
    """Move a running statistic towards the batch's, in place; on either device."""
    running[...] = running + running.dtype.type(momentum) * (found.astype(running.dtype) - running)


def _total(x: Array) -> Array:
    """Return the sum of each channel; in float32 millions of addends would be rounded coarsely."""
    found: Array = x.sum(axis=tuple(range(x.ndim - 1)), dtype=np.float64).astype(x.dtype)
    return found


def statistics(x: Array, running: tuple[Array, Array] | None, momentum: float) -> tuple[Array, Array]:
    """Return mean and variance of the channels, the last axis of x; move the running ones towards them, if given."""
    share = x.dtype.type(x.shape[-1] / x.size)
    mean = _total(x) * share
    distance = x - mean
    distance *= distance
    var = _total(distance) * share
    for kept, found in zip(running or (), (mean, var), strict=False):
        move(kept, found, momentum)
    return mean, var


def forward(
    x: Array, mean: Array, var: Array, centre: Array, gain: Array | None, offset: Array | None, scaling: Scaling
) -> tuple[Array, Applied]:
    """Return x (..., channels) less `centre`, the mean or a hook's result, normalized; and values for `adjoint`."""
    divisor = _divisor(var, scaling)
    y = x - centre
    if scaling.kind != "none":
        y = np.divide(y, divisor, out=y if y.dtype == np.result_type(y, divisor) else None)
    if gain is not None and offset is not None:
        y = y * gain + offset
    elif scaling.kind != "none" and scaling.height != 1.0:
        y *= y.dtype.type(scaling.height)
    # Running statistics may move before the gradients are computed.
    return y, Applied(centre.copy(), divisor, mean)


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


def adjoint(
    g: Array,
    x: Array,
    applied: Applied,
    gain: Array | None,
    scaling: Scaling,
    of_batch: bool,
    hook: Callable[[Array], Array] | None,
) -> tuple[Callable[[], Array], Callable[[], Array], Array | None, Array | None]:
    """Return the gradients of x and of the mean, which are computed on demand, of the gain and of the offset.

    With `of_batch`, mean and variance are x's, and the gradient goes through them. `hook` maps the gradient of `centre`
    to the mean's; it is None if both are equal.
    """
    of_gain = of_offset = None
    through_var = of_batch and scaling.kind == "std"

    def divided(a: Array) -> Array:
        found: Array = a if scaling.kind == "none" else a / applied.divisor
        return found

    if through_var or gain is not None:
        normal = divided(x - applied.centre)
    if gain is not None:
        of_gain, of_offset = _total(g * normal), _total(g)

    def of_difference() -> Array:
        if gain is not None:
            return g * gain
        return g if scaling.kind == "none" or scaling.height == 1.0 else g * g.dtype.type(scaling.height)

    def through_centre(found: Array) -> Array:
        of_centre = -_total(found)
        return of_centre if hook is None else hook(of_centre)

    def of_input() -> Array:
        scaled, divisor = of_difference(), applied.divisor
        found = divided(scaled)
        if not of_batch:
            return found
        share, of_mean = x.dtype.type(x.shape[-1] / x.size), through_centre(found)
        if through_var:
            of_var = _total(-scaled * normal / divisor) / (2 * divisor)
            of_distance = 2 * (of_var * share) * (x - applied.mean)
            found = found + of_distance
            of_mean = of_mean - _total(of_distance)
        return found + of_mean * share

    return of_input, lambda: through_centre(divided(of_difference())), of_gain, of_offset
