"""Launchers of `response.cu`: filters and delays in time."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import TILE, contiguous, empty, numbers, recurrence, samples, sizes

__all__ = ["fir", "fir_adjoint", "psp", "psp_adjoint", "shift", "shift_spikes"]


def psp(x: Array, response: Alpha) -> Array:
    """Filter each column of x (T, ...): ``a[t] = sum_k eps[k] x[t-k]``, with two states a column for any tau."""
    x = numbers(x)
    steps, columns = sizes(x)
    a = empty(x, x.shape, x.dtype)
    constants = recurrence(response, x.dtype, steps)
    kernel("psp", x.dtype)(columns, x=x, a=a, steps=steps, columns=columns, **constants)
    return a


def psp_adjoint(g: Array, response: Alpha) -> Array:
    """Correlate each column of g (T, ...) with the response: ``y[t] = sum_k eps[k] g[t+k]``."""
    steps, columns = sizes(g)
    y = empty(g, g.shape, g.dtype)
    constants = recurrence(response, g.dtype, steps)
    kernel("psp_adjoint", g.dtype)(columns, g=contiguous(g), y=y, steps=steps, columns=columns, **constants)
    return y


def fir(x: Array, taps: Array) -> Array:
    """Filter each column of x (T, ...) by the direct sum ``a[t] = sum_k taps[k] x[t-k]``, taps (K,)."""
    x = numbers(x)
    steps, columns = sizes(x)
    taps, a = samples(taps, x), empty(x, x.shape, x.dtype)
    threads = -(-steps // TILE) * columns
    kernel("fir", x.dtype)(threads, x=x, taps=taps, a=a, steps=steps, columns=columns, count=len(taps))
    return a


def fir_adjoint(g: Array, taps: Array) -> Array:
    """Correlate each column of g (T, ...) with the taps (K,): ``y[t] = sum_k taps[k] g[t+k]``."""
    g = contiguous(g)
    steps, columns = sizes(g)
    taps, y = samples(taps, g), empty(g, g.shape, g.dtype)
    threads = -(-steps // TILE) * columns
    kernel("fir_adjoint", g.dtype)(threads, g=g, taps=taps, y=y, steps=steps, columns=columns, count=len(taps))
    return y


def shift(x: Array, delay: Array) -> Array:
    """Delay the columns of x (T, ...) by whole steps, delay (columns,) int64: ``y[t, m] = x[t - delay[m], m]``."""
    return _shifted("shift", x, delay, x.dtype)


def shift_spikes(x: Array, delay: Array) -> Array:
    """Delay the columns of the spikes x (T, ...); see `shift`."""
    return _shifted("shift_spikes", x, delay, np.dtype(np.float32))


def _shifted(name: str, x: Array, delay: Array, real: np.dtype[Any]) -> Array:
    steps, columns = sizes(x)
    y = empty(x, x.shape, x.dtype)
    threads = -(-steps // TILE) * columns
    kernel(name, real)(threads, x=contiguous(x), delay=contiguous(delay), y=y, steps=steps, columns=columns)
    return y
