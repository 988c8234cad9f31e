"""Neurons of the spike response model on the CPU: twins of `srm.cu`.

The loops run over blocks of columns; see `cuslayer/jit.py`. `forward_block` and `backward_block` run a block through a
range of time, in arrays that may be ring buffers, so that a fused pass can use a block's input and output while they
are in the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import GRAIN, columns, compiled, parallel_for
from cuslayer.kernels.constants import Alpha, Recurrence, Spiking, Surrogate
from cuslayer.kernels.host.memory import empty, is_large
from cuslayer.kernels.host.numbers import exp_of_negative
from cuslayer.kernels.host.rows import LANES, copy, fence, scratch, scratch_rows, write_row
from cuslayer.kernels.host.states import flush, flushed

# Steps that are buffered before their results overwrite them: inputs forward, gradients backward.
_CHUNK = 16
# A place that is no literal: Numba would compile a function once more for it.
_ZERO: Any = np.int64(0)
# Columns of a block, whose states fit in a cache near the core.
_BLOCK = 2048


@compiled
def padded(width: int) -> int:
    """Return the distance at which the rows of a buffer of a block of `width` columns lie.

    An odd number of cache lines: at distances of a power of two, lines of a cache displace each other.
    """
    return (-(-width // LANES) | 1) * LANES


@compiled
def forward_block(
    first: int, last: int, state: Any, x: Any, x_at: int, u: Any, u_at: int, s: Any, s_at: int, width: int, c: Any
) -> None:
    """Run a block of neurons over the steps [first, last).

    The state (4 width or more,) is 0 before the first step. Its four arrays lie at distances of the width: a distance
    that is not the number of passes of the loop would keep the compiler from SIMD. The inputs, potentials and spikes
    are `width` columns of x, u and s, from x_at, u_at and s_at on. Step t is row t modulo the number of rows: x and s
    may be ring buffers that hold `cut` steps. c: see `forward_constants`.
    """
    theta, f, nu = c
    zeros = np.zeros(width, x.dtype)
    no_spikes = np.zeros(width, s.dtype)
    one = x.dtype.type(1)
    for t in range(first, last):
        new = x[t % len(x), x_at : x_at + width]
        old = x[(t - f.cut) % len(x), x_at : x_at + width] if 0 < f.cut <= t else zeros
        old_spike = s[(t - nu.cut) % len(s), s_at : s_at + width] if 0 < nu.cut <= t else no_spikes
        potential = u[t % len(u), u_at : u_at + width]
        fired = s[t % len(s), s_at : s_at + width]
        flush(t, state[: 2 * width], f.decay)
        flush(t, state[2 * width : 4 * width], nu.decay)
        for j in range(width):
            q = f.decay * (state[j] + state[j + width]) - f.cut_q * old[j]
            r = nu.decay * (state[j + 2 * width] + state[j + 3 * width]) - nu.cut_q * old_spike[j]
            value = f.gain * q + nu.gain * r
            fires = value >= theta
            state[j] = q
            state[j + width] = f.decay * state[j + width] + new[j] - f.cut_p * old[j]
            state[j + 2 * width] = r
            state[j + 3 * width] = nu.decay * state[j + 3 * width] + one * fires - nu.cut_p * old_spike[j]
            potential[j] = value
            fired[j] = fires


@compiled
def _neuron(first: int, last: int, x: Any, u: Any, s: Any, c: Any) -> None:
    for low in range(first, last, _BLOCK):
        width = min(_BLOCK, last - low)
        forward_block(_ZERO, len(x), scratch(4 * padded(width), x), x, low, u, low, s, low, width, c)


@compiled
def _neuron_in_place(first: int, last: int, x: Any, s: Any, c: Any) -> None:
    """Overwrite the input x with the potential; a ring buffer keeps the inputs within the filter."""
    _, f, _ = c
    for low in range(first, last, _BLOCK):
        width = min(_BLOCK, last - low)
        state, ring = scratch(4 * padded(width), x), scratch_rows(f.cut + _CHUNK, padded(width), x)
        for begin in range(0, len(x), _CHUNK):
            end = min(begin + _CHUNK, len(x))
            for t in range(begin, end):
                copy(ring[t % len(ring), :width], x[t, low : low + width])
            forward_block(begin, end, state, ring, _ZERO, x, low, s, low, width, c)


def neuron(x: Array, response: Alpha, spiking: Spiking, overwrite: bool = False) -> tuple[Array, Array]:
    """Return the potential u and the spikes s, both (T, ...), of the input x (T, ...) in one pass.

    u overwrites x if `overwrite`.
    """
    u, s = x if overwrite else empty(x.shape, x.dtype), empty(x.shape, bool)
    flat, fired = columns(x), columns(s.view(np.uint8))
    constants = forward_constants(x.dtype, len(x), response, spiking)
    if overwrite:
        parallel_for(_neuron_in_place, flat.shape[1], flat, fired, constants, grain=GRAIN)
    else:
        parallel_for(_neuron, flat.shape[1], flat, columns(u), fired, constants, grain=GRAIN)
    return u, s


def forward_constants(dtype: Any, steps: int, response: Alpha, spiking: Spiking) -> tuple[Any, Recurrence, Recurrence]:
    """Return the constants of `forward_block`: the threshold, the response, the refractory response."""
    refractory = spiking.refractory.recurrence(dtype, steps)
    return spiking.surrogate(dtype)[0], response.recurrence(dtype, steps), refractory


def backward_constants(dtype: Any, steps: int, response: Alpha, spiking: Spiking) -> tuple[Any, Any, Any, Recurrence]:
    """Return the constants of `backward_block`: threshold, steepness and height of the surrogate, and the response."""
    return *spiking.surrogate(dtype), response.recurrence(dtype, steps)


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
    c: Any,
) -> None:
    """Run a block of neurons backward over the steps [first, last).

    The state (2 width or more,) is 0 after the last step. The gradients of the spikes g, the potentials u and the
    gradients of the inputs y are `width` columns each, from g_at, u_at and y_at on; step t is row t modulo the number
    of rows. The ring buffer (cut, width or more), 0 after the last step, holds the gradients of u within the filter.
    c: see `backward_constants`.
    """
    theta, steep, height, f = c
    for t in range(last - 1, first - 1, -1):
        grad = g[t % len(g), g_at : g_at + width]
        potential = u[t % len(u), u_at : u_at + width]
        row = ring[t % len(ring), :width]
        out = y[t % len(y), y_at : y_at + width]
        flush(t, state[: 2 * width], f.decay)
        for j in range(width):
            old = row[j]
            q = f.decay * (state[j] + state[j + width]) - f.cut_q * old
            value = flushed(height * exp_of_negative(-abs(potential[j] - theta) * steep) * grad[j])
            state[j] = q
            state[j + width] = f.decay * state[j + width] + value - f.cut_p * old
            row[j] = value
            out[j] = f.gain * q


@compiled
def _neuron_adjoint(first: int, last: int, g: Any, u: Any, y: Any, c: Any, large: bool) -> None:
    _, _, _, f = c
    rows = scratch_rows(_CHUNK, padded(_BLOCK), g)
    for low in range(first, last, _BLOCK):
        width = min(_BLOCK, last - low)
        state, ring = scratch(2 * padded(width), g), scratch_rows(max(f.cut, 1), padded(width), g)
        for end in range(len(g), 0, -_CHUNK):
            begin = max(end - _CHUNK, 0)
            backward_block(begin, end, state, ring, g, low, u, low, rows, _ZERO, width, c)
            for t in range(begin, end):
                write_row(y[t, low : low + width], rows[t % _CHUNK, :width], large)
    fence()


def neuron_adjoint(g: Array, u: Array, response: Alpha, spiking: Spiking, overwrite: bool = False) -> Array:
    """Return psp_adjoint(spike_adjoint(g, u)) in one pass, of g and u (T, ...); u is overwritten if `overwrite`."""
    y = u if overwrite else empty(g.shape, g.dtype)
    flat = columns(g)
    constants = backward_constants(g.dtype, len(g), response, spiking)
    parallel_for(
        _neuron_adjoint,
        flat.shape[1],
        flat,
        columns(u),
        columns(y),
        constants,
        is_large(y) and not overwrite,
        grain=GRAIN,
    )
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
    large: bool,
) -> None:
    steps = g.shape[0]
    far = padded(_BLOCK)
    state, rows = scratch(4 * far, g), scratch(far, g)
    # One row more than either cut, so that no row is read and written in the same step.
    ring = np.empty((max(f.cut, nu.cut) + 1, far), g.dtype)
    for low in range(first, last, _BLOCK):
        high = min(low + _BLOCK, last)
        state[:] = 0
        ring[:] = 0
        for t in range(steps - 1, -1, -1):
            grad = g[t, low:high]
            potential = u[t, low:high]
            old = ring[(t + f.cut) % len(ring)]
            old_refractory = ring[(t + nu.cut) % len(ring)]
            row = ring[t % len(ring)]
            flush(t, state[: 2 * far], f.decay)
            flush(t, state[2 * far :], nu.decay)
            for j in range(high - low):
                q = f.decay * (state[j] + state[j + far]) - f.cut_q * old[j]
                r = nu.decay * (state[j + 2 * far] + state[j + 3 * far]) - nu.cut_q * old_refractory[j]
                rho = height * exp_of_negative(-abs(potential[j] - theta) * steep)
                value = flushed(rho * (grad[j] + nu.gain * r))
                state[j] = q
                state[j + far] = f.decay * state[j + far] + value - f.cut_p * old[j]
                state[j + 2 * far] = r
                state[j + 3 * far] = nu.decay * state[j + 3 * far] + value - nu.cut_p * old_refractory[j]
                row[j] = value
                rows[j] = f.gain * q
            write_row(y[t, low:high], rows[: high - low], large)
    fence()


def neuron_adjoint_exact(g: Array, u: Array, response: Alpha, spiking: Spiking, overwrite: bool = False) -> Array:
    """Return psp_adjoint(spike_adjoint_exact(g, u)) in one pass, of g and u (T, ...); see `neuron_adjoint`."""
    y = u if overwrite else empty(g.shape, g.dtype)
    flat = columns(g)
    refractory = spiking.refractory.recurrence(g.dtype, len(g))
    constants = *backward_constants(g.dtype, len(g), response, spiking), refractory, is_large(y) and not overwrite
    parallel_for(_neuron_adjoint_exact, flat.shape[1], flat, columns(u), columns(y), *constants, grain=GRAIN)
    return y


@compiled
def _spike(first: int, last: int, a: Any, u: Any, s: Any, theta: Any, nu: Recurrence) -> None:
    far = padded(_BLOCK)
    state = np.empty(2 * far, a.dtype)
    zeros = np.zeros(_BLOCK, s.dtype)
    one, zero = a.dtype.type(1), a.dtype.type(0)
    for low in range(first, last, _BLOCK):
        high = min(low + _BLOCK, last)
        state[:] = 0
        for t in range(a.shape[0]):
            given = a[t, low:high]
            old = s[t - nu.cut, low:high] if 0 < nu.cut <= t else zeros[: high - low]
            potential = u[t, low:high]
            fired = s[t, low:high]
            flush(t, state, nu.decay)
            for j in range(high - low):
                cut_q = nu.cut_q if old[j] else zero
                cut_p = nu.cut_p if old[j] else zero
                q = nu.decay * (state[j] + state[j + far]) - cut_q
                value = given[j] + nu.gain * q
                fires = value >= theta
                state[j] = q
                state[j + far] = nu.decay * state[j + far] + (one if fires else zero) - cut_p
                potential[j] = value
                fired[j] = fires


def spike(a: Array, spiking: Spiking) -> tuple[Array, Array]:
    """Return the potential u and the spikes s, both (T, ...), of the filtered input a (T, ...).

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
        grad = g[t, first:last]
        potential = u[t, first:last]
        out = y[t, first:last]
        for j in range(last - first):
            out[j] = flushed(height * exp_of_negative(-abs(potential[j] - theta) * steep) * grad[j])


