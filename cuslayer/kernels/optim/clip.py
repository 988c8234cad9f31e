"""Clipping of gradients on the CPU: twin of `clip.cu`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for

# Elements of a partial sum of squares: their order does not depend on the number of cores.
_PART = 1 << 14


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


def clip_values(gradients: Sequence[Array], limit: float) -> list[Array]:
    """Return gradients clipped to the absolute value `limit`; what is not finite stays so, and the given arrays too."""
    return [np.where(np.isfinite(g), g.clip(-limit, limit), g) for g in gradients]


def clip_norm(gradients: Sequence[Array], limit: float) -> list[Array]:
    """Return gradients scaled so that their common Euclidean norm is at most `limit`; the given arrays do not change.

    A gradient that is not finite becomes NaN, and the others are not scaled by its norm.
    """
    totals = [_sum_of_squares(g) for g in gradients]
    size = math.sqrt(sum(totals)) if all(map(math.isfinite, totals)) else 0.0
    factors = [(limit / size if size > limit else 1.0) if math.isfinite(total) else math.nan for total in totals]
    return [g if factor == 1.0 else g * g.dtype.type(factor) for g, factor in zip(gradients, factors, strict=True)]
