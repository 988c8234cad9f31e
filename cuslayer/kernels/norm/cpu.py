"""Batch normalization on the CPU: statistics of channels, the normalized signal and its gradients.

Sums over millions of numbers are in float64, in parts that do not depend on the number of cores.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from cuslayer._base.jit import compiled
from cuslayer._base.parallel import parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import repeated
from cuslayer.kernels.norm.scaling import Applied, Scale, Scaling, applied, move

# Parts of a sum, and numbers of a part that are summed before they are added to the part's channels.
_PARTS, _TOGETHER = 16, 512
# Rows of numbers that one thread maps.
_GRAIN = 64


def _wide(x: Array) -> tuple[Array, int]:
    """Return x (..., channels) as rows of some pixels each, and the numbers of all whole rows."""
    channels = x.shape[-1]
    pixels = max(1, _TOGETHER // max(channels, 1))
    flat = np.ascontiguousarray(x).reshape(-1)
    return flat, pixels * channels


@compiled
def _add_pairs(flat: Array, other: Array, begin: int, end: int, width: int, of_channel: Array, sums: Array) -> None:
    """Add each number of flat[begin:end] less its channel's in `of_channel`, and its product with another's.

    A row of `width` numbers is some pixels; `sums` (2, width) are in float64.
    """
    plain = sums[0]
    weighted = sums[1]
    for at in range(begin, end, width):
        size = min(width, end - at)
        row = flat[at : at + size]
        factors = other[at : at + size]
        for j in range(size):
            distance = factors[j] - of_channel[j]
            number = np.float64(row[j])
            plain[j] += number
            weighted[j] += number * np.float64(distance)


@compiled
def _add_squares(flat: Array, begin: int, end: int, width: int, of_channel: Array, sums: Array) -> None:
    """Add the distance of each number from its channel's in `of_channel`, and the square."""
    plain = sums[0]
    weighted = sums[1]
    for at in range(begin, end, width):
        size = min(width, end - at)
        row = flat[at : at + size]
        for j in range(size):
            distance = np.float64(row[j]) - np.float64(of_channel[j])
            plain[j] += distance
            weighted[j] += distance * distance


