"""Adaptive neurons on the CPU: twins of `adaptive.cu`.

The loops run over blocks of columns; see `cuslayer/jit.py`. `keeps` are the shares that a step keeps of the current,
the voltage, the threshold's rise and the refractory state; each is (K,), that of column m is ``keep[m % K]``.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import BLOCK, GRAIN, columns, compiled, parallel_for
from cuslayer.kernels.adaptive.constants import Adaptation, AdaptiveSpiking
from cuslayer.kernels.host.blocks import at_rest, least_of, load_states, repeat, store_states
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.streaming import PIECE, fence, is_large, prefetch, write_row
from cuslayer.kernels.host.tiles import copy, scratch
from cuslayer.kernels.surrogate.constants import SurrogateNumbers, surrogate_numbers
from cuslayer.kernels.surrogate.cpu import slopes

Keeps: TypeAlias = "tuple[Array, Array, Array, Array]"


@compiled
def _repeat_all(out: Any, keeps: Any, low: int, width: int) -> None:
    """Write the shares of the columns from `low` on, one state after the other."""
    repeat(out[:width], keeps[0], low)
    repeat(out[width : 2 * width], keeps[1], low)
    repeat(out[2 * width : 3 * width], keeps[2], low)
    repeat(out[3 * width : 4 * width], keeps[3], low)


@compiled
def forward_row(
    state: Any,
    keep: Any,
    given: Any,
    potential: Any,
    fired: Any,
    risen: Any,
    refractory: Any,
    c: Adaptation,
    least: Any,
) -> None:
    """Run a row of neurons for a step; `state` and `keep` have the four states one after the other."""
    width, zero = given.size, given.dtype.type(0)
    for j in range(width):
        current = keep[j] * state[j] + given[j]
        current = zero if abs(current) < least else current
        voltage = keep[j + width] * state[j + width] + current
        above = keep[j + 2 * width] * state[j + 2 * width]
        held = keep[j + 3 * width] * state[j + 3 * width]
        state[j] = current
        state[j + width] = zero if abs(voltage) < least else voltage
        state[j + 2 * width] = zero if abs(above) < least else above
        state[j + 3 * width] = zero if abs(held) < least else held
    copy(risen, state[2 * width : 3 * width])
    copy(refractory, state[3 * width : 4 * width])
    for j in range(width):
        above, held = state[j + 2 * width], state[j + 3 * width]
        value = state[j + width] - held - above
        fires = value >= c.theta
        state[j + 2 * width] = above + c.rise if fires else above
        state[j + 3 * width] = held + c.scale * (c.theta + above) if fires else held
        potential[j] = value
        fired[j] = fires


@compiled
def _forward(
    first: int,
    last: int,
    states: Any,
    x: Any,
    keeps: Any,
    u: Any,
    s: Any,
    h: Any,
    r: Any,
    c: Adaptation,
    least: Any,
    large: bool,
) -> None:
    most = min(BLOCK, last - first)
    # States and shares of one piece after the other; rows of potentials, of the threshold's rise, of refractory states.
    block, rows, marks = scratch(8 * most, x), scratch(3 * most, x), scratch(most, s)
    for low in range(first, last, BLOCK):
        high, size = min(low + BLOCK, last), min(BLOCK, last - low)
        for begin in range(low, high, PIECE):
            end = min(begin + PIECE, high)
            memory, width = block[8 * (begin - low) : 8 * (end - low)], end - begin
            load_states(memory, states, begin, width)
            _repeat_all(memory[4 * width :], keeps, begin, width)
        value, risen, held = rows[:size], rows[size : 2 * size], rows[2 * size : 3 * size]
        for t in range(x.shape[0]):
            for begin in range(low, high, PIECE):
                end = min(begin + PIECE, high)
                memory, width, at, to = block[8 * (begin - low) : 8 * (end - low)], end - begin, begin - low, end - low
                if t + 1 < x.shape[0]:
                    prefetch(x[t + 1, begin:end])
                state, keep = memory[: 4 * width], memory[4 * width :]
                written = value[at:to], marks[at:to], risen[at:to], held[at:to]
                forward_row(state, keep, x[t, begin:end], *written, c, least)
            write_row(u[t, low:high], value, large)
            write_row(s[t, low:high], marks[:size], large)
            # Rows that are written over and over stay in a cache.
            write_row(h[t % len(h), low:high], risen, large and len(h) > 1)
            write_row(r[t % len(r), low:high], held, large and len(r) > 1)
        for begin in range(low, high, PIECE):
            end = min(begin + PIECE, high)
            store_states(states, block[8 * (begin - low) :], begin, end - begin)
    fence()


def forward(
    x: Array, keeps: Keeps, spiking: AdaptiveSpiking, states: Array | None = None, saves: bool = False
) -> tuple[Array, Array, Array, Array]:
    """Return the potential u, the spikes s, the threshold's rise h and the refractory state r of the input x (T, ...).

    Args:
        x: the weighted input.
        keeps: the shares that a step keeps of the states.
        spiking: threshold and adaptation.
        states: (4, columns), the states before the first step, which become those after the last; by default 0.
        saves: whether h and r have all steps, (T, ...), as `adjoint` takes them; else they are scratch memory.
    """
    u, s = empty(x.shape, x.dtype), empty(x.shape, bool)
    h, r = (empty(x.shape if saves else (1, *x.shape[1:]), x.dtype) for _ in range(2))
    states = at_rest(4, x) if states is None else states
    flat, written = columns(x), [columns(u), columns(s.view(np.uint8)), columns(h), columns(r)]
    constants = spiking.adaptation(x.dtype), least_of(x), is_large(u, s, h, r)
    parallel_for(_forward, flat.shape[1], states, flat, keeps, *written, *constants, grain=GRAIN)
    return u, s, h, r


@compiled
def backward_row(
    state: Any,
    errors: Any,
    keep: Any,
    slope: Any,
    grad: Any,
    potential: Any,
    risen: Any,
    out: Any,
    c: Adaptation,
    exact: bool,
    graded: bool,
    least: Any,
) -> None:
    """Run a row of neurons back over a step; `state` has the errors of the four states after the step before.

    `errors` gets those of the threshold's rise and of the refractory state before their decay. The four parts of
    `state` and `keep`, and the two of `errors`, are as long as the row. `out` may be the row of `slope`.
    """
    width, zero, one = grad.size, grad.dtype.type(0), grad.dtype.type(1)
    for j in range(width):
        # Without branches and loads in them: else the loop is not SIMD.
        value, given = potential[j], grad[j]
        of_risen, of_held = state[j + 2 * width], state[j + 3 * width]
        fires = value >= c.theta
        through = c.scale * (c.theta + risen[j]) * of_held + c.rise * of_risen
        of_spike = given * (value if graded else one) + (through if exact else zero)
        of_u = slope[j] * of_spike + (given if graded & fires else zero)
        of_voltage = of_u + keep[j + width] * state[j + width]
        of_voltage = zero if abs(of_voltage) < least else of_voltage
        of_current = of_voltage + keep[j] * state[j]
        of_current = zero if abs(of_current) < least else of_current
        risen_error = of_risen + (c.scale * of_held if fires else zero) - of_u
        held_error = of_held - of_u
        of_risen = keep[j + 2 * width] * risen_error
        of_held = keep[j + 3 * width] * held_error
        state[j] = of_current
        state[j + width] = of_voltage
        state[j + 2 * width] = zero if abs(of_risen) < least else of_risen
        state[j + 3 * width] = zero if abs(of_held) < least else of_held
        errors[j] = risen_error
        errors[j + width] = held_error
    copy(out, state[:width])


@compiled
def _adjoint(
    first: int,
    last: int,
    g: Any,
    u: Any,
    h: Any,
    r: Any,
    states: Any,
    keeps: Any,
    y: Any,
    sums: Any,
    slope_of: SurrogateNumbers,
    c: Adaptation,
    exact: bool,
    graded: bool,
    least: Any,
    large: bool,
) -> None:
    most = min(BLOCK, last - first)
    # States, errors, shares, sums and voltages of one piece after the other; a row of surrogates, then of gradients.
    block, rows = scratch(15 * most, g), scratch(most, g)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        block[:] = 0
        for begin in range(low, high, PIECE):
            end = min(begin + PIECE, high)
            memory, width = block[15 * (begin - low) : 15 * (end - low)], end - begin
            _repeat_all(memory[6 * width :], keeps, begin, width)
        for t in range(g.shape[0] - 1, -1, -1):
            for begin in range(low, high, PIECE):
                end = min(begin + PIECE, high)
                memory, width = block[15 * (begin - low) : 15 * (end - low)], end - begin
                state, errors, keep = memory[: 4 * width], memory[4 * width : 6 * width], memory[6 * width : 10 * width]
                total, voltage = memory[10 * width : 14 * width], memory[14 * width :]
                row, risen = rows[begin - low : end - low], h[t % len(h), begin:end]
                grad, potential = g[t, begin:end], u[t, begin:end]
                if t > 0:
                    prefetch(g[t - 1, begin:end])
                    prefetch(u[t - 1, begin:end])
                    prefetch(h[(t - 1) % len(h), begin:end])
                slopes(row, potential, slope_of)
                backward_row(state, errors, keep, row, grad, potential, risen, row, c, exact, graded, least)
                if len(sums) > 0 and t > 0:
                    _voltage_after(voltage, t - 2, u, h, r, states, begin)
                    before = u[t - 1, begin:end], h[t - 1, begin:end], r[t - 1, begin:end]
                    _add_products(total, state, errors, keep, voltage, *before, c)
                elif len(sums) > 0:
                    _add_first_products(total, state, errors, states, begin)
            write_row(y[t, low:high], rows[: high - low], large)
        for begin in range(low, high, PIECE):
            end = min(begin + PIECE, high)
            memory, width = block[15 * (begin - low) : 15 * (end - low)], end - begin
            store_states(sums, memory[10 * width :], begin, width)
    fence()


@compiled
def _voltage_after(out: Any, t: int, u: Any, h: Any, r: Any, states: Any, low: int) -> None:
    """Write the voltage of a block after step t; for t = -1 that before the first step."""
    if t < 0:
        copy(out, states[1, low : low + out.size])
        return
    potential, risen, refractory = u[t, low:][: out.size], h[t, low:][: out.size], r[t, low:][: out.size]
    for j in range(out.size):
        out[j] = potential[j] + refractory[j] + risen[j]


@compiled
def _add_products(
    total: Any,
    state: Any,
    errors: Any,
    keep: Any,
    voltage: Any,
    potential: Any,
    risen: Any,
    refractory: Any,
    c: Adaptation,
) -> None:
    """Add the products of the errors of a step and the states before it, those after a step with a potential.

    `voltage` is that of one step earlier, from which the current is computed again.
    """
    width = potential.size
    for j in range(width):
        above, held = risen[j], refractory[j]
        fires = potential[j] >= c.theta
        now = potential[j] + held + above
        total[j] += state[j] * (now - keep[j + width] * voltage[j])
        total[j + width] += state[j + width] * now
        total[j + 2 * width] += errors[j] * (above + c.rise if fires else above)
        total[j + 3 * width] += errors[j + width] * (held + c.scale * (c.theta + above) if fires else held)


@compiled
def _add_first_products(total: Any, state: Any, errors: Any, states: Any, low: int) -> None:
    """Add the products of the errors of the first step and the states before it."""
    width = total.size // 4
    for i in range(2):
        before, other = states[i, low : low + width], states[i + 2, low : low + width]
        for j in range(i * width, (i + 1) * width):
            total[j] += state[j] * before[j - i * width]
            total[j + 2 * width] += errors[j] * other[j - i * width]


def adjoint(
    g: Array,
    u: Array,
    h: Array,
    r: Array,
    keeps: Keeps,
    spiking: AdaptiveSpiking,
    states: Array | None = None,
    trained: bool = False,
) -> tuple[Array, Array]:
    """Return the gradient of the weighted input (T, ...), and those of the shares, (4, columns) if they are trained.

    With the errors p of the states after a step, D the surrogate ``dt rho(u)`` and theta[t] the threshold of a step::

        g_u[t] = D g[t]                                                      without the path through adaptation
        g_u[t] = D (g[t] + scale theta[t] p_r[t] + rise p_h[t])              with it
        g_v[t] = g_u[t] + v_keep g_v[t+1]
        g_i[t] = g_v[t] + i_keep g_i[t+1]
        p_r[t-1] = r_keep (p_r[t] - g_u[t])
        p_h[t-1] = h_keep (p_h[t] + scale s[t] p_r[t] - g_u[t])

    Args:
        g: the gradient of the spikes.
        u: the potential.
        h: the threshold's rise, which is needed with the path through adaptation, and for the shares.
        r: the refractory state, which is needed for the shares.
        keeps: the shares that a step keeps of the states.
        spiking: threshold, adaptation and surrogate.
        states: the states before the first step; by default 0.
        trained: whether the gradients of the shares are computed.
    """
    y = empty(g.shape, g.dtype)
    flat = columns(g)
    sums = np.empty((4 if trained else 0, flat.shape[1]), g.dtype)
    states = at_rest(4, g) if states is None else states
    arrays = flat, columns(u), columns(h), columns(r), states, keeps, columns(y), sums
    constants = surrogate_numbers(spiking, g.dtype), spiking.adaptation(g.dtype)
    flags = spiking.exact, spiking.graded, least_of(g), is_large(y)
    parallel_for(_adjoint, flat.shape[1], *arrays, *constants, *flags, grain=GRAIN)
    return y, sums
