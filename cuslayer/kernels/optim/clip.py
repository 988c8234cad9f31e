"""Clipping of gradients on the CPU: twins of `optim.cu`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.streaming import fence, is_large, write_row
from cuslayer.kernels.host.tiles import scratch

# Elements of a partial sum of squares: their order does not depend on the number of cores.
_PART = 1 << 14
# Elements that are computed in the first cache before they are written.
_ROW = 2048


@compiled
def _squares(first: int, last: int, g: Any, parts: Any) -> None:
    for low in range(first, last, _PART):
        high = min(low + _PART, last)
        a = b = c = d = 0.0
        for j in range(low, high - 3, 4):
            w, x, y, z = np.float64(g[j]), np.float64(g[j + 1]), np.float64(g[j + 2]), np.float64(g[j + 3])
            a += w * w
            b += x * x
            c += y * y
            d += z * z
        for j in range(high - (high - low) % 4, high):
            x = np.float64(g[j])
            a += x * x
        parts[low // _PART] = (a + b) + (c + d)


def _sum_of_squares(g: Array) -> float:
    flat, parts = np.ascontiguousarray(g).reshape(-1), np.zeros(-(-g.size // _PART))
    parallel_for(_squares, flat.size, flat, parts, grain=_PART)
    return sum(parts.tolist())


# Loops over rows, not over a range of the whole: of an index that may be negative, LLVM makes gathers and scatters.
@compiled
def _clip(first: int, last: int, g: Any, y: Any, limit: Any, large: bool) -> None:
    zero, rows = g.dtype.type(0), scratch(_ROW, g)
    for low in range(first, last, _ROW):
        given = g[low : min(low + _ROW, last)]
        row = rows[: given.size]
        for j in range(given.size):
            value = given[j]
            clipped = limit if value > limit else -limit if value < -limit else value
            row[j] = clipped if value - value == zero else value
        write_row(y[low : low + given.size], row, large)
    fence()


@compiled
def _scale(first: int, last: int, g: Any, y: Any, factor: Any, large: bool) -> None:
    rows = scratch(_ROW, g)
    for low in range(first, last, _ROW):
        given = g[low : min(low + _ROW, last)]
        row = rows[: given.size]
        for j in range(given.size):
            row[j] = given[j] * factor
        write_row(y[low : low + given.size], row, large)
    fence()


def _each(kernel: Any, g: Array, number: float) -> Array:
    """Return what a kernel makes of each element of a gradient and a number in its type."""
    y = empty(g.shape, g.dtype)
    flat = np.ascontiguousarray(g).reshape(-1)
    parallel_for(kernel, g.size, flat, y.reshape(-1), g.dtype.type(number), is_large(y), grain=_PART)
    return y


def clip_values(gradients: Sequence[Array], limit: float) -> list[Array]:
    """Return gradients clipped to the absolute value `limit`; what is not finite stays so, and the given arrays too."""
    return [_each(_clip, g, limit) for g in gradients]


def clip_norm(gradients: Sequence[Array], limit: float) -> list[Array]:
    """Return gradients scaled so that their common Euclidean norm is at most `limit`; the given arrays do not change.

    A gradient that is not finite becomes NaN, and the others are not scaled by its norm.
    """
    totals = [_sum_of_squares(g) for g in gradients]
    size = math.sqrt(sum(totals)) if all(map(math.isfinite, totals)) else 0.0
    factors = [(limit / size if size > limit else 1.0) if math.isfinite(total) else math.nan for total in totals]
    return [g if factor == 1.0 else _each(_scale, g, factor) for g, factor in zip(gradients, factors, strict=True)]
