"""Steps of the optimizers on the CPU, in place and in one pass: twins of `optim.cu`; and clipping, of clip.py.

All weights of a step are in one loop, which is divided into pieces of them: many small weights then take the time of
their bytes, not that of as many calls. A compiled loop is given their addresses, since it would be compiled again for
every number of arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.host.addresses import array_at
from cuslayer.kernels.optim.clip import clip_norm, clip_values

__all__ = ["adam", "adam_all", "adam_each", "clip_norm", "clip_values", "sgd", "sgd_all", "sgd_each"]

# Elements of a piece, and those that one thread updates at least: fewer take less time than to wake another.
_PIECE = _GRAIN = 1 << 15


def _address(name: str, a: Array | None, w: Array) -> int:
    """Return the address of what belongs to the weights w, 0 for None."""
    if a is None:
        return 0
    if not a.flags.c_contiguous:
        raise ValueError(f"{name} must be C-contiguous, got strides {a.strides} for shape {a.shape}")
    if a.dtype != w.dtype or a.size != w.size:
        raise ValueError(f"{name} must have the type and size of w, {w.dtype} and {w.size}, got {a.dtype} and {a.size}")
    return int(a.__array_interface__["data"][0])


def _one_pass(kernel: Any, arrays: dict[str, Sequence[Array | None]], numbers: Array) -> None:
    """Run a kernel over the pieces of all weights.

    Args:
        kernel: takes a range of pieces, their weights and first elements (pieces, 2), the addresses of the arrays of
            each weight and its size (weights, arrays + 1), and numbers.
        arrays: by name, w first, the arrays of each weight; None has the address 0.
        numbers: (weights, ...), in the weights' type.
    """
    weights: Any = arrays["w"]
    addresses = np.array(
        [[*(_address(name, some[i], w) for name, some in arrays.items()), w.size] for i, w in enumerate(weights)],
        np.int64,
    )
    pieces = np.array([(i, first) for i, w in enumerate(weights) for first in range(0, w.size, _PIECE)], np.int64)
    grain = -(-len(pieces) * _GRAIN // max(1, sum(w.size for w in weights)))
    parallel_for(kernel, len(pieces), pieces.reshape(-1, 2), addresses, numbers, grain=max(1, grain))


@compiled
def _sgd(first: int, last: int, w: Any, g: Any, v: Any, rate: Any, momentum: Any, decay: Any) -> None:
    for j in range(first, last):
        velocity = momentum * v[j] + (g[j] + decay * w[j])
        v[j] = velocity
        w[j] -= rate * velocity


@compiled
def _sgd_pieces(first: int, last: int, pieces: Any, addresses: Any, numbers: Any) -> None:
    for n in range(first, last):
        i, begin = pieces[n]
        w, g, v, size = addresses[i]
        rate, momentum, decay = numbers[i]
        arrays = array_at(w, size, numbers), array_at(g, size, numbers), array_at(v, size, numbers)
        _sgd(begin, min(begin + _PIECE, size), *arrays, rate, momentum, decay)


def sgd_each(w: Sequence[Array], g: Sequence[Array], v: Sequence[Array], numbers: Array) -> None:
    """Take a step of `sgd` for several weights w of a type, with the rate, momentum and decay of each, (weights, 3)."""
    _one_pass(_sgd_pieces, {"w": w, "g": g, "v": v}, numbers)


def sgd(w: Array, g: Array, v: Array, rate: float, momentum: float, decay: float) -> None:
    """Update the weights w by gradient descent with momentum: ``v = momentum v + g + decay w``, ``w -= rate v``."""
    sgd_each([w], [g], [v], np.array([[rate, momentum, decay]], w.dtype))


@compiled
def _adam(
    first: int,
    last: int,
    w: Any,
    g: Any,
    m: Any,
    v: Any,
    peak: Any,
    keep_peak: bool,
    beta1: Any,
    beta2: Any,
    rate_m: Any,
    rate_g: Any,
    scale_v: Any,
    eps: Any,
    decay: Any,
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
def _adam_pieces(first: int, last: int, pieces: Any, addresses: Any, numbers: Any) -> None:
    for n in range(first, last):
        i, begin = pieces[n]
        w, g, m, v, peak, size = addresses[i]
        beta1, beta2, rate_m, rate_g, scale_v, eps, decay = numbers[i]
        arrays = array_at(w, size, numbers), array_at(g, size, numbers), array_at(m, size, numbers)
        squares, largest = array_at(v, size, numbers), array_at(peak if peak != 0 else v, size, numbers)
        constants = beta1, beta2, rate_m, rate_g, scale_v, eps, decay
        _adam(begin, min(begin + _PIECE, size), *arrays, squares, largest, peak != 0, *constants)


def adam_each(
    w: Sequence[Array],
    g: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    peak: Sequence[Array | None],
    numbers: Array,
) -> None:
    """Take a step of `adam` for several weights w of a type.

    The numbers (weights, 7) of each are beta1, beta2, rate_m, rate_g, scale_v, eps and decay.
    """
    _one_pass(_adam_pieces, {"w": w, "g": g, "m": m, "v": v, "peak": peak}, numbers)


def adam(
    w: Array,
    g: Array,
    m: Array,
    v: Array,
    peak: Array | None,
    *,
    betas: tuple[float, float],
    rate_m: float,
    rate_g: float,
    scale_v: float,
    eps: float,
    decay: float,
) -> None:
    """Update the weights w by Adam, AMSGrad or NAdam, in place.

    With ``g' = g + decay w``: ``m = beta1 m + (1 - beta1) g'``, ``v = beta2 v + (1 - beta2) g'^2``,
    ``w -= (rate_m m + rate_g g') / (sqrt(v) scale_v + eps)``. With ``peak`` (AMSGrad), the largest v so far, which is
    stored there, replaces v. The rates include the bias corrections.
    """
    numbers = np.array([[*betas, rate_m, rate_g, scale_v, eps, decay]], w.dtype)
    adam_each([w], [g], [m], [v], [peak], numbers)


def _note(watch: Array, step: Array, gradient: list[Array], update: list[Array]) -> None:
    """Store the number of this step in the places (2,) of a weight, if arrays are not finite for the first time."""
    for place, arrays in enumerate((gradient, update)):
        if not watch[place] and not all(np.isfinite(a).all() for a in arrays):
            watch[place] = step.sum() + 1


def sgd_all(
    w: Sequence[Array],
    g: Sequence[Array],
    v: Sequence[Array],
    constants: Array,
    rates: Array,
    step: Array,
    watch: Array,
) -> None:
    """Take a step of `sgd` for several weights w, then clip them to their bounds.

    Args:
        w: the weights.
        g: their gradients.
        v: their velocities.
        constants: (weights, 4): momentum, weight decay, and the bounds of each.
        rates: (rows, weights, 1): the learning rates of some steps.
        step: (2,) int64, the row of this step, at most the last, which is advanced, and the number of earlier steps.
        watch: (weights, 2) int64, the first steps, from 1, in which the gradient or the update of each had a number
            that is not finite; 0 if there was none.
    """
    now = rates[min(step[0], len(rates) - 1)]
    sgd_each(w, g, v, np.concatenate([now, constants[:, :2]], axis=1))
    for i, (least, most) in enumerate(constants[:, 2:]):
        w[i].clip(least, most, out=w[i])
        _note(watch[i], step, [g[i]], [w[i], v[i]])
    step[0] += 1


def adam_all(
    w: Sequence[Array],
    g: Sequence[Array],
    m: Sequence[Array],
    v: Sequence[Array],
    peak: Sequence[Array | None],
    constants: Array,
    rates: Array,
    step: Array,
    watch: Array,
) -> None:
    """Take a step of `adam` for several weights w, then clip them to their bounds.

    Args:
        w: the weights.
        g: their gradients.
        m: the means of the gradients.
        v: the means of the squared gradients.
        peak: the largest v so far (AMSGrad), or None.
        constants: (weights, 6): beta1, beta2, eps, weight decay, and the bounds of each.
        rates: (rows, weights, 3): rate_m, rate_g and scale_v of some steps.
        step: (2,) int64, the row of this step, at most the last, which is advanced, and the number of earlier steps.
        watch: (weights, 2) int64, the first steps, from 1, in which the gradient or the update of each had a number
            that is not finite; 0 if there was none.
    """
    now = rates[min(step[0], len(rates) - 1)]
    adam_each(w, g, m, v, peak, np.concatenate([constants[:, :2], now, constants[:, 2:4]], axis=1))
    for i, (least, most) in enumerate(constants[:, 4:]):
        w[i].clip(least, most, out=w[i])
        _note(watch[i], step, [g[i]], [w[i], m[i], v[i]])
    step[0] += 1