def spike_adjoint(g: Array, u: Array, spiking: Surrogate) -> Array:
    """Return the gradient of the potential as published, ``g_u[t] = dt rho(u[t]) g[t]``, of g and u (T, ...)."""
    y = empty(g.shape, g.dtype)
    flat = columns(g)
    parallel_for(_spike_adjoint, flat.shape[1], flat, columns(u), columns(y), *spiking.surrogate(g.dtype), grain=GRAIN)
    return y


@compiled
def _spike_adjoint_exact(
    first: int, last: int, g: Any, u: Any, y: Any, theta: Any, steep: Any, height: Any, nu: Recurrence
) -> None:
    steps = g.shape[0]
    far = padded(_BLOCK)
    state = np.empty(2 * far, g.dtype)
    zeros = np.zeros(_BLOCK, g.dtype)
    for low in range(first, last, _BLOCK):
        high = min(low + _BLOCK, last)
        state[:] = 0
        for k in range(steps):
            t = steps - 1 - k
            grad = g[t, low:high]
            potential = u[t, low:high]
            old = y[t + nu.cut, low:high] if 0 < nu.cut <= k else zeros[: high - low]
            out = y[t, low:high]
            flush(t, state, nu.decay)
            for j in range(high - low):
                q = nu.decay * (state[j] + state[j + far]) - nu.cut_q * old[j]
                rho = height * exp_of_negative(-abs(potential[j] - theta) * steep)
                value = flushed(rho * (grad[j] + nu.gain * q))
                state[j] = q
                state[j + far] = nu.decay * state[j + far] + value - nu.cut_p * old[j]
                out[j] = value


def spike_adjoint_exact(g: Array, u: Array, spiking: Spiking) -> Array:
    """Return the exact gradient, ``g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])``, of g and u (T, ...)."""
    y = empty(g.shape, g.dtype)
    flat = columns(g)
    constants = *spiking.surrogate(g.dtype), spiking.refractory.recurrence(g.dtype, len(g))
    parallel_for(_spike_adjoint_exact, flat.shape[1], flat, columns(u), columns(y), *constants, grain=GRAIN)
    return y
