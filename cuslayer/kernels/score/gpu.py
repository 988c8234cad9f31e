"""Launchers of `score.cu`: sums of an epoch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import ARRAYS, arrived, contiguous, empty, numbered, train
from cuslayer.kernels.spikes.packed import PackedSpikes

__all__ = ["add", "add_squares"]

# LANES and PARTS of score.cu: the columns of a block, and the parts of its time.
_LANES, _PARTS = 32, 16
# The threads of a block; a thread adds _EACH squares unless that takes more than _MOST blocks for a gradient.
_THREADS, _EACH, _MOST = 256, 16, 64


def add(totals: Array, s: Array | PackedSpikes, labels: Array | None, error: Array | float, scale: float) -> None:
    """Add a batch to the totals of an epoch.

    Args:
        totals: (7,) float64: loss, correctly classified samples, samples, batches whose output has a spike, batches;
            and the numbers, from 1, of the first batch whose loss is not finite, and of the first whose output is not,
            0 if there is none.
        s: the output (T, N, classes), or (T, N, ...) without labels.
        labels: the classes (N,), int64; None where the targets are not classes.
        error: the loss of the batch, a scalar or a number.
        scale: the factor of the loss.
    """
    form, words, dtype = train(s)
    if isinstance(error, (int, float)):
        loss, factor = empty(words, (0,), dtype), error * scale
    else:
        dtype = dtype if form == "_numbers" else error.dtype
        loss, factor = contiguous(error.astype(dtype, copy=False)), scale
    columns = math.prod(s.shape[1:])
    blocks = max(1, -(-columns // _LANES))
    kernel(f"score_add{form}", dtype).launch(
        (blocks,),
        (_LANES, _PARTS),
        s=words,
        labels=empty(words, (0,), np.int64) if labels is None else contiguous(labels),
        error=loss,
        counts=empty(words, (columns,), np.float64),
        fired=empty(words, (blocks,), bool),
        totals=totals,
        arrived=arrived(words),
        steps=s.shape[0],
        samples=s.shape[1],
        neurons=math.prod(s.shape[2:]),
        by_class=labels is not None,
        with_error=loss.size > 0,
        factor=factor,
    )


def add_squares(totals: Array, gradients: Sequence[Array | None]) -> None:
    """Add the sum of the squares of each gradient to totals (gradients,), float64; None counts as zero."""
    for dtype in sorted({g.dtype for g in gradients if g is not None}):
        for first in range(0, len(gradients), ARRAYS):
            some = [None if g is None or g.dtype != dtype else g for g in gradients[first : first + ARRAYS]]
            if any(g is not None for g in some):
                _add_squares(totals, some, first, dtype)


def _add_squares(totals: Array, gradients: list[Array | None], first: int, dtype: Any) -> None:
    """Launch the kernel for up to 8 gradients of a type, of which the totals' number `first` is the first."""
    unread, largest = empty(totals, (0,), dtype), max(0 if g is None else g.size for g in gradients)
    blocks = min(max(-(-largest // (_THREADS * _EACH)), 1), _MOST)
    given = [unread if g is None else contiguous(g) for g in gradients]
    kernel("add_squares", dtype).launch(
        (len(gradients) * blocks,),
        (_THREADS,),
        parts=empty(totals, (len(gradients) * blocks,), np.float64),
        totals=totals,
        arrived=arrived(totals),
        first=first,
        arrays=len(gradients),
        blocks=blocks,
        **numbered("g", given, unread),
        **numbered("size", [g.size for g in given], 0),
    )
