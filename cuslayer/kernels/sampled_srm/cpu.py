"""Spike response neurons with a sampled refractory response on the CPU: twins of `sampled_srm.cu`.

The loops run over blocks of columns; see `cuslayer/jit.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import BLOCK, GRAIN, columns, compiled, parallel_for
from cuslayer.kernels.constants import flushed_taps
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.streaming import PIECE, fence, is_large, prefetch, write_row
from cuslayer.kernels.host.tiles import copy, scratch
from cuslayer.kernels.host.underflow import flushed
from cuslayer.kernels.sampled_srm.constants import SampledSpiking
from cuslayer.kernels.surrogate.constants import SurrogateNumbers, surrogate_numbers
from cuslayer.kernels.surrogate.cpu import slopes


@compiled
def _add_four(sums: Any, taps: Any, k: int, a: Any, b: Any, c: Any, d: Any) -> None:
    """Add to a row the products of four taps, from k on, and rows, in this order: it is loaded and stored once."""
    h0, h1, h2, h3 = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
    for j in range(sums.size):
        sums[j] = (((sums[j] + h0 * a[j]) + h1 * b[j]) + h2 * c[j]) + h3 * d[j]


@compiled
def _add_one(sums: Any, tap: Any, row: Any) -> None:
    for j in range(sums.size):
        sums[j] += tap * row[j]


@compiled
def _add_four_where(sums: Any, taps: Any, k: int, a: Any, b: Any, c: Any, d: Any) -> None:
    """Do what `_add_four` does with rows of spikes: to choose takes less time than to make numbers of them."""
    h0, h1, h2, h3 = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
    # With the sign of the tap, as the product has it.
    zero = sums.dtype.type(0)
    z0, z1, z2, z3 = h0 * zero, h1 * zero, h2 * zero, h3 * zero
    for j in range(sums.size):
        total = (sums[j] + (h0 if a[j] else z0)) + (h1 if b[j] else z1)
        sums[j] = (total + (h2 if c[j] else z2)) + (h3 if d[j] else z3)


@compiled
def _spike(first: int, last: int, a: Any, taps: Any, u: Any, s: Any, before: int, theta: Any, large: bool) -> None:
    """The first `before` rows of s are the spikes of earlier steps."""
    sums = scratch(min(BLOCK, last - first), a)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        for t in range(a.shape[0]):
            count = min(before + t + 1, taps.size)
            for begin in range(low, high, PIECE):
                end, k = min(begin + PIECE, high), 1
                total, fired = sums[begin - low : end - low], s[before + t, begin:end]
                if t + 1 < a.shape[0]:
                    prefetch(a[t + 1, begin:end])
                copy(total, a[t, begin:end])
                while k + 4 <= count:
                    at = before + t - k
                    e0, e1, e2, e3 = s[at, begin:end], s[at - 1, begin:end], s[at - 2, begin:end], s[at - 3, begin:end]
                    _add_four_where(total, taps, k, e0, e1, e2, e3)
                    k += 4
                while k < count:
                    _add_one(total, taps[k], s[before + t - k, begin:end])
                    k += 1
                for j in range(end - begin):
                    fired[j] = total[j] >= theta
            write_row(u[t, low:high], sums[: high - low], large)
    fence()


def sampled_spike(a: Array, spiking: SampledSpiking) -> tuple[Array, Array]:
    """Return the potential u and the spikes s, both (T, ...), of the filtered input a (T, ...).

    ``u[t] = a[t] + sum_{k>=1} nu[k] s[t-k]``, ``s[t] = (u[t] >= theta)``.
    """
    return sampled_spike_after(empty((0, *a.shape[1:]), bool), a, spiking)


def sampled_spike_after(before: Array, a: Array, spiking: SampledSpiking) -> tuple[Array, Array]:
    """Return the potential (T, ...) of the input a after earlier spikes (K, ...), and all spikes (K + T, ...)."""
    u, s = empty(a.shape, a.dtype), empty((len(before) + len(a), *a.shape[1:]), bool)
    s[: len(before)] = before
    flat, taps = columns(a), flushed_taps(spiking.refractory, a.dtype)
    arguments = flat, taps, columns(u), columns(s.view(np.uint8)), len(before), spiking.surrogate(a.dtype)[0]
    parallel_for(_spike, flat.shape[1], *arguments, is_large(u), grain=GRAIN)
    return u, s


@compiled
def _spike_adjoint_exact(first: int, last: int, g: Any, u: Any, taps: Any, y: Any, c: SurrogateNumbers) -> None:
    steps, slope, sums = g.shape[0], np.empty(BLOCK, g.dtype), np.empty(BLOCK, g.dtype)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        total = sums[: high - low]
        for t in range(steps - 1, -1, -1):
            potential, out = u[t, low:high], y[t, low:high]
            count, k = min(steps - t, taps.size), 1
            copy(total, g[t, low:high])
            while k + 4 <= count:
                e0, e1 = y[t + k, low:high], y[t + k + 1, low:high]
                e2, e3 = y[t + k + 2, low:high], y[t + k + 3, low:high]
                _add_four(total, taps, k, e0, e1, e2, e3)
                k += 4
            while k < count:
                _add_one(total, taps[k], y[t + k, low:high])
                k += 1
            slopes(slope[: high - low], potential, c)
            for j in range(high - low):
                out[j] = flushed(slope[j] * total[j])


def sampled_spike_adjoint_exact(g: Array, u: Array, spiking: SampledSpiking) -> Array:
    """Return the exact gradient, ``g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])``, of g and u (T, ...)."""
    y = empty(g.shape, g.dtype)
    flat, taps = columns(g), flushed_taps(spiking.refractory, g.dtype)
    arguments = flat, columns(u), taps, columns(y), surrogate_numbers(spiking, g.dtype)
    parallel_for(_spike_adjoint_exact, flat.shape[1], *arguments, grain=GRAIN)
    return y
