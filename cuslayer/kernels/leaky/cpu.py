"""Leaky neurons, with a current or without, on the CPU: twins of `leaky.cu`.

The loops run over blocks of columns; see `cuslayer/jit.py`. The shares that a step keeps of the states, `i_keep` and
`v_keep`, are one number, or one for each of the last columns, repeated: that of column m is ``keep[m % keep.size]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import BLOCK, GRAIN, columns, compiled, parallel_for
from cuslayer.kernels.host.blocks import at_rest, least_of, load_states, repeat, store_states
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.streaming import PIECE, fence, is_large, prefetch, write_row
from cuslayer.kernels.host.tiles import copy, scratch
from cuslayer.kernels.leaky.constants import LeakySpiking, Reset
from cuslayer.kernels.surrogate.constants import SurrogateNumbers, surrogate_numbers
from cuslayer.kernels.surrogate.cpu import slopes


@compiled
def forward_row(
    state: Any, keep: Any, given: Any, potential: Any, fired: Any, theta: Any, reset: Reset, least: Any
) -> None:
    """Run a row of neurons for a step; `state` and `keep` have the currents of the row, then the voltages."""
    width, zero = given.size, given.dtype.type(0)
    for j in range(width):
        current = keep[j] * state[j] + given[j]
        current = zero if abs(current) < least else current
        value = keep[j + width] * state[j + width] + current
        value = zero if abs(value) < least else value
        fires = value >= theta
        state[j] = current
        state[j + width] = reset.share * value - reset.drop if fires else value
        potential[j] = value
        fired[j] = fires


@compiled
def _forward(
    first: int,
    last: int,
    states: Any,
    x: Any,
    i_keep: Any,
    v_keep: Any,
    u: Any,
    s: Any,
    theta: Any,
    reset: Reset,
    least: Any,
) -> None:
    block = np.empty(4 * min(BLOCK, last - first), x.dtype)
    for low in range(first, last, BLOCK):
        width = min(BLOCK, last - low)
        state, keep = block[: 2 * width], block[2 * width : 4 * width]
        load_states(state, states, low, width)
        repeat(keep[:width], i_keep, low)
        repeat(keep[width:], v_keep, low)
        for t in range(x.shape[0]):
            given = x[t, low : low + width]
            potential = u[t, low : low + width]
            fired = s[t, low : low + width]
            forward_row(state, keep, given, potential, fired, theta, reset, least)
        store_states(states, state, low, width)


def forward(
    x: Array, i_keep: Array, v_keep: Array, spiking: LeakySpiking, states: Array | None = None
) -> tuple[Array, Array]:
    """Return the voltage u before the reset and the spikes s, both (T, ...), of the weighted input x (T, ...).

    Args:
        x: the weighted input.
        i_keep: (K,), the share of the current that a step keeps; K divides the number of columns.
        v_keep: (K,), the share of the voltage.
        spiking: threshold and reset.
        states: (2, columns), the current, and the voltage after the reset, before the first step, which become those
            after the last; by default 0.
    """
    u, s = empty(x.shape, x.dtype), empty(x.shape, bool)
    flat, theta = columns(x), x.dtype.type(spiking.theta)
    states = at_rest(2, x) if states is None else states
    arguments = states, flat, i_keep, v_keep, columns(u), columns(s.view(np.uint8)), theta
    parallel_for(_forward, flat.shape[1], *arguments, spiking.reset.of_type(x.dtype), least_of(x), grain=GRAIN)
    return u, s


@compiled
def backward_row(
    state: Any,
    keep: Any,
    slope: Any,
    grad: Any,
    potential: Any,
    out: Any,
    theta: Any,
    reset: Reset,
    graded: bool,
    least: Any,
) -> None:
    """Run a row of neurons back over a step; `state` has the errors of the current, then those of the voltage.

    `out` may be the row of `slope`.
    """
    width, zero, one = grad.size, grad.dtype.type(0), grad.dtype.type(1)
    for j in range(width):
        value, given, later = potential[j], grad[j], keep[j + width] * state[j + width]
        fires = value >= theta
        # The spike takes (1 - share) u + drop from the voltage, and passes share of what comes from later.
        of_spike = (given * value if graded else given) - ((one - reset.share) * value + reset.drop) * later
        passed = (reset.share * later if fires else later) + (given if graded & fires else zero)
        of_voltage = slope[j] * of_spike + passed
        of_voltage = zero if abs(of_voltage) < least else of_voltage
        of_current = keep[j] * state[j] + of_voltage
        state[j] = zero if abs(of_current) < least else of_current
        state[j + width] = of_voltage
    copy(out, state[:width])


@compiled
def _adjoint(
    first: int,
    last: int,
    g: Any,
    u: Any,
    i_keep: Any,
    v_keep: Any,
    y: Any,
    c: SurrogateNumbers,
    reset: Reset,
    graded: bool,
    least: Any,
    large: bool,
) -> None:
    # States and shares of one piece after the other; the surrogates of a row, and then its gradients.
    block, rows = scratch(4 * min(BLOCK, last - first), g), scratch(min(BLOCK, last - first), g)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        for begin in range(low, high, PIECE):
            end = min(begin + PIECE, high)
            memory, width = block[4 * (begin - low) : 4 * (end - low)], end - begin
            memory[: 2 * width] = 0
            repeat(memory[2 * width : 3 * width], i_keep, begin)
            repeat(memory[3 * width :], v_keep, begin)
        for t in range(g.shape[0] - 1, -1, -1):
            for begin in range(low, high, PIECE):
                end = min(begin + PIECE, high)
                memory, width = block[4 * (begin - low) : 4 * (end - low)], end - begin
                row, grad, potential = rows[begin - low : end - low], g[t, begin:end], u[t, begin:end]
                if t > 0:
                    prefetch(g[t - 1, begin:end])
                    prefetch(u[t - 1, begin:end])
                slopes(row, potential, c)
                state, keep = memory[: 2 * width], memory[2 * width :]
                backward_row(state, keep, row, grad, potential, row, c.theta, reset, graded, least)
            write_row(y[t, low:high], rows[: high - low], large)
    fence()


def adjoint(g: Array, u: Array, i_keep: Array, v_keep: Array, spiking: LeakySpiking) -> Array:
    """Return the gradient of the weighted input, of the gradient of the spikes g and the voltage u (T, ...).

    With ``r = share u - drop`` after a spike, r = u after none, and D the surrogate ``dt rho(u)``::

        g_v[t] = D g[t] + (dr/du - D ((1 - share) u + drop)) v_keep g_v[t+1]
        g_i[t] = i_keep g_i[t+1] + g_v[t]

    which is the gradient of x[t]; without the path through the reset, ``g_v[t] = D g[t] + v_keep g_v[t+1]``. Where
    spikes carry the voltage, ``D u g[t]`` stands for ``D g[t]``, and a spike adds g[t].
    """
    y = empty(g.shape, g.dtype)
    flat, reset = columns(g), spiking.backward_reset.of_type(g.dtype)
    arguments = flat, columns(u), i_keep, v_keep, columns(y), surrogate_numbers(spiking, g.dtype)
    constants = reset, spiking.graded, least_of(g), is_large(y)
    parallel_for(_adjoint, flat.shape[1], *arguments, *constants, grain=GRAIN)
    return y


@compiled
def _keep_adjoint(
    first: int,
    last: int,
    y: Any,
    u: Any,
    states: Any,
    i_keep: Any,
    v_keep: Any,
    g_i: Any,
    g_v: Any,
    theta: Any,
    reset: Reset,
) -> None:
    # Two states, their shares and the sums of both.
    block, zeros = np.empty(6 * min(BLOCK, last - first), y.dtype), np.zeros(min(BLOCK, last - first), y.dtype)
    for low in range(first, last, BLOCK):
        width = min(BLOCK, last - low)
        load_states(block, states, low, width)
        repeat(block[2 * width : 3 * width], i_keep, low)
        repeat(block[3 * width : 4 * width], v_keep, low)
        block[4 * width :] = 0
        for t in range(y.shape[0]):
            now = y[t, low : low + width]
            later = y[t + 1, low : low + width] if t + 1 < y.shape[0] else zeros[:width]
            potential = u[t, low : low + width]
            for j in range(width):
                current, voltage, value = block[j], block[j + width], potential[j]
                block[j + 4 * width] += now[j] * current
                block[j + 5 * width] += (now[j] - block[j + 2 * width] * later[j]) * voltage
                block[j] = value - block[j + 3 * width] * voltage
                block[j + width] = reset.share * value - reset.drop if value >= theta else value
        g_i[low : low + width] = block[4 * width : 5 * width]
        g_v[low : low + width] = block[5 * width : 6 * width]


def keep_adjoint(
    y: Array, u: Array, i_keep: Array, v_keep: Array, spiking: LeakySpiking, states: Array | None = None
) -> tuple[Array, Array]:
    """Return the gradients of i_keep and v_keep for each column, (columns,).

    These are ``sum_t g_i[t] i[t-1]`` and ``sum_t g_v[t] r[t-1]``; the states are computed again from the voltage.

    Args:
        y: (T, ...), the result of `adjoint`, which is g_i.
        u: (T, ...), the voltage.
        i_keep: see `forward`.
        v_keep: the same.
        spiking: threshold and reset.
        states: the states before the first step; by default 0.
    """
    flat = columns(y)
    g_i, g_v = np.empty(flat.shape[1], y.dtype), np.empty(flat.shape[1], y.dtype)
    states = at_rest(2, y) if states is None else states
    arguments = flat, columns(u), states, i_keep, v_keep, g_i, g_v, y.dtype.type(spiking.theta)
    parallel_for(_keep_adjoint, flat.shape[1], *arguments, spiking.reset.of_type(y.dtype), grain=GRAIN)
    return g_i, g_v
