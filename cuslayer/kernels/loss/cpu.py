"""The error of spike counts, and the score of an epoch, on the CPU: twins of `spike_count.cu`."""

from __future__ import annotations

import math

import numpy as np

from cuslayer.backend import Array, numeric_type
from cuslayer.kernels import cpu
from cuslayer.kernels.constants import ClassCounts
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.step.filters import Alpha, Sampled


def error(
    s: Array,
    desired: Array | ClassCounts,
    window: tuple[int, int],
    response: Alpha | Sampled,
    count_scale: float,
    piecewise: bool,
) -> tuple[Array, Array]:
    """Return ``E = dt / 2 sum e^2``, a scalar, and the error signal e (T, N, ...) of spikes s (T, N, ...).

    In the window of R steps, ``e = a + count_scale (count - desired) / R`` (without a if piecewise); outside it,
    ``e = a``, the response to the spikes outside. The desired counts are an array (N, ...), or `ClassCounts`.
    """
    first, last = window
    dtype = numeric_type(s.dtype)
    if isinstance(desired, ClassCounts):
        desired = _by_class(desired, s.shape[2])
    counts = s[first:last].sum(axis=0, dtype=dtype) - desired.astype(dtype)
    counts = counts / (last - first) * dtype.type(count_scale)
    if last - first == len(s):
        e = empty(s.shape, dtype)
        e[...] = counts
    else:
        e = _outside(s, first, last, response)
        e[first:last] = counts if piecewise else e[first:last] + counts
    squares = np.multiply(e, e, out=empty(e.shape, dtype))
    return np.asarray(squares.sum() * (dtype.type(response.dt) / 2), dtype=dtype), e


def _by_class(desired: ClassCounts, classes: int) -> Array:
    """Return the desired counts (N, classes); NaN for a sample whose label is no class."""
    labels = desired.labels[:, None]
    counts = np.where(labels == np.arange(classes), desired.true, desired.false)
    return np.where((labels < 0) | (labels >= classes), np.nan, counts)


def _outside(s: Array, first: int, last: int, response: Alpha | Sampled) -> Array:
    """Return the response to the spikes outside the steps [first, last), in the type of numbers of s (T, ...)."""
    # In float32 the recurrence of a long response has an error of about 1e-6, more than the sum of the squares.
    outside = s.astype(np.float64)
    outside[first:last] = 0
    return response.apply(cpu, outside).astype(numeric_type(s.dtype), copy=False)


def error_adjoint(e: Array, g: Array, response: Alpha | Sampled) -> Array:
    """Return the gradient of the spikes, ``dt g sum_k eps[k] e[t+k]``, of e (T, N, ...) and a scalar g."""
    scaled = np.multiply(e, g * e.dtype.type(response.dt), out=empty(e.shape, e.dtype))
    return response.adjoint(cpu, scaled)


def score(totals: Array, s: Array, labels: Array | None, error: Array | float, scale: float) -> None:
    """Add a batch to the totals of an epoch.

    Args:
        totals: (7,) float64: loss, correctly classified samples, samples, batches whose output has a spike, batches.
            The last two are the numbers, from 1, of the first batch whose loss, and whose output, is not finite, or 0.
        s: the output (T, N, classes), or (T, N, ...) without labels.
        labels: the classes (N,); None where the targets are not classes.
        error: the loss of the batch, a scalar or a number.
        scale: the factor of the loss.
    """
    loss = float(error) * scale
    counts = s.sum(axis=0)
    totals[0] += loss
    if labels is not None:
        totals[1] += (counts.argmax(axis=1) == labels).sum()
    totals[2] += s.shape[1]
    totals[3] += s.any()
    totals[4] += 1
    for place, finite in ((5, math.isfinite(loss)), (6, s.dtype == bool or np.isfinite(counts).all())):
        if not finite and not totals[place]:
            totals[place] = totals[4]
