"""Launchers of `score.cu`: sums of an epoch."""

from __future__ import annotations

import math

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import arrived, contiguous, empty, train
from cuslayer.kernels.spikes.packed import PackedSpikes

__all__ = ["add"]

# LANES and PARTS of score.cu: the columns of a block, and the parts of its time.
_LANES, _PARTS = 32, 16


def add(totals: Array, s: Array | PackedSpikes, labels: Array | None, error: Array | float, scale: float) -> None:
    """Add a batch to the totals of an epoch, as the function of the CPU; the output may be packed spikes."""
    if isinstance(error, (int, float)):
        given, beside, dtype = train(s)
        loss, factor = empty(beside, (0,), dtype), error * scale
    else:
        given, beside, dtype = train(s, error.dtype)
        loss, factor = contiguous(error.astype(dtype, copy=False)), scale
    columns = math.prod(s.shape[1:])
    blocks = max(1, -(-columns // _LANES))
    kernel("score_add", dtype).launch(
        (blocks,),
        (_LANES, _PARTS),
        **given,
        labels=empty(beside, (0,), np.int64) if labels is None else contiguous(labels),
        error=loss,
        counts=empty(beside, (columns,), np.float64),
        fired=empty(beside, (blocks,), bool),
        totals=totals,
        arrived=arrived(beside),
        steps=s.shape[0],
        samples=s.shape[1],
        neurons=math.prod(s.shape[2:]),
        by_class=labels is not None,
        with_error=loss.size > 0,
        factor=factor,
    )
