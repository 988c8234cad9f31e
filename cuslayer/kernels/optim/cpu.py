"""Steps of the optimizers on the CPU, in place and in one pass, and clipping: twins of `optim.cu`.

One loop updates chunks of all weights, so many small weights take the time of their bytes, not of as many calls. A
compiled loop takes addresses, since it would be compiled again for every number of arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cuslayer._base.jit import compiled
from cuslayer._base.parallel import parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.host.llvm import array_at
from cuslayer.kernels.host.memory import empty

__all__ = ["adam_each", "add_squares", "clip_norm", "clip_values", "sgd_each"]

# Elements of a chunk, the least for a thread: fewer take less time than to wake another.
_PIECE = 1 << 15
_GRAIN = _PIECE
# Elements of a partial sum of squares: the order of the sum does not depend on the number of cores.
_PART = 1 << 14
# Elements that are computed in the first cache before they are written.
_ROW = 2048


def _address(name: str, a: Array | None, w: Array) -> int:
    """Return the address of an array that belongs to the weights w, 0 for None."""
    if a is None:
        return 0
    if not a.flags.c_contiguous:
        raise ValueError(f"{name} must be C-contiguous, got strides {a.strides} for shape {a.shape}")
    if a.dtype != w.dtype or a.size != w.size:
        raise ValueError(f"{name} must have the type and size of w, {w.dtype} and {w.size}, got {a.dtype} and {a.size}")
    return int(a.__array_interface__["data"][0])


def _one_pass(kernel: Any, arrays: dict[str, Sequence[Array | None]], numbers: Array) -> None:
    """Run a kernel over the chunks of all weights, with the addresses of their arrays by name, w first."""
    weights: Any = arrays["w"]
    addresses = np.array(
        [[*(_address(name, values[i], w) for name, values in arrays.items()), w.size] for i, w in enumerate(weights)],
        np.int64,
    )
    pieces = np.array([(i, first) for i, w in enumerate(weights) for first in range(0, w.size, _PIECE)], np.int64)
    grain = -(-len(pieces) * _GRAIN // max(1, sum(w.size for w in weights)))
    parallel_for(kernel, len(pieces), pieces.reshape(-1, 2), addresses, numbers, grain=max(1, grain))


@compiled
def _sgd(first: int, last: int, w: Array, g: Array, v: Array, rate: float, momentum: float, decay: float) -> None:
    for j in range(first, last):
        velocity = momentum * v[j] + (g[j] + decay * w[j])
        v[j] = velocity
        w[j] -= rate * velocity


@compiled
def _sgd_pieces(first: int, last: int, pieces: Array, addresses: Array, numbers: Array) -> None:
    for n in range(first, last):
        i, begin = pieces[n]
        w, g, v, size = addresses[i]
        rate, momentum, decay = numbers[i]
        weights = array_at(w, size, numbers)
        gradients = array_at(g, size, numbers)
        velocities = array_at(v, size, numbers)
        _sgd(begin, min(begin + _PIECE, size), weights, gradients, velocities, rate, momentum, decay)


def sgd_each(w: Sequence[Array], g: Sequence[Array], v: Sequence[Array], numbers: Array) -> None:
    """Take a step of SGD for several weights w of a type: ``v = momentum v + g + decay w``, ``w -= rate v``.

    The numbers (weights, 3) of each are the rate, momentum and decay.
    """
    _one_pass(_sgd_pieces, {"w": w, "g": g, "v": v}, numbers)


@compiled
def _adam(
    first: int,
    last: int,
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    peak: Array,
    keep_peak: bool,
    beta1: float,
    beta2: float,
    rate_m: float,
    rate_g: float,
    scale_v: float,
    eps: float,
    decay: float,
) -> None:
    one = w.dtype.type(1)
    for j in range(first, last):
        slope = g[j] + decay * w[j]
        mean = beta1 * m[j] + (one - beta1) * slope
        square = beta2 * v[j] + (one - beta2) * (slope * slope)
        m[j] = mean
        v[j] = square
        if keep_peak:
            square = max(peak[j], square)
            peak[j] = square
        w[j] -= (rate_m * mean + rate_g * slope) / (np.sqrt(square) * scale_v + eps)


@compiled
def _adam_pieces(first: int, last: int, pieces: Array, addresses: Array, numbers: Array) -> None:
    for n in range(first, last):
        i, begin = pieces[n]
        w, g, m, v, peak, size = addresses[i]
        beta1, beta2, rate_m, rate_g, scale_v, eps, decay = numbers[i]
        end = min(begin + _PIECE, size)
        weights = array_at(w, size, numbers)
        gradients = array_at(g, size, numbers)
        means = array_at(m, size, numbers)
        squares = array_at(v, size, numbers)
        peaks = array_at(peak if peak != 0 else v, size, numbers)
        _adam(
            begin,
            end,
            weights,
            gradients,
            means,
            squares,
            peaks,
            peak != 0,
            beta1,
            beta2,
            rate_m,
            rate_g,
            scale_v,
            eps,
            decay,
        )


def adam_each(
    w: Sequence[Array],
    g: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    peak: Sequence[Array | None],
    numbers: Array,
) -> None:
    """Take a step of Adam, AMSGrad or NAdam for several weights w of a type.

    With ``g' = g + decay w``: ``m = beta1 m + (1 - beta1) g'``, ``v = beta2 v + (1 - beta2) g'^2``,
    ``w -= (rate_m m + rate_g g') / (sqrt(v) scale_v + eps)``. With a peak (AMSGrad), which stores it, the largest v so
    far replaces v. The rates include the bias corrections.
    The numbers (weights, 7) of each are beta1, beta2, rate_m, rate_g, scale_v, eps and decay.
    """
    _one_pass(_adam_pieces, {"w": w, "g": g, "m": m, "v": v, "peak": peak}, numbers)


def add_squares(totals: Array, gradients: Sequence[Array | None]) -> None:
    """Add the sum of the squares of each gradient to totals (gradients,), float64; None counts as zero."""
    for i, g in enumerate(gradients):
        if g is not None:
            flat = g.reshape(-1)
            totals[i] += (flat @ flat).astype("float64")


@compiled
def _squares(first: int, last: int, g: Array, parts: Array) -> None:
    for low in range(first, last, _PART):
        high = min(low + _PART, last)
        a = 0.0
        b = 0.0
        c = 0.0
        d = 0.0
        for j in range(low, high - 3, 4):
            w = np.float64(g[j])
            x = np.float64(g[j + 1])
            y = np.float64(g[j + 2])
            z = np.float64(g[j + 3])
            a += w * w
            b += x * x
            c += y * y
            d += z * z
        for j in range(high - (high - low) % 4, high):
            x = np.float64(g[j])
            a += x * x
        parts[low // _PART] = (a + b) + (c + d)


def _sum_of_squares(g: Array) -> float:
    flat = np.ascontiguousarray(g).reshape(-1)
    parts = np.zeros(-(-g.size // _PART))
    parallel_for(_squares, flat.size, flat, parts, grain=_PART)
    return sum(parts.tolist())


# A loop over rows, not over a range of the whole: LLVM turns an index that may be negative into gathers and scatters.
@compiled
def _clip(first: int, last: int, g: Array, y: Array, limit: float, factor: float) -> None:
    zero = g.dtype.type(0)
    for low in range(first, last, _ROW):
        values = g[low : min(low + _ROW, last)]
        row = y[low : low + values.size]
        for j in range(values.size):
            value = values[j]
            clipped = limit if value > limit else -limit if value < -limit else value
            row[j] = factor * (clipped if value - value == zero else value)


def _clipped(g: Array, limit: float, factor: float) -> Array:
    """Return a gradient whose elements are clipped to an absolute value and scaled."""
    y = empty(g.shape, g.dtype)
    real = g.dtype.type
    flat = np.ascontiguousarray(g).reshape(-1)
    parallel_for(_clip, g.size, flat, y.reshape(-1), real(limit), real(factor), grain=_PART)
    return y


def clip_values(gradients: Sequence[Array], limit: float) -> list[Array]:
    """Return copies of gradients clipped to the absolute value `limit`; elements that are not finite stay so."""
    return [_clipped(g, limit, 1.0) for g in gradients]


def clip_norm(gradients: Sequence[Array], limit: float) -> list[Array]:
    """Return gradients scaled so that their common Euclidean norm is at most `limit`; the given arrays do not change.

    A gradient that is not finite becomes NaN, and its norm does not scale the others.
    """
    totals = [_sum_of_squares(g) for g in gradients]
    size = math.sqrt(sum(totals)) if all(map(math.isfinite, totals)) else 0.0
    scale = limit / size if size > limit else 1.0
    factors = [scale if math.isfinite(total) else math.nan for total in totals]
    return [g if factor == 1.0 else _clipped(g, math.inf, factor) for g, factor in zip(gradients, factors, strict=True)]
