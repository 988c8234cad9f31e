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
from cuslayer.kernels.filter_bank.cpu import adjoint_into
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.loihi.constants import FixedPoint, Integers
from cuslayer.kernels.srm.cpu import spike_adjoint

_UNIT = 4096  # decays are multiples of 1 / 2^12
_MOST = 2**23 - 1  # the largest state


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


def adjoint(g: Array, u: Array, constants: FixedPoint) -> Array:
    """Return the gradient of the input, ``y[t] = sum_k h[k] rho(u[t+k]) g[t+k]``, of g and u (T, ...)."""
    y = spike_adjoint(g, u, constants)
    adjoint_into(columns(y), columns(y), flushed_taps(constants.samples, y.dtype)[None])
    return y
