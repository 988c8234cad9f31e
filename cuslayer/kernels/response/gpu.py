"""Launchers of `response.cu`: filters and delays in time."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.cuda.launch import contiguous, numbers, over_time, samples

__all__ = ["fir", "fir_adjoint", "shift", "shift_spikes"]


def fir(x: Array, taps: Array) -> Array:
    """Filter each column of x (T, ...) by the direct sum ``a[t] = sum_k taps[k] x[t-k]``, taps (K,)."""
    x = numbers(x)
    return over_time("fir", x, "a", tiled=True, x=x, taps=samples(taps, x), count=len(taps))


def fir_adjoint(g: Array, taps: Array) -> Array:
    """Correlate each column of g (T, ...) with the taps (K,): ``y[t] = sum_k taps[k] g[t+k]``."""
    return over_time("fir_adjoint", g, tiled=True, g=contiguous(g), taps=samples(taps, g), count=len(taps))


def shift(x: Array, delay: Array) -> Array:
    """Delay the columns of x (T, ...) by whole steps, delay (columns,) int64: ``y[t, m] = x[t - delay[m], m]``."""
    return over_time("shift", x, tiled=True, x=contiguous(x), delay=contiguous(delay))


def shift_spikes(x: Array, delay: Array) -> Array:
    """Delay the columns of the spikes x (T, ...); see `shift`."""
    return over_time("shift_spikes", x, tiled=True, x=contiguous(x), delay=contiguous(delay))
