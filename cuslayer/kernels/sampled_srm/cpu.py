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
from cuslayer.kernels.host.underflow import flushed
from cuslayer.kernels.sampled_srm.constants import SampledSpiking
from cuslayer.kernels.surrogate.constants import SurrogateNumbers, surrogate_numbers
from cuslayer.kernels.surrogate.cpu import slopes


@compiled
def _spike(first: int, last: int, a: Any, taps: Any, u: Any, s: Any, before: int, theta: Any) -> None:
    """The first `before` rows of s are the spikes of earlier steps."""
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        for t in range(a.shape[0]):
            given = a[t, low:high]
            potential = u[t, low:high]
            fired = s[before + t, low:high]
            potential[:] = given
            for k in range(1, min(before + t + 1, taps.size)):
                tap = taps[k]
                earlier = s[before + t - k, low:high]
                for j in range(high - low):
                    potential[j] += tap * earlier[j]
            for j in range(high - low):
                fired[j] = potential[j] >= theta


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
    parallel_for(_spike, flat.shape[1], *arguments, grain=GRAIN)
    return u, s


@compiled
def _spike_adjoint_exact(first: int, last: int, g: Any, u: Any, taps: Any, y: Any, c: SurrogateNumbers) -> None:
    steps, slope = g.shape[0], np.empty(BLOCK, g.dtype)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        for t in range(steps - 1, -1, -1):
            grad = g[t, low:high]
            potential = u[t, low:high]
            out = y[t, low:high]
            out[:] = grad
            for k in range(1, min(steps - t, taps.size)):
                tap = taps[k]
                later = y[t + k, low:high]
                for j in range(high - low):
                    out[j] += tap * later[j]
            slopes(slope[: high - low], potential, c)
            for j in range(high - low):
                out[j] = flushed(slope[j] * out[j])


def sampled_spike_adjoint_exact(g: Array, u: Array, spiking: SampledSpiking) -> Array:
    """Return the exact gradient, ``g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])``, of g and u (T, ...)."""
    y = empty(g.shape, g.dtype)
    flat, taps = columns(g), flushed_taps(spiking.refractory, g.dtype)
    arguments = flat, columns(u), taps, columns(y), surrogate_numbers(spiking, g.dtype)
    parallel_for(_spike_adjoint_exact, flat.shape[1], *arguments, grain=GRAIN)
    return y
