"""Sums of an epoch on the CPU: twins of `score.cu`."""

from __future__ import annotations

from collections.abc import Sequence

from cuslayer.backend import Array


def add(totals: Array, s: Array, labels: Array | None, error: Array | float, scale: float) -> None:
    """Add a batch to the totals of an epoch.

    Args:
        totals: (4,) float64: loss, correctly classified samples, samples, and batches whose output has a spike.
        s: the output (T, N, classes), or (T, N, ...) without labels.
        labels: the classes (N,); None where the targets are not classes.
        error: the loss of the batch, a scalar or a number.
        scale: the factor of the loss.
    """
    totals[0] += float(error) * scale
    if labels is not None:
        totals[1] += (s.sum(axis=0).argmax(axis=1) == labels).sum()
    totals[2] += s.shape[1]
    totals[3] += s.any()


def add_squares(totals: Array, gradients: Sequence[Array | None]) -> None:
    """Add the sum of the squares of each gradient to totals (gradients,), float64; None counts as zero."""
    for i, g in enumerate(gradients):
        if g is not None:
            flat = g.reshape(-1)
            totals[i] += (flat @ flat).astype("float64")
