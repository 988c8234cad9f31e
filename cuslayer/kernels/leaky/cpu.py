"""Leaky neurons, with a current or without, on the CPU: twins of `leaky.cu`.

The loops run over blocks of columns; see `cuslayer/jit.py`. The shares that a step keeps of the states, `i_keep` and
`v_keep`, are one number, or one for each of the last columns, repeated: that of column m is ``keep[m % keep.size]``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import BLOCK, GRAIN, columns, compiled, parallel_for
from cuslayer.kernels.constants import least_state
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.leaky.constants import LeakySpiking, Reset
from cuslayer.kernels.surrogate.constants import SurrogateNumbers, surrogate_numbers
from cuslayer.kernels.surrogate.cpu import slopes


@compiled
def _spread(out: Any, keep: Any, low: int) -> None:
    """Write the shares of the columns from `low` on."""
    for j in range(out.size):
        out[j] = keep[(low + j) % keep.size]


def _least(x: Array) -> Any:
    """Return the absolute value under which states and gradients become 0, in the number type of an array."""
    return x.dtype.type(least_state(x.dtype))


@compiled
def forward_row(
    state: Any, keep: Any, given: Any, potential: Any, fired: Any, theta: Any, reset: Reset, least: Any
) -> None:
    """Run a row of neurons for a step; `state` and `keep` have the current in their first half, then the voltage."""
    most, zero = state.size // 2, given.dtype.type(0)
    for j in range(given.size):
        current = keep[j] * state[j] + given[j]
        current = zero if abs(current) < least else current
        value = keep[j + most] * state[j + most] + current
        value = zero if abs(value) < least else value
        fires = value >= theta
        state[j] = current
        state[j + most] = reset.share * value - reset.drop if fires else value
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
    most = min(BLOCK, last - first)
    state, keep = np.empty(2 * most, x.dtype), np.empty(2 * most, x.dtype)
    for low in range(first, last, BLOCK):
        width = min(BLOCK, last - low)
        state[:width] = states[0, low : low + width]
        state[most : most + width] = states[1, low : low + width]
        _spread(keep[:width], i_keep, low)
        _spread(keep[most : most + width], v_keep, low)
        for t in range(x.shape[0]):
            given = x[t, low : low + width]
            potential = u[t, low : low + width]
            fired = s[t, low : low + width]
            forward_row(state, keep, given, potential, fired, theta, reset, least)
        states[0, low : low + width] = state[:width]
        states[1, low : low + width] = state[most : most + width]


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
    if states is None:
        states = np.zeros((2, math.prod(x.shape[1:])), x.dtype)
    flat, theta = columns(x), x.dtype.type(spiking.theta)
    arguments = states, flat, i_keep, v_keep, columns(u), columns(s.view(np.uint8)), theta
    parallel_for(_forward, flat.shape[1], *arguments, spiking.reset.of_type(x.dtype), _least(x), grain=GRAIN)
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
    """Run a row of neurons back over a step; `state` has the errors of the current, then those of the voltage."""
    most, zero, one = state.size // 2, grad.dtype.type(0), grad.dtype.type(1)
    for j in range(grad.size):
        value, later = potential[j], keep[j + most] * state[j + most]
        fires = value >= theta
        # The spike takes (1 - share) u + drop from the voltage, and passes share of what comes from later.
        of_spike = (grad[j] * value if graded else grad[j]) - ((one - reset.share) * value + reset.drop) * later
        passed = (reset.share * later if fires else later) + (grad[j] if graded and fires else zero)
        of_voltage = slope[j] * of_spike + passed
        of_voltage = zero if abs(of_voltage) < least else of_voltage
        of_current = keep[j] * state[j] + of_voltage
        of_current = zero if abs(of_current) < least else of_current
        state[j] = of_current
        state[j + most] = of_voltage
        out[j] = of_current


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
) -> None:
    most = min(BLOCK, last - first)
    state, keep, slope = np.empty(2 * most, g.dtype), np.empty(2 * most, g.dtype), np.empty(most, g.dtype)
    for low in range(first, last, BLOCK):
        width = min(BLOCK, last - low)
        state[:] = 0
        _spread(keep[:width], i_keep, low)
        _spread(keep[most : most + width], v_keep, low)
        for t in range(g.shape[0] - 1, -1, -1):
            grad = g[t, low : low + width]
            potential = u[t, low : low + width]
            out = y[t, low : low + width]
            slopes(slope[:width], potential, c)
            backward_row(state, keep, slope, grad, potential, out, c.theta, reset, graded, least)


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
    parallel_for(_adjoint, flat.shape[1], *arguments, reset, spiking.graded, _least(g), grain=GRAIN)
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
    most = min(BLOCK, last - first)
    state, keep = np.empty(2 * most, y.dtype), np.empty(2 * most, y.dtype)
    zeros = np.zeros(most, y.dtype)
    for low in range(first, last, BLOCK):
        width = min(BLOCK, last - low)
        state[:width] = states[0, low : low + width]
        state[most : most + width] = states[1, low : low + width]
        _spread(keep[:width], i_keep, low)
        _spread(keep[most : most + width], v_keep, low)
        of_i, of_v = g_i[low : low + width], g_v[low : low + width]
        of_i[:] = 0
        of_v[:] = 0
        for t in range(y.shape[0]):
            now = y[t, low : low + width]
            later = y[t + 1, low : low + width] if t + 1 < y.shape[0] else zeros[:width]
            potential = u[t, low : low + width]
            for j in range(width):
                value = potential[j]
                of_i[j] += now[j] * state[j]
                of_v[j] += (now[j] - keep[j] * later[j]) * state[j + most]
                state[j] = value - keep[j + most] * state[j + most]
                state[j + most] = reset.share * value - reset.drop if value >= theta else value


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
    if states is None:
        states = np.zeros((2, flat.shape[1]), y.dtype)
    arguments = flat, columns(u), states, i_keep, v_keep, g_i, g_v, y.dtype.type(spiking.theta)
    parallel_for(_keep_adjoint, flat.shape[1], *arguments, spiking.reset.of_type(y.dtype), grain=GRAIN)
    return g_i, g_v
