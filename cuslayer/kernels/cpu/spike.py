"""Refraction and threshold on the CPU, and the way back through them: twins of `spike` in `kernels/neuron.cu`.

Blocks of columns and one array for all states of a block, as in `response.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, spread
from cuslayer.kernels.constants import Recurrence, Spiking
from cuslayer.kernels.cpu.exponential import exp_of_negative
from cuslayer.kernels.cpu.memory import empty
from cuslayer.kernels.cpu.response import BLOCK, GRAIN, columns


@compiled
def _spike(first: int, last: int, a: Any, u: Any, s: Any, theta: Any, nu: Recurrence) -> None:
    state = np.empty(2 * BLOCK, a.dtype)
    rest = np.zeros(BLOCK, s.dtype)
    one = a.dtype.type(1)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        state[:] = 0
        for t in range(a.shape[0]):
            given = a[t, low:high]
            old = s[t - nu.cut, low:high] if 0 < nu.cut <= t else rest[: high - low]
            potential = u[t, low:high]
            fired = s[t, low:high]
            for j in range(high - low):
                q = nu.decay * (state[j] + state[j + BLOCK]) - nu.cut_q * old[j]
                value = given[j] + nu.gain * q
                fires = value >= theta
                state[j] = q
                state[j + BLOCK] = nu.decay * state[j + BLOCK] + one * fires - nu.cut_p * old[j]
                potential[j] = value
                fired[j] = fires


def spike(a: Array, spiking: Spiking) -> tuple[Array, Array]:
    """Refract and threshold a (T, ...), the filtered input: the potential u and the spikes s, both (T, ...).

    ``u[t] = a[t] + sum over earlier spikes f of nu[t - f]``, ``s[t] = (u[t] >= theta)``.
    """
    u, s = empty(a.shape, a.dtype), empty(a.shape, bool)
    flat = columns(a)
    theta = spiking.surrogate(a.dtype)[0]
    refractory = spiking.refractory.recurrence(a.dtype, len(a))
    spread(_spike, flat.shape[1], flat, columns(u), columns(s.view(np.uint8)), theta, refractory, grain=GRAIN)
    return u, s


@compiled
def _spike_adjoint(first: int, last: int, g: Any, u: Any, y: Any, theta: Any, steep: Any, height: Any) -> None:
    for t in range(g.shape[0]):
        above = g[t, first:last]
        potential = u[t, first:last]
        out = y[t, first:last]
        for j in range(last - first):
            out[j] = height * exp_of_negative(-abs(potential[j] - theta) * steep) * above[j]


def spike_adjoint(g: Array, u: Array, spiking: Spiking) -> Array:
    """Return the gradient of the potential as published, ``g_u[t] = dt rho(u[t]) g[t]``, of g and u (T, ...)."""
    y = empty(g.shape, g.dtype)
    flat = columns(g)
    spread(_spike_adjoint, flat.shape[1], flat, columns(u), columns(y), *spiking.surrogate(g.dtype), grain=GRAIN)
    return y


@compiled
def _spike_adjoint_exact(
    first: int,
    last: int,
    g: Any,
    u: Any,
    y: Any,
    theta: Any,
    steep: Any,
    height: Any,
    nu: Recurrence,
) -> None:
    steps = g.shape[0]
    state = np.empty(2 * BLOCK, g.dtype)
    rest = np.zeros(BLOCK, g.dtype)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        state[:] = 0
        for k in range(steps):
            t = steps - 1 - k
            above = g[t, low:high]
            potential = u[t, low:high]
            old = y[t + nu.cut, low:high] if 0 < nu.cut <= k else rest[: high - low]
            out = y[t, low:high]
            for j in range(high - low):
                q = nu.decay * (state[j] + state[j + BLOCK]) - nu.cut_q * old[j]
                rho = height * exp_of_negative(-abs(potential[j] - theta) * steep)
                value = rho * (above[j] + nu.gain * q)
                state[j] = q
                state[j + BLOCK] = nu.decay * state[j + BLOCK] + value - nu.cut_p * old[j]
                out[j] = value


def spike_adjoint_exact(g: Array, u: Array, spiking: Spiking) -> Array:
    """Return the whole adjoint, ``g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])``, of g and u (T, ...)."""
    y = empty(g.shape, g.dtype)
    flat = columns(g)
    constants = *spiking.surrogate(g.dtype), spiking.refractory.recurrence(g.dtype, len(g))
    spread(_spike_adjoint_exact, flat.shape[1], flat, columns(u), columns(y), *constants, grain=GRAIN)
    return y
