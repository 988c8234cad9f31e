"""The error of spike counts on the CPU: twins of `spike_count.cu`."""

from __future__ import annotations

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels import cpu
from cuslayer.kernels.constants import Alpha, ClassCounts, Sampled
from cuslayer.operations.base import numeric


def error(
    s: Array,
    desired: Array | ClassCounts,
    region: tuple[int, int],
    response: Alpha | Sampled,
    count_scale: float,
    piecewise: bool,
) -> tuple[Array, Array]:
    """Return ``E = dt / 2 sum e^2``, a scalar, and the error signal e (T, N, ...) of spikes s (T, N, ...).

    ``e = a + count_scale (count - desired) / R`` in the region of R steps (without a if piecewise), ``e = a`` outside
    of it, with a the response to the spikes outside. The desired counts are an array (N, ...), or those of classes.
    """
    s = numeric(s)
    first, last = region
    if isinstance(desired, ClassCounts):
        desired = _by_class(desired, s.shape[2])
    e = _outside(s, first, last, response)
    counts = (s[first:last].sum(axis=0) - desired.astype(s.dtype)) / (last - first) * s.dtype.type(count_scale)
    e[first:last] = counts if piecewise else e[first:last] + counts
    dt = s.dtype.type(response.dt)
    return np.asarray((e * e).sum() * (dt / 2), dtype=s.dtype), e


def _by_class(desired: ClassCounts, classes: int) -> Array:
    """Return the desired counts (N, classes); NaN for a sample whose label is no class."""
    labels = desired.labels[:, None]
    counts = np.where(labels == np.arange(classes), desired.true, desired.false)
    return np.where((labels < 0) | (labels >= classes), np.nan, counts)


def _outside(s: Array, first: int, last: int, response: Alpha | Sampled) -> Array:
    """Return the response to the spikes outside the steps [first, last), in the type of s (T, ...)."""
    if last - first == len(s):
        return np.zeros_like(s)
    # In float32 the recurrence of a long response has an error of some 1e-6, more than the sum of the squares.
    outside = s.astype(np.float64)
    outside[first:last] = 0
    return response.apply(cpu, outside).astype(s.dtype, copy=False)


def error_adjoint(e: Array, g: Array, response: Alpha | Sampled) -> Array:
    """Return the gradient of the spikes, ``dt g sum_k eps[k] e[t+k]``, of e (T, N, ...) and a scalar g."""
    return response.adjoint(cpu, e * (g * e.dtype.type(response.dt)))
