"""Sigma-delta neurons on the CPU: twins of `sigma_delta.cu`.

The loops run over blocks of columns; see `cuslayer/_base/jit.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer._base.jit import BLOCK, GRAIN, columns, compiled, parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.constants import DeltaSpiking, SurrogateNumbers, surrogate_numbers
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.states import at_rest, least_of, load_states, store_states
from cuslayer.kernels.surrogate.cpu import slopes


@compiled
def _forward(
    first: int,
    last: int,
    states: Any,
    x: Any,
    u: Any,
    s: Any,
    passes: Any,
    theta: Any,
    sums: bool,
    rectifies: bool,
    least: Any,
) -> None:
    # The sums of the input, and the values sent last.
    block, zero = np.empty(2 * min(BLOCK, last - first), x.dtype), x.dtype.type(0)
    for low in range(first, last, BLOCK):
        width = min(BLOCK, last - low)
        load_states(block, states, low, width)
        for t in range(x.shape[0]):
            given = x[t, low : low + width]
            change = u[t, low : low + width]
            fired = s[t, low : low + width]
            through = passes[t, low : low + width]
            for j in range(width):
                sent, value = block[j + width], block[j] + given[j] if sums else given[j]
                value = zero if abs(value) < least else value
                active = zero if rectifies and value < zero else value
                difference = active - sent
                difference = zero if abs(difference) < least else difference
                fires = abs(difference) >= theta
                block[j] = value
                block[j + width] = active if fires else sent
                change[j] = difference
                fired[j] = fires
                through[j] = not (rectifies and value <= zero)
        store_states(states, block, low, width)


def forward(x: Array, spiking: DeltaSpiking, states: Array | None = None) -> tuple[Array, Array, Array]:
    """Return the change u, whether it is sent, and whether the activation passes it, all (T, ...), for the input x.

    Args:
        x: (T, ...), the weighted input.
        spiking: threshold and activation.
        states: (2, columns), the sum of the input and the activation sent last, before the first step, overwritten by
            the states after the last; by default 0.
    """
    u, s, passes = empty(x.shape, x.dtype), empty(x.shape, bool), empty(x.shape, bool)
    states = at_rest(2, x) if states is None else states
    flat = columns(x)
    arguments = states, flat, columns(u), columns(s.view(np.uint8)), columns(passes.view(np.uint8))
    constants = x.dtype.type(spiking.theta), spiking.sums, spiking.rectifies, least_of(x)
    parallel_for(_forward, flat.shape[1], *arguments, *constants, grain=GRAIN)
    return u, s, passes


@compiled
def _adjoint(
    first: int,
    last: int,
    g: Any,
    u: Any,
    passes: Any,
    y: Any,
    later: Any,
    c: SurrogateNumbers,
    sums: bool,
    exact: bool,
    least: Any,
) -> None:
    most, zero, one = min(BLOCK, last - first), g.dtype.type(0), g.dtype.type(1)
    block = np.empty(2 * most, g.dtype)
    size, slope = np.empty(most, g.dtype), np.empty(most, g.dtype)
    for low in range(first, last, BLOCK):
        width = min(BLOCK, last - low)
        load_states(block, later, low, width)
        of_total, of_sent = block[:width], block[width : 2 * width]
        for t in range(g.shape[0] - 1, -1, -1):
            grad = g[t, low : low + width]
            change = u[t, low : low + width]
            through = passes[t, low : low + width]
            out = y[t, low : low + width]
            if exact:
                for j in range(width):
                    size[j] = abs(change[j])
                slopes(slope[:width], size[:width], c)
                for j in range(width):
                    slope[j] = size[j] * slope[j] + (one if size[j] >= c.theta else zero)
            else:
                slope[:width] = one
            for j in range(width):
                of_change = (grad[j] + of_sent[j]) * slope[j]
                rest = of_sent[j] - of_change
                of_sent[j] = zero if abs(rest) < least else rest
                value = (of_change if through[j] else zero) + (of_total[j] if sums else zero)
                of_total[j] = zero if abs(value) < least else value
                out[j] = of_total[j]
        store_states(later, block, low, width)


def adjoint(g: Array, u: Array, passes: Array, spiking: DeltaSpiking, later: Array | None = None) -> Array:
    """Return the gradient of the weighted input, from the gradient g of the sent values and the changes u (T, ...).

    With D = 1, or with ``exact`` ``(|u| >= theta) + |u| dt rho(|u|)``, for t descending::

        g_u[t] = D[t] (g[t] + g_r[t])
        g_r[t-1] = g_r[t] - g_u[t]
        g_v[t] = g_v[t+1] + g_u[t] passes[t]

    which is the gradient of x[t]; without sums ``g_u[t] passes[t]``. `later`, (2, columns), are g_v and g_r after the
    last step, overwritten by those before the first; by default 0.
    """
    y, later = empty(g.shape, g.dtype), at_rest(2, g) if later is None else later
    flat = columns(g)
    arguments = flat, columns(u), columns(passes.view(np.uint8)), columns(y), later
    parallel_for(
        _adjoint,
        flat.shape[1],
        *arguments,
        surrogate_numbers(spiking, g.dtype),
        spiking.sums,
        spiking.exact,
        least_of(g),
        grain=GRAIN,
    )
    return y
