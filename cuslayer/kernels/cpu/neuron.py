"""Spikes on the CPU, and the way back through them: twins of `kernels/neuron.cu`.

Blocks of columns and one array for all states of a block, as in `response.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, spread
from cuslayer.kernels.constants import Alpha, Recurrence, Spiking
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
def _neuron(
    first: int,
    last: int,
    x: Any,
    u: Any,
    s: Any,
    theta: Any,
    f: Recurrence,
    nu: Recurrence,
) -> None:
    state = np.empty(4 * BLOCK, x.dtype)
    rest = np.zeros(BLOCK, x.dtype)
    silent = np.zeros(BLOCK, s.dtype)
    one = x.dtype.type(1)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        state[:] = 0
        for t in range(x.shape[0]):
            new = x[t, low:high]
            old = x[t - f.cut, low:high] if 0 < f.cut <= t else rest[: high - low]
            spent = s[t - nu.cut, low:high] if 0 < nu.cut <= t else silent[: high - low]
            potential = u[t, low:high]
            fired = s[t, low:high]
            for j in range(high - low):
                q = f.decay * (state[j] + state[j + BLOCK]) - f.cut_q * old[j]
                r = nu.decay * (state[j + 2 * BLOCK] + state[j + 3 * BLOCK]) - nu.cut_q * spent[j]
                value = f.gain * q + nu.gain * r
                fires = value >= theta
                state[j] = q
                state[j + BLOCK] = f.decay * state[j + BLOCK] + new[j] - f.cut_p * old[j]
                state[j + 2 * BLOCK] = r
                state[j + 3 * BLOCK] = nu.decay * state[j + 3 * BLOCK] + one * fires - nu.cut_p * spent[j]
                potential[j] = value
                fired[j] = fires


def neuron(x: Array, response: Alpha, spiking: Spiking) -> tuple[Array, Array]:
    """Filter, refract and threshold x (T, ...) in one pass: the potential u and the spikes s, both (T, ...)."""
    u, s = empty(x.shape, x.dtype), empty(x.shape, bool)
    flat = columns(x)
    constants = (
        spiking.surrogate(x.dtype)[0],
        response.recurrence(x.dtype, len(x)),
        spiking.refractory.recurrence(x.dtype, len(x)),
    )
    spread(_neuron, flat.shape[1], flat, columns(u), columns(s.view(np.uint8)), *constants, grain=GRAIN)
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


@compiled
def _neuron_adjoint(
    first: int,
    last: int,
    g: Any,
    u: Any,
    y: Any,
    theta: Any,
    steep: Any,
    height: Any,
    f: Recurrence,
) -> None:
    steps = g.shape[0]
    state = np.empty(2 * BLOCK, g.dtype)
    # The last `cut` rows of g_u: the filter forgets row t + cut at step t.
    ring = np.empty((max(f.cut, 1), BLOCK), g.dtype)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        state[:] = 0
        ring[:] = 0
        for k in range(steps):
            t = steps - 1 - k
            above = g[t, low:high]
            potential = u[t, low:high]
            kept = ring[t % len(ring)]
            out = y[t, low:high]
            for j in range(high - low):
                old = kept[j]
                q = f.decay * (state[j] + state[j + BLOCK]) - f.cut_q * old
                value = height * exp_of_negative(-abs(potential[j] - theta) * steep) * above[j]
                state[j] = q
                state[j + BLOCK] = f.decay * state[j + BLOCK] + value - f.cut_p * old
                kept[j] = value
                out[j] = f.gain * q


def neuron_adjoint(g: Array, u: Array, response: Alpha, spiking: Spiking) -> Array:
    """Return psp_adjoint(spike_adjoint(g, u)) in one pass, of g and u (T, ...)."""
    y = empty(g.shape, g.dtype)
    flat = columns(g)
    constants = *spiking.surrogate(g.dtype), response.recurrence(g.dtype, len(g))
    spread(_neuron_adjoint, flat.shape[1], flat, columns(u), columns(y), *constants, grain=GRAIN)
    return y


@compiled
def _neuron_adjoint_exact(
    first: int,
    last: int,
    g: Any,
    u: Any,
    y: Any,
    theta: Any,
    steep: Any,
    height: Any,
    f: Recurrence,
    nu: Recurrence,
) -> None:
    steps = g.shape[0]
    state = np.empty(4 * BLOCK, g.dtype)
    # One row more than either filter forgets at, so that no row is read and written in one step.
    ring = np.empty((max(f.cut, nu.cut) + 1, BLOCK), g.dtype)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        state[:] = 0
        ring[:] = 0
        for k in range(steps):
            t = steps - 1 - k
            above = g[t, low:high]
            potential = u[t, low:high]
            old = ring[(t + f.cut) % len(ring)]
            spent = ring[(t + nu.cut) % len(ring)]
            kept = ring[t % len(ring)]
            out = y[t, low:high]
            for j in range(high - low):
                q = f.decay * (state[j] + state[j + BLOCK]) - f.cut_q * old[j]
                r = nu.decay * (state[j + 2 * BLOCK] + state[j + 3 * BLOCK]) - nu.cut_q * spent[j]
                rho = height * exp_of_negative(-abs(potential[j] - theta) * steep)
                value = rho * (above[j] + nu.gain * r)
                state[j] = q
                state[j + BLOCK] = f.decay * state[j + BLOCK] + value - f.cut_p * old[j]
                state[j + 2 * BLOCK] = r
                state[j + 3 * BLOCK] = nu.decay * state[j + 3 * BLOCK] + value - nu.cut_p * spent[j]
                kept[j] = value
                out[j] = f.gain * q


def neuron_adjoint_exact(g: Array, u: Array, response: Alpha, spiking: Spiking) -> Array:
    """Return psp_adjoint(spike_adjoint_exact(g, u)) in one pass, of g and u (T, ...)."""
    y = empty(g.shape, g.dtype)
    flat = columns(g)
    constants = (
        *spiking.surrogate(g.dtype),
        response.recurrence(g.dtype, len(g)),
        spiking.refractory.recurrence(g.dtype, len(g)),
    )
    spread(_neuron_adjoint_exact, flat.shape[1], flat, columns(u), columns(y), *constants, grain=GRAIN)
    return y
