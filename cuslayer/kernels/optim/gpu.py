"""Launchers of `optim.cu`: steps of the optimizers, sums of the squares of gradients, and clipping."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import ARRAYS, kernel
from cuslayer.kernels.cuda.launch import arrived, contiguous, empty, zeros

__all__ = ["adam_all", "add_squares", "clip_norm", "clip_values", "sgd_all"]

# Of arrays.cuh: threads of a block, and elements of its tile.
_THREADS = 256
_TILE = 1024
# A thread adds _EACH squares unless that takes more than _MOST blocks for a gradient.
_EACH = 16
_MOST = 64


def sgd_all(
    w: Sequence[Array],
    g: Sequence[Array],
    v: Sequence[Array],
    constants: Array,
    rates: Array,
    step: Array,
    watch: Array,
) -> None:
    """Take a step of SGD for several weights w of a type with velocities v, then clip them to their bounds.

    Args:
        w: the weights.
        g: their gradients.
        v: their velocities.
        constants: (weights, 4): momentum, weight decay, and the bounds of each.
        rates: (rows, weights, 1): the learning rates of some steps.
        step: (2,) int64, the row of this step, advanced up to the last, and the number of earlier steps.
        watch: (weights, 2) int64, the first steps, from 1, in which the gradient or the update of each had a number
            that is not finite; 0 if there was none.
    """
    _take_step("sgd_all", g, {"w": w, "v": v}, constants, rates, step, watch)


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
    """Take a step of Adam, AMSGrad (with a peak) or NAdam; see `sgd_all`.

    The constants (weights, 6) are beta1, beta2, eps, weight decay and the bounds of each; the rates (rows, weights, 3)
    are rate_m, rate_g and scale_v.
    """
    _take_step("adam_all", g, {"w": w, "m": m, "v": v, "peak": peak}, constants, rates, step, watch)


def _take_step(
    name: str,
    g: Sequence[Array],
    arrays: Mapping[str, Sequence[Array | None]],
    constants: Array,
    rates: Array,
    step: Array,
    watch: Array,
) -> None:
    columns = len(g)
    for first, batch in _launches({**arrays, "g": [contiguous(x) for x in g]}):
        kernel(name, rates.dtype).launch(
            (_tiles(batch["w"]),),
            (_THREADS,),
            **batch,
            constants=constants,
            rates=rates,
            step=step,
            watch=watch,
            arrived=arrived(step),
            place={"rows": len(rates), "columns": columns, "first": first, "last_launch": first + ARRAYS >= columns},
        )


def add_squares(totals: Array, gradients: Sequence[Array | None]) -> None:
    """Add the sum of the squares of each gradient to totals (gradients,), float64; None counts as zero."""
    for dtype, typed in _by_type(gradients):
        for first, batch in _launches({"g": typed}):
            sizes = [g.size for g in batch["g"] if g is not None]
            blocks = min(max(-(-max(sizes) // (_THREADS * _EACH)), 1), _MOST)
            count = len(batch["g"]) * blocks
            kernel("add_squares", dtype).launch(
                (count,),
                (_THREADS,),
                **batch,
                parts=empty(totals, (count,), np.float64),
                totals=totals,
                arrived=arrived(totals),
                first=first,
                arrays=len(batch["g"]),
                blocks=blocks,
            )


def clip_values(gradients: Sequence[Array], limit: float) -> list[Array]:
    """Return copies of gradients clipped to the absolute value `limit`; elements that are not finite stay so."""
    clipped = [empty(g, g.shape, g.dtype) for g in gradients]
    for dtype, typed in _by_type(gradients):
        for _, batch in _launches({"g": typed, "y": _of_type(clipped, dtype)}):
            kernel("clip_values", dtype).launch((_tiles(batch["g"]),), (_THREADS,), **batch, limit=limit)
    return clipped


def clip_norm(gradients: Sequence[Array], limit: float) -> list[Array]:
    """Return gradients scaled as the twin in `cpu.py` does; the host reads nothing."""
    if not gradients:
        return []
    totals = zeros(gradients[0], (len(gradients),), np.float64)
    add_squares(totals, gradients)
    norm = {"totals": totals, "limit": limit}
    clipped = [empty(g, g.shape, g.dtype) for g in gradients]
    for dtype, typed in _by_type(gradients):
        for first, batch in _launches({"g": typed, "y": _of_type(clipped, dtype)}):
            kernel("clip_norm", dtype).launch((_tiles(batch["g"]),), (_THREADS,), **batch, **norm, first=first)
    return clipped


def _of_type(arrays: Sequence[Array | None], dtype: Any) -> list[Array | None]:
    return [contiguous(x) if x is not None and x.dtype == dtype else None for x in arrays]


def _by_type(arrays: Sequence[Array | None]) -> list[tuple[Any, list[Array | None]]]:
    """Return for each type its arrays, contiguous, and None for any other."""
    return [(dtype, _of_type(arrays, dtype)) for dtype in sorted({x.dtype for x in arrays if x is not None})]


def _launches(arrays: Mapping[str, Sequence[Array | None]]) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the number of the first array of each launch, and its arrays by the names of the kernel's parameters."""
    names = list(arrays)
    for first in range(0, len(arrays[names[0]]), ARRAYS):
        batch = {name: arrays[name][first : first + ARRAYS] for name in names}
        if any(x is not None for x in batch[names[0]]):
            yield first, batch


def _tiles(arrays: Sequence[Array | None]) -> int:
    """Return the number of blocks for some arrays."""
    return max(1, sum(-(-x.size // _TILE) for x in arrays if x is not None))
