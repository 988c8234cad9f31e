"""Launchers of `response.cu`: filters and shifts in time."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import TILE, contiguous, empty, numbers, recurrence, samples, sizes

__all__ = ["fir", "fir_adjoint", "psp", "psp_adjoint", "shift", "shift_spikes"]


def psp(x: Array, response: Alpha) -> Array:
    """Filter each column of x (T, ...): ``a[t] = sum_k eps[k] x[t-k]``, at two states a column whatever tau is."""
    return _filtered("psp", numbers(x), response)


def psp_adjoint(g: Array, response: Alpha) -> Array:
    """Correlate each column of g (T, ...) with the response: ``y[t] = sum_k eps[k] g[t+k]``."""
    return _filtered("psp_adjoint", contiguous(g), response)


def _filtered(name: str, x: Array, response: Alpha) -> Array:
    steps, columns = sizes(x)
    out = empty(x, x.shape, x.dtype)
    kernel(name, x.dtype)(columns, x, out, steps, columns, *recurrence(response, x.dtype, steps))
    return out


def fir(x: Array, taps: Array) -> Array:
    """Filter each column of x (T, ...) by the direct sum ``a[t] = sum_k taps[k] x[t-k]``, taps (K,)."""
    return _summed("fir", numbers(x), taps)


def fir_adjoint(g: Array, taps: Array) -> Array:
    """Correlate each column of g (T, ...) with the taps (K,): ``y[t] = sum_k taps[k] g[t+k]``."""
    return _summed("fir_adjoint", contiguous(g), taps)


def _summed(name: str, x: Array, taps: Array) -> Array:
    steps, columns = sizes(x)
    taps = samples(taps, x)
    out = empty(x, x.shape, x.dtype)
    kernel(name, x.dtype)(-(-steps // TILE) * columns, x, taps, out, steps, columns, len(taps))
    return out


def shift(x: Array, delay: Array) -> Array:
    """Delay the columns of x (T, ...) by whole steps, delay (columns,) int64: ``y[t, m] = x[t - delay[m], m]``."""
    return _shifted("shift", x, delay, x.dtype)


def shift_spikes(x: Array, delay: Array) -> Array:
    """Delay the columns of the spikes x (T, ...), as `shift` does numbers."""
    return _shifted("shift_spikes", x, delay, np.dtype(np.float32))


def _shifted(name: str, x: Array, delay: Array, real: np.dtype[Any]) -> Array:
    steps, columns = sizes(x)
    y = empty(x, x.shape, x.dtype)
    delay = contiguous(delay)
    kernel(name, real)(-(-steps // TILE) * columns, contiguous(x), delay, y, steps, columns)
    return y
