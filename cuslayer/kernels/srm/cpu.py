"""Filter, refraction and threshold in one pass on the CPU, and the way back: twins of `neuron` in `kernels/neuron.cu`.

`forward_block` and `backward_block` bring a block of columns through some of its time, in arrays that may lie elsewhere and remember
no more than they must: so a synapse can make its input and use its output while they are in the cache.

Refraction and threshold on the CPU, and the way back through them: twins of `spike` in `kernels/neuron.cu`.

Blocks of columns and one array for all states of a block, as in `response.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Alpha, Recurrence, Spiking
from cuslayer.kernels.host.blocks import BLOCK, GRAIN, columns
from cuslayer.kernels.host.exponential import exp_of_negative
from cuslayer.kernels.host.memory import empty

# Steps that lie beside what they replace: inputs forward, gradients on the way back.
_CHUNK = 16
# Columns that go through time in the place of their input, with a ring of what the filter remembers of it.
_NEAR = 1024


@compiled
def forward_block(
    first: int,
    last: int,
    state: Any,
    x: Any,
    x_at: int,
    u: Any,
    u_at: int,
    s: Any,
    s_at: int,
    width: int,
    theta: Any,
    f: Recurrence,
    nu: Recurrence,
) -> None:
    """Bring a block of neurons from step `first` to `last`, state (4 width or more,) being 0 before the first step.

    Their inputs, potentials and spikes are `width` columns each of x, u and s. Of these, step t is row t, modulo their
    length: x and s may be rings that remember `cut` steps.
    """
    rest = np.zeros(width, x.dtype)
    silent = np.zeros(width, s.dtype)
    one = x.dtype.type(1)
    for t in range(first, last):
        new = x[t % len(x), x_at : x_at + width]
        old = x[(t - f.cut) % len(x), x_at : x_at + width] if 0 < f.cut <= t else rest
        spent = s[(t - nu.cut) % len(s), s_at : s_at + width] if 0 < nu.cut <= t else silent
        potential = u[t % len(u), u_at : u_at + width]
        fired = s[t % len(s), s_at : s_at + width]
        for j in range(width):
            q = f.decay * (state[j] + state[j + width]) - f.cut_q * old[j]
            r = nu.decay * (state[j + 2 * width] + state[j + 3 * width]) - nu.cut_q * spent[j]
            value = f.gain * q + nu.gain * r
            fires = value >= theta
            state[j] = q
            state[j + width] = f.decay * state[j + width] + new[j] - f.cut_p * old[j]
            state[j + 2 * width] = r
            state[j + 3 * width] = nu.decay * state[j + 3 * width] + one * fires - nu.cut_p * spent[j]
            potential[j] = value
            fired[j] = fires


@compiled
def _neuron(first: int, last: int, x: Any, u: Any, s: Any, theta: Any, f: Recurrence, nu: Recurrence) -> None:
    for low in range(first, last, BLOCK):
        width = min(BLOCK, last - low)
        forward_block(0, len(x), np.zeros(4 * width, x.dtype), x, low, u, low, s, low, width, theta, f, nu)


@compiled
def _neuron_in_place(first: int, last: int, x: Any, s: Any, theta: Any, f: Recurrence, nu: Recurrence) -> None:
    """Write the potential in the place of the input x, which a ring remembers for as long as the filter does."""
    for low in range(first, last, _NEAR):
        width = min(_NEAR, last - low)
        state, ring = np.zeros(4 * width, x.dtype), np.empty((f.cut + _CHUNK, width), x.dtype)
        for begin in range(0, len(x), _CHUNK):
            end = min(begin + _CHUNK, len(x))
            for t in range(begin, end):
                ring[t % len(ring)] = x[t, low : low + width]
            forward_block(begin, end, state, ring, 0, x, low, s, low, width, theta, f, nu)


def neuron(x: Array, response: Alpha, spiking: Spiking, overwrite: bool = False) -> tuple[Array, Array]:
    """Filter, refract and threshold x (T, ...) in one pass: the potential u and the spikes s, both (T, ...).

    u takes the place of x if that may be.
    """
    u, s = x if overwrite else empty(x.shape, x.dtype), empty(x.shape, bool)
    flat, fired = columns(x), columns(s.view(np.uint8))
    constants = forward_constants(x.dtype, len(x), response, spiking)
    if overwrite:
        parallel_for(_neuron_in_place, flat.shape[1], flat, fired, *constants, grain=GRAIN)
    else:
        parallel_for(_neuron, flat.shape[1], flat, columns(u), fired, *constants, grain=GRAIN)
    return u, s


def forward_constants(dtype: Any, steps: int, response: Alpha, spiking: Spiking) -> tuple[Any, Recurrence, Recurrence]:
    """Return what `forward_block` takes after its arrays: the threshold, the response, the refraction."""
    refractory = spiking.refractory.recurrence(dtype, steps)
    return spiking.surrogate(dtype)[0], response.recurrence(dtype, steps), refractory


@compiled
def backward_block(
    first: int,
    last: int,
    state: Any,
    ring: Any,
    g: Any,
    g_at: int,
    u: Any,
    u_at: int,
    y: Any,
    y_at: int,
    width: int,
    theta: Any,
    steep: Any,
    height: Any,
    f: Recurrence,
) -> None:
    """Bring a block of neurons back from step `last` to `first`; state (2 width or more,) is 0 behind the last step.

    Of `width` columns each, g and u make y, the gradient of the inputs, step t being row t modulo their length. The
    ring (cut, width or more), all 0 behind the last step, holds the gradients of u that the filter has yet to forget.
    """
    for t in range(last - 1, first - 1, -1):
        above = g[t % len(g), g_at : g_at + width]
        potential = u[t % len(u), u_at : u_at + width]
        kept = ring[t % len(ring), :width]
        out = y[t % len(y), y_at : y_at + width]
        for j in range(width):
            old = kept[j]
            q = f.decay * (state[j] + state[j + width]) - f.cut_q * old
            value = height * exp_of_negative(-abs(potential[j] - theta) * steep) * above[j]
            state[j] = q
            state[j + width] = f.decay * state[j + width] + value - f.cut_p * old
            kept[j] = value
            out[j] = f.gain * q


@compiled
def _neuron_adjoint(
    first: int, last: int, g: Any, u: Any, y: Any, theta: Any, steep: Any, height: Any, f: Recurrence
) -> None:
    made = np.empty((_CHUNK, BLOCK), g.dtype)
    for low in range(first, last, BLOCK):
        width = min(BLOCK, last - low)
        state, ring = np.zeros(2 * width, g.dtype), np.zeros((max(f.cut, 1), width), g.dtype)
        for end in range(len(g), 0, -_CHUNK):
            begin = max(end - _CHUNK, 0)
            backward_block(begin, end, state, ring, g, low, u, low, made, 0, width, theta, steep, height, f)
            for t in range(begin, end):
                y[t, low : low + width] = made[t % _CHUNK, :width]


def neuron_adjoint(g: Array, u: Array, response: Alpha, spiking: Spiking, overwrite: bool = False) -> Array:
    """Return psp_adjoint(spike_adjoint(g, u)) in one pass, of g and u (T, ...), in the place of u if that may be."""
    y = u if overwrite else empty(g.shape, g.dtype)
    flat = columns(g)
    constants = *spiking.surrogate(g.dtype), response.recurrence(g.dtype, len(g))
    parallel_for(_neuron_adjoint, flat.shape[1], flat, columns(u), columns(y), *constants, grain=GRAIN)
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
    state, made = np.empty(4 * BLOCK, g.dtype), np.empty(BLOCK, g.dtype)
    # One row more than either filter forgets at, so that no row is read and written in one step.
    ring = np.empty((max(f.cut, nu.cut) + 1, BLOCK), g.dtype)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        state[:] = 0
        ring[:] = 0
        for t in range(steps - 1, -1, -1):
            above = g[t, low:high]
            potential = u[t, low:high]
            old = ring[(t + f.cut) % len(ring)]
            spent = ring[(t + nu.cut) % len(ring)]
            kept = ring[t % len(ring)]
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
                made[j] = f.gain * q
            y[t, low:high] = made[: high - low]


def neuron_adjoint_exact(g: Array, u: Array, response: Alpha, spiking: Spiking, overwrite: bool = False) -> Array:
    """Return psp_adjoint(spike_adjoint_exact(g, u)) in one pass, of g and u (T, ...), as `neuron_adjoint` does."""
    y = u if overwrite else empty(g.shape, g.dtype)
    flat = columns(g)
    constants = (
        *spiking.surrogate(g.dtype),
        response.recurrence(g.dtype, len(g)),
        spiking.refractory.recurrence(g.dtype, len(g)),
    )
    parallel_for(_neuron_adjoint_exact, flat.shape[1], flat, columns(u), columns(y), *constants, grain=GRAIN)
    return y


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
    parallel_for(_spike, flat.shape[1], flat, columns(u), columns(s.view(np.uint8)), theta, refractory, grain=GRAIN)
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
    parallel_for(_spike_adjoint, flat.shape[1], flat, columns(u), columns(y), *spiking.surrogate(g.dtype), grain=GRAIN)
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
    parallel_for(_spike_adjoint_exact, flat.shape[1], flat, columns(u), columns(y), *constants, grain=GRAIN)
    return y
