"""Launchers of `optim.cu` and `clip.cu`: steps of the optimizers, and clipping of gradients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import ARRAYS, arrived, contiguous, empty, numbered, zeros
from cuslayer.kernels.score.gpu import add_squares

__all__ = ["adam", "adam_all", "clip_norm", "clip_values", "sgd", "sgd_all"]

# What optim.cu has for a block: its threads, and the elements of its tile.
_THREADS, _TILE = 256, 1024


def sgd(w: Array, g: Array, v: Array, rate: float, momentum: float, decay: float) -> None:
    """Update the weights w by gradient descent with momentum: ``v = momentum v + g + decay w``, ``w -= rate v``."""
    kernel("sgd", w.dtype)(w.size, w=w, g=contiguous(g), v=v, size=w.size, rate=rate, momentum=momentum, decay=decay)


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
    kernel("adam", w.dtype)(
        w.size,
        w=w,
        g=contiguous(g),
        m=m,
        v=v,
        peak=v if peak is None else peak,
        size=w.size,
        keep_peak=peak is not None,
        beta1=betas[0],
        beta2=betas[1],
        rate_m=rate_m,
        rate_g=rate_g,
        scale_v=scale_v,
        eps=eps,
        decay=decay,
    )


def sgd_all(
    w: Sequence[Array],
    g: Sequence[Array],
    v: Sequence[Array],
    constants: Array,
    rates: Array,
    step: Array,
    watch: Array,
) -> None:
    """Take a step of `sgd` for several weights w, 8 to a launch, then clip them.

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
    _launches("sgd_all", {"w": w, "g": g, "v": v}, constants, rates, step, watch)


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
    """Take a step of `adam` for several weights w, 8 to a launch, then clip them.

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
    peaks = [square if largest is None else largest for square, largest in zip(v, peak, strict=True)]
    _launches("adam_all", {"w": w, "g": g, "m": m, "v": v, "peak": peaks}, constants, rates, step, watch)


def clip_values(gradients: Sequence[Array], limit: float) -> list[Array]:
    """Return gradients clipped to the absolute value `limit`; what is not finite stays so, and the given arrays too."""
    return _clip("clip_values", gradients, limit=limit)


def clip_norm(gradients: Sequence[Array], limit: float) -> list[Array]:
    """Return gradients scaled so that their common Euclidean norm is at most `limit`; the given arrays do not change.

    A gradient that is not finite becomes NaN, and the others are not scaled by its norm. Nothing is read from the
    device.
    """
    if not gradients:
        return []
    totals = zeros(gradients[0], (len(gradients),), np.float64)
    add_squares(totals, gradients)
    return _clip("clip_norm", gradients, totals=totals, arrays=len(gradients), limit=limit)


def _clip(name: str, gradients: Sequence[Array], **arguments: Any) -> list[Array]:
    """Launch a kernel for each 8 neighbouring gradients of a type, and return what it writes."""
    clipped = [empty(g, g.shape, g.dtype) for g in gradients]
    first = 0
    while first < len(gradients):
        dtype = gradients[first].dtype
        last = first + 1
        while last < min(first + ARRAYS, len(gradients)) and gradients[last].dtype == dtype:
            last += 1
        given, sizes = _places({"g": list(map(contiguous, gradients[first:last])), "y": clipped[first:last]})
        if name == "clip_norm":
            given["first"] = first
        kernel(name, dtype).launch((_tiles(sizes),), (_THREADS,), **given, **arguments)
        first = last
    return clipped


def _places(arrays: Mapping[str, Sequence[Array]]) -> tuple[dict[str, Any], list[int]]:
    """Return up to 8 arrays of each kind by the names of a kernel's parameters, with their sizes, and the sizes."""
    given: dict[str, Any] = {}
    for letter, some in arrays.items():
        # The places past the last array have any array, and no elements.
        given |= numbered(letter, some, some[0])
    sizes = [x.size for x in next(iter(arrays.values()))]
    return given | numbered("size", sizes, 0), sizes


def _tiles(sizes: Sequence[int]) -> int:
    """Return the number of blocks for arrays of some sizes."""
    return max(1, sum(-(-size // _TILE) for size in sizes))


def _launches(
    name: str, arrays: Mapping[str, Sequence[Array]], constants: Array, rates: Array, step: Array, watch: Array
) -> None:
    """Launch a kernel for each 8 weights; the names of the arrays are followed by their number in the launch."""
    columns = len(arrays["w"])
    launch = kernel(name, rates.dtype).launch
    for first in range(0, columns, ARRAYS):
        some = {letter: of_all[first : first + ARRAYS] for letter, of_all in arrays.items()}
        given, sizes = _places(some | {"g": [contiguous(x) for x in some["g"]]})
        launch(
            (_tiles(sizes),),
            (_THREADS,),
            constants=constants,
            rates=rates,
            step=step,
            watch=watch,
            arrived=arrived(step),
            rows=rates.shape[0],
            columns=columns,
            first=first,
            last_launch=first + ARRAYS >= columns,
            **given,
        )
