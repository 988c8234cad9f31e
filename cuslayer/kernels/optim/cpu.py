"""Steps of the optimizers on the CPU, in place and in one pass: twins of `optim.cu`; and clipping, of clip.py."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.optim.clip import clip_norm, clip_values

__all__ = ["adam", "adam_all", "clip_norm", "clip_values", "sgd", "sgd_all"]

# Elements of a part: fewer take less time than to wake a thread.
_GRAIN = 1 << 15


def _flat(name: str, a: Array) -> Array:
    """Return a writable flat view of an array."""
    if not a.flags.c_contiguous:
        raise ValueError(f"optimizer: {name} must be C-contiguous, got strides {a.strides} for shape {a.shape}")
    return a.reshape(-1)


@compiled
def _sgd(first: int, last: int, w: Any, g: Any, v: Any, rate: Any, momentum: Any, decay: Any) -> None:
    for j in range(first, last):
        velocity = momentum * v[j] + (g[j] + decay * w[j])
        v[j] = velocity
        w[j] -= rate * velocity


def sgd(w: Array, g: Array, v: Array, rate: float, momentum: float, decay: float) -> None:
    """Update the weights w by gradient descent with momentum: ``v = momentum v + g + decay w``, ``w -= rate v``."""
    real = w.dtype.type
    arrays = _flat("w", w), _flat("g", g), _flat("v", v)
    parallel_for(_sgd, w.size, *arrays, real(rate), real(momentum), real(decay), grain=_GRAIN)


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
    real = w.dtype.type
    arguments = {"w": w, "g": g, "m": m, "v": v, "peak": v if peak is None else peak}
    arrays = (_flat(name, a) for name, a in arguments.items())
    numbers = (real(x) for x in (*betas, rate_m, rate_g, scale_v, eps, decay))
    parallel_for(_adam, w.size, *arrays, peak is not None, *numbers, grain=_GRAIN)


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
    for i, ((momentum, decay, least, most), (rate,)) in enumerate(
        zip(constants, rates[min(step[0], len(rates) - 1)], strict=True)
    ):
        sgd(w[i], g[i], v[i], rate, momentum, decay)
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
    for i, ((*betas, eps, decay, least, most), numbers) in enumerate(
        zip(constants, rates[min(step[0], len(rates) - 1)], strict=True)
    ):
        rate_m, rate_g, scale_v = numbers
        options = {"rate_m": rate_m, "rate_g": rate_g, "scale_v": scale_v, "eps": eps, "decay": decay}
        adam(w[i], g[i], m[i], v[i], peak[i], betas=(betas[0], betas[1]), **options)
        w[i].clip(least, most, out=w[i])
        _note(watch[i], step, [g[i]], [w[i], m[i], v[i]])
    step[0] += 1
