"""The neuron of Intel's Loihi on the CPU, forward and backward: twin of `loihi.cu`.

The integers are floats: none is larger than 2^24, so that float32 represents each exactly, and the inner loop is SIMD
over eight columns or more. (Numba would widen 32-bit integers to 64.)
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import BLOCK, GRAIN, columns, compiled, parallel_for
from cuslayer.kernels.constants import flushed_taps
from cuslayer.kernels.host.exponential import exp_of_negative
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.underflow import flushed
from cuslayer.kernels.loihi.constants import FixedPoint, Integers

_UNIT = 4096  # decays are multiples of 1 / 2^12
_MOST = 2**23 - 1  # the largest state
# Columns of a block in the backward pass, few enough that a hundred rows, each read many times, stay in the cache.
_NARROW = 64


@compiled
def _forward(first: int, last: int, states: Any, x: Any, u: Any, s: Any, begin: int, c: Integers) -> None:
    real = x.dtype.type
    unit, unit_inverse, most = real(_UNIT), real(1 / _UNIT), real(_MOST)
    zero, one = real(0), real(1)
    state = np.empty(3 * BLOCK, x.dtype)
    zeros = np.zeros(BLOCK, x.dtype)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        for i in range(3):
            state[i * BLOCK : i * BLOCK + high - low] = states[i, low:high]
        for t in range(x.shape[0]):
            given = x[t, low:high] if t >= begin else zeros[: high - low]
            recorded = u[t, low:high]
            fired = s[t, low:high]
            for j in range(high - low):
                # A state times its decay has 35 bits: the upper and lower 12 bits of the state multiply separately.
                upper = np.trunc(state[j] * unit_inverse)
                lower = state[j] - upper * unit
                current = upper * c.i_keep + np.trunc(lower * c.i_keep * unit_inverse) + np.rint(given[j] * c.gain)
                # NaN becomes the smallest state.
                current = most if current > most else current if current >= -most else -most
                upper = np.trunc(state[j + BLOCK] * unit_inverse)
                lower = state[j + BLOCK] - upper * unit
                free = upper * c.v_keep + np.trunc(lower * c.v_keep * unit_inverse) + current
                free = most if free > most else free if free >= -most else -most
                held = state[j + 2 * BLOCK]
                value = zero if held > zero else free
                fires = value > c.theta
                state[j] = current
                state[j + BLOCK] = zero if fires else value
                state[j + 2 * BLOCK] = c.hold if fires else held - one
                recorded[j] = c.mark if fires and c.mark != zero else value
                fired[j] = fires
        for i in range(3):
            states[i, low:high] = state[i * BLOCK : i * BLOCK + high - low]


def forward(x: Array, constants: FixedPoint) -> tuple[Array, Array]:
    """Return the voltage u and the spikes s, both (T, ...), of the weighted input x (T, ...)."""
    return forward_after(np.zeros((3, math.prod(x.shape[1:])), x.dtype), x, constants, constants.first)


def forward_after(states: Array, x: Array, constants: FixedPoint, begin: int) -> tuple[Array, Array]:
    """Return the voltage and the spikes of the input x (T, ...) after earlier steps.

    Args:
        states: current, voltage and steps of refraction before the first step, (3, columns), which become those after
            the last.
        x: the weighted input.
        constants: the constants of the neurons.
        begin: the first step whose input has an effect.
    """
    u, s = empty(x.shape, x.dtype), empty(x.shape, bool)
    flat = columns(x)
    arguments = states, flat, columns(u), columns(s.view(np.uint8)), begin, constants.recurrence(x.dtype)
    parallel_for(_forward, flat.shape[1], *arguments, grain=GRAIN)
    return u, s


@compiled
def _adjoint(first: int, last: int, g: Any, u: Any, y: Any, theta: Any, steep: Any, height: Any, taps: Any) -> None:
    steps = g.shape[0]
    # Outputs t and t + 1 are computed together: row t + k adds to the first with tap k, to the second with tap k - 1; h
    # has a 0 in front for k = 0. Four rows are read at a time, with rows of zeros after the last step.
    h = np.zeros(taps.size + 5, g.dtype)
    h[1 : 1 + taps.size] = taps
    g_u = np.zeros((steps + 4) * _NARROW, g.dtype)
    sums = np.empty(2 * _NARROW, g.dtype)
    for low in range(first, last, _NARROW):
        width = min(_NARROW, last - low)
        for t in range(steps):
            grad = g[t, low : low + width]
            voltage = u[t, low : low + width]
            row = g_u[t * _NARROW : t * _NARROW + width]
            for j in range(width):
                row[j] = flushed(height * exp_of_negative(-abs(voltage[j] - theta) * steep) * grad[j])
        for t in range(0, steps, 2):
            sums[:] = 0
            for k in range(0, min(taps.size + 1, steps - t), 4):
                before, h0, h1, h2, h3 = (h[k], h[k + 1], h[k + 2], h[k + 3], h[k + 4])
                rows = g_u[(t + k) * _NARROW : (t + k + 4) * _NARROW]
                for j in range(width):
                    r0, r1, r2, r3 = rows[j], rows[j + _NARROW], rows[j + 2 * _NARROW], rows[j + 3 * _NARROW]
                    sums[j] = sums[j] + h0 * r0 + h1 * r1 + h2 * r2 + h3 * r3
                    sums[j + _NARROW] = sums[j + _NARROW] + before * r0 + h0 * r1 + h1 * r2 + h2 * r3
            for i in range(min(2, steps - t)):
                y[t + i, low : low + width] = sums[i * _NARROW : i * _NARROW + width]


def adjoint(g: Array, u: Array, constants: FixedPoint) -> Array:
    """Return the gradient of the input, ``y[t] = sum_k h[k] rho(u[t+k]) g[t+k]``, of g and u (T, ...)."""
    y = empty(g.shape, g.dtype)
    flat = columns(g)
    taps = flushed_taps(constants.samples, g.dtype)
    arguments = flat, columns(u), columns(y), *constants.surrogate(g.dtype), taps
    parallel_for(_adjoint, flat.shape[1], *arguments, grain=GRAIN)
    return y
