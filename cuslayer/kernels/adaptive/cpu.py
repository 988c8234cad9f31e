"""Adaptive neurons on the CPU: twins of `adaptive.cu`.

The loops run over blocks of columns; see `cuslayer/jit.py`. `keeps` are the shares that a step keeps of the current,
the voltage, the threshold's rise and the refractory state; each is (K,), that of column m is ``keep[m % K]``.
"""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import BLOCK, GRAIN, columns, compiled, parallel_for
from cuslayer.kernels.adaptive.constants import Adaptation, AdaptiveSpiking
from cuslayer.kernels.constants import least_state
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.surrogate.constants import SurrogateNumbers, surrogate_numbers
from cuslayer.kernels.surrogate.cpu import slopes

Keeps: TypeAlias = "tuple[Array, Array, Array, Array]"


@compiled
def _spread(out: Any, keeps: Any, low: int, width: int) -> None:
    """Write the shares of the columns from `low` on, one state after the other."""
    most = out.size // 4
    for j in range(width):
        out[j] = keeps[0][(low + j) % keeps[0].size]
        out[j + most] = keeps[1][(low + j) % keeps[1].size]
        out[j + 2 * most] = keeps[2][(low + j) % keeps[2].size]
        out[j + 3 * most] = keeps[3][(low + j) % keeps[3].size]


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
    most, zero = state.size // 4, given.dtype.type(0)
    for j in range(given.size):
        current = keep[j] * state[j] + given[j]
        current = zero if abs(current) < least else current
        voltage = keep[j + most] * state[j + most] + current
        voltage = zero if abs(voltage) < least else voltage
        above = keep[j + 2 * most] * state[j + 2 * most]
        above = zero if abs(above) < least else above
        held = keep[j + 3 * most] * state[j + 3 * most]
        held = zero if abs(held) < least else held
        value = voltage - held - above
        fires = value >= c.theta
        state[j] = current
        state[j + most] = voltage
        state[j + 2 * most] = above + c.rise if fires else above
        state[j + 3 * most] = held + c.scale * (c.theta + above) if fires else held
        potential[j] = value
        risen[j] = above
        refractory[j] = held
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
) -> None:
    most = min(BLOCK, last - first)
    state, keep = np.empty(4 * most, x.dtype), np.empty(4 * most, x.dtype)
    for low in range(first, last, BLOCK):
        width = min(BLOCK, last - low)
        for i in range(4):
            state[i * most : i * most + width] = states[i, low : low + width]
        _spread(keep, keeps, low, width)
        for t in range(x.shape[0]):
            given = x[t, low : low + width]
            potential = u[t, low : low + width]
            fired = s[t, low : low + width]
            risen = h[t % len(h), low : low + width]
            refractory = r[t % len(r), low : low + width]
            forward_row(state, keep, given, potential, fired, risen, refractory, c, least)
        for i in range(4):
            states[i, low : low + width] = state[i * most : i * most + width]


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
    if states is None:
        states = np.zeros((4, math.prod(x.shape[1:])), x.dtype)
    flat, written = columns(x), [columns(u), columns(s.view(np.uint8)), columns(h), columns(r)]
    constants = spiking.adaptation(x.dtype), x.dtype.type(least_state(x.dtype))
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

    `errors` gets those of the threshold's rise and of the refractory state before their decay.
    """
    most, zero = state.size // 4, grad.dtype.type(0)
    for j in range(grad.size):
        value, of_risen, of_held = potential[j], state[j + 2 * most], state[j + 3 * most]
        fires = value >= c.theta
        through = c.scale * (c.theta + risen[j]) * of_held + c.rise * of_risen
        of_spike = (grad[j] * value if graded else grad[j]) + (through if exact else zero)
        of_u = slope[j] * of_spike + (grad[j] if graded and fires else zero)
        of_voltage = of_u + keep[j + most] * state[j + most]
        of_voltage = zero if abs(of_voltage) < least else of_voltage
        of_current = of_voltage + keep[j] * state[j]
        of_current = zero if abs(of_current) < least else of_current
        errors[j] = of_risen + (c.scale * of_held if fires else zero) - of_u
        errors[j + most] = of_held - of_u
        of_risen = keep[j + 2 * most] * errors[j]
        of_held = keep[j + 3 * most] * errors[j + most]
        state[j] = of_current
        state[j + most] = of_voltage
        state[j + 2 * most] = zero if abs(of_risen) < least else of_risen
        state[j + 3 * most] = zero if abs(of_held) < least else of_held
        out[j] = of_current


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
) -> None:
    most = min(BLOCK, last - first)
    state, keep, slope = np.empty(4 * most, g.dtype), np.empty(4 * most, g.dtype), np.empty(most, g.dtype)
    errors, before = np.empty(2 * most, g.dtype), np.empty(4 * most, g.dtype)
    for low in range(first, last, BLOCK):
        width = min(BLOCK, last - low)
        state[:] = 0
        _spread(keep, keeps, low, width)
        sums[:, low : low + width] = 0
        for t in range(g.shape[0] - 1, -1, -1):
            grad = g[t, low : low + width]
            potential = u[t, low : low + width]
            risen = h[t % len(h), low : low + width]
            out = y[t, low : low + width]
            slopes(slope[:width], potential, slope_of)
            backward_row(state, errors, keep, slope, grad, potential, risen, out, c, exact, graded, least)
            if len(sums) > 0:
                _states_after(before, t - 1, u, h, r, states, keep, low, width, c)
                for j in range(width):
                    sums[0, low + j] += state[j] * before[j]
                    sums[1, low + j] += state[j + most] * before[j + most]
                    sums[2, low + j] += errors[j] * before[j + 2 * most]
                    sums[3, low + j] += errors[j + most] * before[j + 3 * most]


@compiled
def _states_after(
    out: Any, t: int, u: Any, h: Any, r: Any, states: Any, keep: Any, low: int, width: int, c: Adaptation
) -> None:
    """Write the states of a block after step t; for t = -1 those before the first step."""
    most = out.size // 4
    if t < 0:
        for i in range(4):
            out[i * most : i * most + width] = states[i, low : low + width]
        return
    for j in range(width):
        above, held = h[t, low + j], r[t, low + j]
        fires = u[t, low + j] >= c.theta
        voltage = u[t, low + j] + held + above
        earlier = u[t - 1, low + j] + r[t - 1, low + j] + h[t - 1, low + j] if t > 0 else states[1, low + j]
        out[j] = voltage - keep[j + most] * earlier
        out[j + most] = voltage
        out[j + 2 * most] = above + c.rise if fires else above
        out[j + 3 * most] = held + c.scale * (c.theta + above) if fires else held


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
    if states is None:
        states = np.zeros((4, flat.shape[1]), g.dtype)
    arrays = flat, columns(u), columns(h), columns(r), states, keeps, columns(y), sums
    constants = surrogate_numbers(spiking, g.dtype), spiking.adaptation(g.dtype)
    least = g.dtype.type(least_state(g.dtype))
    parallel_for(_adjoint, flat.shape[1], *arrays, *constants, spiking.exact, spiking.graded, least, grain=GRAIN)
    return y, sums
