"""Resonant neurons on the CPU: twins of `resonate.cu`.

The loops run over blocks of columns; see `cuslayer/jit.py`. A step turns and shrinks the state by the complex number
``re_keep + i im_keep``; both are (K,), that of column m is ``keep[m % K]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import BLOCK, GRAIN, columns, compiled, parallel_for
from cuslayer.kernels.host.blocks import at_rest, least_of, load_states, repeat, store_states
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.tiles import copy
from cuslayer.kernels.resonate.constants import ComplexReset, ResonantSpiking
from cuslayer.kernels.surrogate.constants import SurrogateNumbers, surrogate_numbers
from cuslayer.kernels.surrogate.cpu import slopes


@compiled
def _forward(
    first: int,
    last: int,
    states: Any,
    x: Any,
    re_keep: Any,
    im_keep: Any,
    u: Any,
    s: Any,
    real_parts: Any,
    theta: Any,
    reset: ComplexReset,
    least: Any,
) -> None:
    # Two states, and the two parts of what multiplies them.
    block, zero = np.empty(4 * min(BLOCK, last - first), x.dtype), x.dtype.type(0)
    for low in range(first, last, BLOCK):
        width = min(BLOCK, last - low)
        load_states(block, states, low, width)
        repeat(block[2 * width : 3 * width], re_keep, low)
        repeat(block[3 * width : 4 * width], im_keep, low)
        for t in range(x.shape[0]):
            given = x[t, low : low + width]
            potential = u[t, low : low + width]
            fired = s[t, low : low + width]
            kept = real_parts[t % len(real_parts), low : low + width]
            for j in range(width):
                before, other, turn, aside = block[j], block[j + width], block[j + 2 * width], block[j + 3 * width]
                re = turn * before - aside * other + given[j]
                im = aside * before + turn * other
                block[j] = zero if abs(re) < least else re
                block[j + width] = zero if abs(im) < least else im
            copy(kept, block[:width])
            for j in range(width):
                re, im = block[j], block[j + width]
                fires = im >= theta
                block[j] = reset.re_share * re if fires else re
                block[j + width] = reset.im_share * im + reset.im_add if fires else im
                potential[j] = im
                fired[j] = fires
        store_states(states, block, low, width)


def forward(
    x: Array,
    re_keep: Array,
    im_keep: Array,
    spiking: ResonantSpiking,
    states: Array | None = None,
    saves: bool = False,
) -> tuple[Array, Array, Array]:
    """Return the potential u, the spikes s and the real part before the reset, of the weighted input x (T, ...).

    Args:
        x: the weighted input.
        re_keep: the real part of what multiplies the state in a step.
        im_keep: its imaginary part.
        spiking: threshold and reset.
        states: (2, columns), real and imaginary part before the first step, which become those after the last; by
            default 0.
        saves: whether the real part has all steps, (T, ...); else it is scratch memory.
    """
    u, s = empty(x.shape, x.dtype), empty(x.shape, bool)
    kept = empty(x.shape if saves else (1, *x.shape[1:]), x.dtype)
    states = at_rest(2, x) if states is None else states
    flat, written = columns(x), [columns(u), columns(s.view(np.uint8)), columns(kept)]
    constants = x.dtype.type(spiking.theta), spiking.reset.of_type(x.dtype), least_of(x)
    parallel_for(_forward, flat.shape[1], states, flat, re_keep, im_keep, *written, *constants, grain=GRAIN)
    return u, s, kept


@compiled
def _adjoint(
    first: int,
    last: int,
    g: Any,
    u: Any,
    real_parts: Any,
    states: Any,
    re_keep: Any,
    im_keep: Any,
    y: Any,
    sums: Any,
    c: SurrogateNumbers,
    reset: ComplexReset,
    exact: bool,
    graded: bool,
    least: Any,
) -> None:
    # States, constants, surrogates and sums in one array, `width` apart: so the loops are SIMD.
    memory = np.empty(7 * min(BLOCK, last - first), g.dtype)
    zero, one = g.dtype.type(0), g.dtype.type(1)
    for low in range(first, last, BLOCK):
        width = min(BLOCK, last - low)
        state = memory[: 7 * width]
        state[:] = 0
        repeat(state[2 * width : 3 * width], re_keep, low)
        repeat(state[3 * width : 4 * width], im_keep, low)
        for t in range(g.shape[0] - 1, -1, -1):
            grad = g[t, low : low + width]
            potential = u[t, low : low + width]
            kept = real_parts[t % len(real_parts), low : low + width]
            out = y[t, low : low + width]
            slopes(state[4 * width : 5 * width], potential, c)
            for j in range(width):
                # Without branches and loads in them: else the loop is not SIMD.
                im, given, slope = potential[j], grad[j], state[j + 4 * width]
                fires = im >= c.theta
                of_re = state[j + 2 * width] * state[j] + state[j + 3 * width] * state[j + width]
                of_im = state[j + 2 * width] * state[j + width] - state[j + 3 * width] * state[j]
                jump = (reset.re_share - one) * kept[j] * of_re
                jump += ((reset.im_share - one) * im + reset.im_add) * of_im
                of_spike = given * (im if graded else one) + (jump if exact else zero)
                of_re = reset.re_share * of_re if exact & fires else of_re
                of_im = reset.im_share * of_im if exact & fires else of_im
                of_im += slope * of_spike + (given if graded & fires else zero)
                of_re = zero if abs(of_re) < least else of_re
                state[j] = of_re
                state[j + width] = zero if abs(of_im) < least else of_im
                out[j] = of_re
            if len(sums) > 0:
                re_before = real_parts[t - 1, low : low + width] if t > 0 else states[0, low : low + width]
                im_before = u[t - 1, low : low + width] if t > 0 else states[1, low : low + width]
                share, other_share, add = reset
                if t == 0:  # the states before the first step are those after a reset
                    share, other_share, add = one, one, zero
                for j in range(width):
                    re, im = re_before[j], im_before[j]
                    fires = im >= c.theta
                    re, im = share * re if fires else re, other_share * im + add if fires else im
                    state[j + 5 * width] += state[j] * re + state[j + width] * im
                    state[j + 6 * width] += state[j + width] * re - state[j] * im
        for i in range(len(sums)):
            sums[i, low : low + width] = state[(5 + i) * width : (6 + i) * width]


def adjoint(
    g: Array,
    u: Array,
    real_parts: Array,
    re_keep: Array,
    im_keep: Array,
    spiking: ResonantSpiking,
    states: Array | None = None,
    trained: bool = False,
) -> tuple[Array, Array]:
    """Return the gradient of the weighted input (T, ...), and those of re_keep and im_keep, (2, columns) if trained.

    The errors of the state are multiplied by ``re_keep - i im_keep`` in a step, g_x is that of the real part, and the
    imaginary part gets ``dt rho(u[t]) g[t]``; with the path through the reset, a spike also gets what it changes.

    Args:
        g: the gradient of the spikes.
        u: the potential.
        real_parts: the real part, which is needed with the path through the reset, and for the constants.
        re_keep: see `forward`.
        im_keep: the same.
        spiking: threshold, reset and surrogate.
        states: the states before the first step; by default 0.
        trained: whether the gradients of re_keep and im_keep are computed.
    """
    y = empty(g.shape, g.dtype)
    flat = columns(g)
    sums = np.empty((2 if trained else 0, flat.shape[1]), g.dtype)
    states = at_rest(2, g) if states is None else states
    arrays = flat, columns(u), columns(real_parts), states, re_keep, im_keep, columns(y), sums
    constants = surrogate_numbers(spiking, g.dtype), spiking.reset.of_type(g.dtype)
    flags = spiking.exact, spiking.graded
    parallel_for(_adjoint, flat.shape[1], *arrays, *constants, *flags, least_of(g), grain=GRAIN)
    return y, sums
