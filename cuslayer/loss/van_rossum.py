"""The van Rossum distance of two spike trains, a metric."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer import check, kernels
from cuslayer.backend import Array, to_numpy
from cuslayer.tape import as_tensor


def van_rossum(a: Any, b: Any, *, tau: float, dt: float = 1.0, total: bool = False) -> Array:
    """Return the distance of two spike trains filtered by a causal exponential.

    ``D^2 = 1/tau int_0^inf (f_a - f_b)^2 dt`` with ``f(t) = sum over spikes at t_i <= t of exp(-(t - t_i) / tau)``. A
    spike in only one of the trains gives ``D^2 = 1/2``; so does each of two spikes that are far apart. The integral is
    exact: the difference decays exponentially between two steps, and after the last one.

    Args:
        a: (T, N, ...), spikes or counts.
        b: of the same shape.
        tau: the time constant of the filter, ms: small to compare times, large to compare counts.
        dt: the step, ms.
        total: whether to return one distance per sample, the root of the summed squares over its neurons.

    Returns:
        The distances, float64 on the CPU: (N, ...), one per neuron, or (N,).

    Raises:
        ValueError: a is not (T, N, ...), the shapes differ, or tau or dt is not positive.
        TypeError: tau or dt is not a number.

    Source: M. C. W. van Rossum, "A novel spike distance", Neural Computation 13(4), 2001.

    >>> one, none = np.zeros((2, 50, 1, 1), bool); one[10] = True
    >>> van_rossum(one, none, tau=5.0).round(6).tolist()
    [[0.707107]]
    """
    a, b = as_tensor(a).data, as_tensor(b).data
    check.time_first("van_rossum", "a", a)
    check.same_shape("van_rossum", "a", a, "b", b)
    rate = check.time_step("van_rossum", "dt", dt) / check.positive("van_rossum", "tau", tau)
    difference = a.astype(np.float64) - b.astype(np.float64)
    # The samples of the filter that are above the resolution of float64.
    taps = min(len(a), math.floor(-math.log(np.finfo(np.float64).eps) / rate) + 1)
    filtered = kernels.of(difference).response.fir(difference, np.exp(-rate * np.arange(taps)))
    within = -math.expm1(-2 * rate) / 2
    square = to_numpy((filtered * filtered).sum(axis=0)) * within
    if len(a):
        square += to_numpy(filtered[-1] * filtered[-1]) * (math.exp(-2 * rate) / 2)
    return np.sqrt(square.sum(axis=tuple(range(1, square.ndim))) if total else square)
