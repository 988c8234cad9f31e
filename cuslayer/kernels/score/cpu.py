"""Sums of an epoch on the CPU: twins of `score.cu`."""

from __future__ import annotations

import math

import numpy as np

from cuslayer.backend import Array


def add(totals: Array, s: Array, labels: Array | None, error: Array | float, scale: float) -> None:
    """Add a batch to the totals of an epoch.

    Args:
        totals: (7,) float64: loss, correctly classified samples, samples, batches whose output has a spike, batches;
            and the numbers, from 1, of the first batch whose loss is not finite, and of the first whose output is not,
            0 if there is none.
        s: the output (T, N, classes), or (T, N, ...) without labels.
        labels: the classes (N,); None where the targets are not classes.
        error: the loss of the batch, a scalar or a number.
        scale: the factor of the loss.
    """
    loss, counts = float(error) * scale, s.sum(axis=0)
    totals[0] += loss
    if labels is not None:
        totals[1] += (counts.argmax(axis=1) == labels).sum()
    totals[2] += s.shape[1]
    totals[3] += s.any()
    totals[4] += 1
    for place, finite in ((5, math.isfinite(loss)), (6, s.dtype == bool or np.isfinite(counts).all())):
        if not finite and not totals[place]:
            totals[place] = totals[4]