@compiled
def _sum_parts(first: int, last: int, flat: Array, other: Array, width: int, of_channel: Array, parts: Array) -> None:
    channels = parts.shape[2]
    rows = -(-flat.size // width)
    sums = np.empty((2, width), np.float64)
    for part in range(first, last):
        begin = rows * part // _PARTS * width
        end = min(rows * (part + 1) // _PARTS * width, flat.size)
        sums[:] = 0
        if other.size:
            _add_pairs(flat, other, begin, end, width, of_channel, sums)
        else:
            _add_squares(flat, begin, end, width, of_channel, sums)
        for i in range(2):
            for j in range(width):
                parts[part, i, j % channels] += sums[i, j]


def _sums(x: Array, other: Array, of_channel: Array) -> Array:
    """Return two sums of each channel in float64, (2, channels), by `_add_pairs`, or `_add_squares` without another."""
    flat, width = _wide(x)
    parts = np.zeros((_PARTS, 2, x.shape[-1]))
    row = repeated(of_channel, width // x.shape[-1])
    parallel_for(_sum_parts, _PARTS, flat, np.ascontiguousarray(other).reshape(-1), width, row, parts, grain=1)
    total: Array = parts.sum(axis=0)
    return total


def statistics(x: Array, running: tuple[Array, Array] | None, momentum: float) -> tuple[Array, Array]:
    """Return mean and variance of the channels, the last axis of x; move the running ones towards them, if given."""
    first = x.reshape(-1, x.shape[-1])[0]
    from_first, squares = _sums(x, x[:0], first) * (x.shape[-1] / x.size)
    mean = (first + from_first).astype(x.dtype)
    var = np.maximum(squares - from_first * from_first, 0).astype(x.dtype)
    for kept, found in zip(running or (), (mean, var), strict=False):
        move(kept, found, momentum)
    return mean, var


@compiled
def _normalize(
    first: int, last: int, flat: Array, width: int, centre: Array, factor: Array, added: Array, y: Array
) -> None:
    for at in range(first * width, min(last * width, flat.size), width):
        size = min(width, flat.size - at)
        row = flat[at : at + size]
        out = y[at : at + size]
        for j in range(size):
            out[j] = (row[j] - centre[j]) * factor[j] + added[j]


def forward(x: Array, scale: Scale) -> tuple[Array, Applied]:
    """Return x (..., channels) normalized, and values for `adjoint`."""
    numbers = applied(scale)
    dtype = np.result_type(x.dtype, numbers.centre.dtype)
    flat, width = _wide(x.astype(dtype, copy=False))
    y = empty(x.shape, dtype)
    rows = repeated(np.stack(numbers[:3]).astype(dtype), width // max(x.shape[-1], 1))
    parallel_for(_normalize, -(-flat.size // max(width, 1)), flat, width, *rows, y.reshape(-1), grain=_GRAIN)
    return y, numbers


@compiled
def _input_adjoint(
    first: int,
    last: int,
    g: Array,
    x: Array,
    width: int,
    factor: Array,
    slope: Array,
    mean: Array,
    shift: Array,
    y: Array,
) -> None:
    for at in range(first * width, min(last * width, g.size), width):
        size = min(width, g.size - at)
        grads = g[at : at + size]
        row = x[at : at + size]
        out = y[at : at + size]
        for j in range(size):
            out[j] = grads[j] * factor[j] + slope[j] * (row[j] - mean[j]) + shift[j]


def adjoint(
    g: Array,
    x: Array,
    numbers: Applied,
    gain: Array | None,
    scaling: Scaling,
    of_batch: bool,
    hook: Callable[[Array], Array] | None,
    *,
    overwrite: bool = False,
) -> tuple[Callable[[], Array], Callable[[], Array], Array | None, Array | None]:
    """Return the gradients of x and of the mean, which are computed on demand, of the gain and of the offset.

    With `of_batch`, mean and variance are x's, and the gradient goes through them. `hook` maps the gradient of `centre`
    to the mean's; it is None if both are equal. With `overwrite`, the gradient of x may overwrite g.
    """
    dtype = numbers.divisor.dtype
    g = np.ascontiguousarray(g.astype(dtype, copy=False))
    x = np.ascontiguousarray(x.astype(dtype, copy=False))
    sums = list[Array]()

    def totals() -> Array:
        """Return the sums over g, and over g times the normal signal before its gain."""
        if not sums:
            plain, weighted = _sums(g, x, numbers.centre) if g.size else np.zeros((2, x.shape[-1]))
            sums.append(np.stack([plain, weighted / numbers.divisor]))
        return sums[0]

    def of_mean() -> Array:
        of_centre = (-numbers.factor * totals()[0]).astype(dtype)
        return of_centre if hook is None else hook(of_centre)

    def of_input() -> Array:
        if not of_batch:
            scaled: Array = g * numbers.factor
            return scaled
        share = x.shape[-1] / x.size
        slope = np.zeros_like(numbers.factor)
        if scaling.kind == "std":
            slope = (-numbers.factor * totals()[1] / numbers.divisor * share).astype(dtype)
        shift = (of_mean() * share).astype(dtype)
        flat, width = _wide(g)
        rows = repeated(np.stack([numbers.factor, slope, numbers.mean, shift]), width // x.shape[-1])
        y = g if overwrite else empty(x.shape, dtype)
        flat_x = x.reshape(-1)
        parallel_for(_input_adjoint, -(-flat.size // width), flat, flat_x, width, *rows, y.reshape(-1), grain=_GRAIN)
        return y

    if gain is None:
        return of_input, of_mean, None, None
    of_offset, of_gain = totals().astype(dtype)
    return of_input, of_mean, of_gain, of_offset
