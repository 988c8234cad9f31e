"""Neurons of the spike response model, and their response as a filter, on the CPU: twins of `srm.cu` and `psp`.

The loops run over blocks of columns; see `cuslayer/_base/jit.py`. `forward_block` and `backward_block` run a block
through a range of time. Their arrays may be ring buffers, so a fused pass can use a block's input and output in the
cache. Code for an argument that is None is not compiled.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer._base.jit import GRAIN, columns, compiled, parallel_for
from cuslayer.backend import Array, numeric
from cuslayer.kernels.constants import Alpha, Recurrence, Spiking, SurrogateNumbers, surrogate_numbers
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.numbers import exp_of_negative
from cuslayer.kernels.host.rows import LANES, copy, scratch, scratch_rows
from cuslayer.kernels.host.states import flush, flushed
from cuslayer.kernels.surrogate.cpu import slopes

# Steps that are buffered before their results overwrite them: inputs forward, gradients backward.
_CHUNK = 16
# An index that is no literal: Numba would compile a function once more for a literal.
_ZERO: Any = np.int64(0)
# Columns of a block, whose states fit in a cache near the core.
_BLOCK = 2048


@compiled
def padded(width: int) -> int:
    """Return the distance of the rows of a buffer for a block of `width` columns.

    An odd number of cache lines: at distances of a power of two, rows evict each other from a cache.
    """
    return (-(-width // LANES) | 1) * LANES


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
    f: Recurrence | None,
    nu: Recurrence,
) -> None:
    """Run a block of neurons over the steps [first, last); without a response f, the input is already filtered.

    The state (4 width or more,) is 0 before the first step. Its four arrays lie at distances of the width: a distance
    that is not the number of passes of the loop would keep the compiler from SIMD. The inputs, potentials and spikes
    are `width` columns of x, u and s, from x_at, u_at and s_at on. Step t is row t modulo the number of rows: x and s
    may be ring buffers of `cut` steps.
    """
    zeros = np.zeros(width, x.dtype)
    no_spikes = np.zeros(width, s.dtype)
    one = x.dtype.type(1)
    for t in range(first, last):
        new = x[t % len(x), x_at : x_at + width]
        old_spike = s[(t - nu.cut) % len(s), s_at : s_at + width] if 0 < nu.cut <= t else no_spikes
        potential = u[t % len(u), u_at : u_at + width]
        fired = s[t % len(s), s_at : s_at + width]
        if f is not None:
            old = x[(t - f.cut) % len(x), x_at : x_at + width] if 0 < f.cut <= t else zeros
            flush(t, state[: 2 * width], f.decay)
        flush(t, state[2 * width : 4 * width], nu.decay)
        for j in range(width):
            r = nu.decay * (state[j + 2 * width] + state[j + 3 * width]) - nu.cut_q * old_spike[j]
            if f is None:
                value = new[j] + nu.gain * r
            else:
                q = f.decay * (state[j] + state[j + width]) - f.cut_q * old[j]
                value = f.gain * q + nu.gain * r
                state[j] = q
                state[j + width] = f.decay * state[j + width] + new[j] - f.cut_p * old[j]
            fires = value >= theta
            state[j + 2 * width] = r
            state[j + 3 * width] = nu.decay * state[j + 3 * width] + one * fires - nu.cut_p * old_spike[j]
            potential[j] = value
            fired[j] = fires


@compiled
def _neuron(first: int, last: int, x: Any, u: Any, s: Any, theta: Any, f: Recurrence | None, nu: Recurrence) -> None:
    for low in range(first, last, _BLOCK):
        width = min(_BLOCK, last - low)
        forward_block(_ZERO, len(x), scratch(4 * padded(width), x), x, low, u, low, s, low, width, theta, f, nu)


@compiled
def _neuron_in_place(first: int, last: int, x: Any, s: Any, theta: Any, f: Recurrence, nu: Recurrence) -> None:
    """Overwrite the input x with the potential; a ring buffer keeps the inputs within the filter."""
    for low in range(first, last, _BLOCK):
        width = min(_BLOCK, last - low)
        state, ring = scratch(4 * padded(width), x), scratch_rows(f.cut + _CHUNK, padded(width), x)
        for begin in range(0, len(x), _CHUNK):
            end = min(begin + _CHUNK, len(x))
            for t in range(begin, end):
                copy(ring[t % len(ring), :width], x[t, low : low + width])
            forward_block(begin, end, state, ring, _ZERO, x, low, s, low, width, theta, f, nu)


def neuron(x: Array, response: Alpha, spiking: Spiking, overwrite: bool = False) -> tuple[Array, Array]:
    """Return the potential u and the spikes s, both (T, ...), of the input x (T, ...) in one pass.

    u overwrites x if `overwrite`.
    """
    u, s = x if overwrite else empty(x.shape, x.dtype), empty(x.shape, bool)
    flat, fired = columns(x), columns(s.view(np.uint8))
    arrays = (flat, fired) if overwrite else (flat, columns(u), fired)
    constants = spiking.surrogate(x.dtype)[0], *filters(x.dtype, len(x), response, spiking)
    parallel_for(_neuron_in_place if overwrite else _neuron, flat.shape[1], *arrays, *constants, grain=GRAIN)
    return u, s


def spike(a: Array, spiking: Spiking) -> tuple[Array, Array]:
    """Return the potential u and the spikes s, both (T, ...), of the filtered input a (T, ...).

    ``u[t] = a[t] + sum over earlier spikes f of nu[t - f]``, ``s[t] = (u[t] >= theta)``.
    """
    u, s = empty(a.shape, a.dtype), empty(a.shape, bool)
    theta, nu = spiking.surrogate(a.dtype)[0], spiking.refractory.recurrence(a.dtype, len(a))
    arrays = columns(a), columns(u), columns(s.view(np.uint8))
    parallel_for(_neuron, arrays[0].shape[1], *arrays, theta, None, nu, grain=GRAIN)
    return u, s


def filters(dtype: np.dtype[Any], steps: int, response: Alpha, spiking: Spiking) -> tuple[Recurrence, Recurrence]:
    """Return the response and the refractory response for so many steps."""
    return response.recurrence(dtype, steps), spiking.refractory.recurrence(dtype, steps)


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
    c: SurrogateNumbers,
    f: Recurrence,
    nu: Recurrence | None,
    shaped: Any,
) -> None:
    """Run a block of neurons backward over the steps [first, last).

    The state (4 width or more,) is 0 after the last step. The gradients of the spikes g, the potentials u and the
    gradients of the inputs y are `width` columns each, from g_at, u_at and y_at on. Step t is row t modulo the number
    of rows. The ring buffer, 0 after the last step, has the gradients of u within the filters: (cut, width or more),
    with a refractory response the longer cut and one row more, so no row is read and written in the same step.

    Args:
        first: the first step.
        last: the step after the last.
        state: of the recurrences.
        ring: the ring buffer.
        g: the gradients of the spikes.
        g_at: their first column.
        u: the potentials.
        u_at: their first column.
        y: the gradients of the inputs, written.
        y_at: their first column.
        width: columns.
        c: the surrogate.
        f: the response.
        nu: the refractory response, through which the gradient goes; None if it does not.
        shaped: None if the surrogate is the exponential; else it may have any shape.
    """
    slope = np.empty(0 if shaped is None else width, g.dtype)
    for t in range(last - 1, first - 1, -1):
        grad = g[t % len(g), g_at : g_at + width]
        potential = u[t % len(u), u_at : u_at + width]
        row = ring[t % len(ring), :width]
        out = y[t % len(y), y_at : y_at + width]
        old = row
        flush(t, state[: 2 * width], f.decay)
        if nu is not None:
            old, old_refractory = ring[(t + f.cut) % len(ring), :width], ring[(t + nu.cut) % len(ring), :width]
            flush(t, state[2 * width : 4 * width], nu.decay)
        if shaped is not None:
            slopes(slope, potential, c)
        for j in range(width):
            left = old[j]
            q = f.decay * (state[j] + state[j + width]) - f.cut_q * left
            if shaped is None:
                rho = c.height * exp_of_negative(-abs(potential[j] - c.theta) * c.steep)
            else:
                rho = slope[j]
            due = grad[j]
            if nu is not None:
                r = nu.decay * (state[j + 2 * width] + state[j + 3 * width]) - nu.cut_q * old_refractory[j]
                due = grad[j] + nu.gain * r
            value = flushed(rho * due)
            if nu is not None:
                state[j + 2 * width] = r
                state[j + 3 * width] = nu.decay * state[j + 3 * width] + value - nu.cut_p * old_refractory[j]
            state[j] = q
            state[j + width] = f.decay * state[j + width] + value - f.cut_p * left
            row[j] = value
            out[j] = f.gain * q


@compiled
def _neuron_adjoint(
    first: int, last: int, g: Any, u: Any, y: Any, c: SurrogateNumbers, f: Recurrence, nu: Recurrence | None, rows: int
) -> None:
    written = scratch_rows(_CHUNK, padded(_BLOCK), g)
    for low in range(first, last, _BLOCK):
        width = min(_BLOCK, last - low)
        state, ring = scratch(4 * padded(width), g), scratch_rows(rows, padded(width), g)
        for end in range(len(g), 0, -_CHUNK):
            begin = max(end - _CHUNK, 0)
            backward_block(begin, end, state, ring, g, low, u, low, written, _ZERO, width, c, f, nu, None)
            for t in range(begin, end):
                copy(y[t, low : low + width], written[t % _CHUNK, :width])


def neuron_adjoint(
    g: Array, u: Array, response: Alpha, spiking: Spiking, exact: bool = False, overwrite: bool = False
) -> Array:
    """Return the gradient of the input of `neuron`, from its spikes' gradient g and its potentials u (T, ...).

    It correlates the response with the gradient of u, ``g_u[t] = dt rho(u[t]) g[t]``, or if `exact`
    ``g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])``. With `overwrite` it overwrites u.
    """
    y, flat = u if overwrite else empty(g.shape, g.dtype), columns(g)
    f, refractory = filters(g.dtype, len(g), response, spiking)
    nu = refractory if exact else None
    constants = surrogate_numbers(spiking, g.dtype), f, nu, ring_rows(f, nu)
    parallel_for(_neuron_adjoint, flat.shape[1], flat, columns(u), columns(y), *constants, grain=GRAIN)
    return y


def ring_rows(f: Recurrence, nu: Recurrence | None) -> int:
    """Return the rows of the ring buffer of `backward_block`."""
    return max(f.cut, 1) if nu is None else max(f.cut, nu.cut) + 1


@compiled
def _psp(first: int, last: int, x: Any, a: Any, f: Recurrence, backward: bool) -> None:
    steps = x.shape[0]
    state = np.empty(2 * _BLOCK, x.dtype)
    zeros = np.zeros(_BLOCK, x.dtype)
    for low in range(first, last, _BLOCK):
        high = min(low + _BLOCK, last)
        state[:] = 0
        for k in range(steps):
            t = steps - 1 - k if backward else k
            new = x[t, low:high]
            old = x[t + f.cut if backward else t - f.cut, low:high] if 0 < f.cut <= k else zeros[: high - low]
            out = a[t, low:high]
            flush(t, state, f.decay)
            for j in range(high - low):
                q = f.decay * (state[j] + state[j + _BLOCK]) - f.cut_q * old[j]
                state[j] = q
                state[j + _BLOCK] = f.decay * state[j + _BLOCK] + new[j] - f.cut_p * old[j]
                out[j] = f.gain * q


def psp(x: Array, response: Alpha) -> Array:
    """Filter each column of x (T, ...): ``a[t] = sum_k eps[k] x[t-k]``, with two states a column for any tau."""
    return _filtered(numeric(x), response, backward=False)


def psp_adjoint(g: Array, response: Alpha) -> Array:
    """Correlate each column of g (T, ...) with the response: ``y[t] = sum_k eps[k] g[t+k]``."""
    # Correlation is the same recurrence, from the last step to the first.
    return _filtered(g, response, backward=True)


def _filtered(x: Array, response: Alpha, *, backward: bool) -> Array:
    out = empty(x.shape, x.dtype)
    flat = columns(x)
    constants = response.recurrence(x.dtype, len(x))
    parallel_for(_psp, flat.shape[1], flat, columns(out), constants, backward, grain=GRAIN)
    return out
