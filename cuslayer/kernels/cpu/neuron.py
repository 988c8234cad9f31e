"""Filter, refraction and threshold in one pass on the CPU, and the way back: twins of `neuron` in `kernels/neuron.cu`.

`advance`, `retreat` and `retreat_exact` run a block of columns through all time. Its input may lie elsewhere than its
output, so that a synapse can make the one and use the other while they are in the cache.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, spread
from cuslayer.kernels.constants import Alpha, Recurrence, Spiking
from cuslayer.kernels.cpu.exponential import exp_of_negative
from cuslayer.kernels.cpu.memory import empty
from cuslayer.kernels.cpu.response import BLOCK, GRAIN, columns


@compiled
def advance(x: Any, at: int, u: Any, s: Any, first: int, last: int, theta: Any, f: Recurrence, nu: Recurrence) -> None:
    """Write the columns [first, last) of u and s (T, ...), whose inputs are the columns of x from `at` on."""
    width = last - first
    state = np.zeros(4 * width, x.dtype)
    rest = np.zeros(width, x.dtype)
    silent = np.zeros(width, s.dtype)
    one = x.dtype.type(1)
    for t in range(x.shape[0]):
        new = x[t, at : at + width]
        old = x[t - f.cut, at : at + width] if 0 < f.cut <= t else rest
        spent = s[t - nu.cut, first:last] if 0 < nu.cut <= t else silent
        potential = u[t, first:last]
        fired = s[t, first:last]
        for j in range(width):
            q = f.decay * (state[j] + state[j + width]) - f.cut_q * old[j]
            r = nu.decay * (state[j + 2 * width] + state[j + 3 * width]) - nu.cut_q * spent[j]
            value = f.gain * q + nu.gain * r
            fires = value >= theta
            state[j] = q
            state[j + width] = f.decay * state[j + width] + new[j] - f.cut_p * old[j]
            state[j + 2 * width] = r
            state[j + 3 * width] = nu.decay * state[j + 3 * width] + one * fires - nu.cut_p * spent[j]
            potential[j] = value
            fired[j] = fires


@compiled
def _neuron(first: int, last: int, x: Any, u: Any, s: Any, theta: Any, f: Recurrence, nu: Recurrence) -> None:
    for low in range(first, last, BLOCK):
        advance(x, low, u, s, low, min(low + BLOCK, last), theta, f, nu)


def neuron(x: Array, response: Alpha, spiking: Spiking) -> tuple[Array, Array]:
    """Filter, refract and threshold x (T, ...) in one pass: the potential u and the spikes s, both (T, ...)."""
    u, s = empty(x.shape, x.dtype), empty(x.shape, bool)
    flat = columns(x)
    constants = forward_constants(x.dtype, len(x), response, spiking)
    spread(_neuron, flat.shape[1], flat, columns(u), columns(s.view(np.uint8)), *constants, grain=GRAIN)
    return u, s


def forward_constants(dtype: Any, steps: int, response: Alpha, spiking: Spiking) -> tuple[Any, Recurrence, Recurrence]:
    """Return what `advance` takes after its arrays: the threshold, the response, the refraction."""
    refractory = spiking.refractory.recurrence(dtype, steps)
    return spiking.surrogate(dtype)[0], response.recurrence(dtype, steps), refractory


@compiled
def retreat(
    g: Any, u: Any, first: int, last: int, y: Any, at: int, theta: Any, steep: Any, height: Any, f: Recurrence
) -> None:
    """Write the gradients of the inputs into the columns of y from `at` on; g and u (T, ...) at [first, last)."""
    steps, width = g.shape[0], last - first
    state = np.zeros(2 * width, g.dtype)
    # The last `cut` rows of g_u: the filter forgets row t + cut at step t.
    ring = np.zeros((max(f.cut, 1), width), g.dtype)
    for k in range(steps):
        t = steps - 1 - k
        above = g[t, first:last]
        potential = u[t, first:last]
        kept = ring[t % len(ring)]
        out = y[t, at : at + width]
        for j in range(width):
            old = kept[j]
            q = f.decay * (state[j] + state[j + width]) - f.cut_q * old
            value = height * exp_of_negative(-abs(potential[j] - theta) * steep) * above[j]
            state[j] = q
            state[j + width] = f.decay * state[j + width] + value - f.cut_p * old
            kept[j] = value
            out[j] = f.gain * q


@compiled
def _neuron_adjoint(
    first: int, last: int, g: Any, u: Any, y: Any, theta: Any, steep: Any, height: Any, f: Recurrence
) -> None:
    for low in range(first, last, BLOCK):
        retreat(g, u, low, min(low + BLOCK, last), y, low, theta, steep, height, f)


def neuron_adjoint(g: Array, u: Array, response: Alpha, spiking: Spiking) -> Array:
    """Return psp_adjoint(spike_adjoint(g, u)) in one pass, of g and u (T, ...)."""
    y = empty(g.shape, g.dtype)
    flat = columns(g)
    constants = *spiking.surrogate(g.dtype), response.recurrence(g.dtype, len(g))
    spread(_neuron_adjoint, flat.shape[1], flat, columns(u), columns(y), *constants, grain=GRAIN)
    return y


@compiled
def retreat_exact(
    g: Any,
    u: Any,
    first: int,
    last: int,
    y: Any,
    at: int,
    theta: Any,
    steep: Any,
    height: Any,
    f: Recurrence,
    nu: Recurrence,
) -> None:
    """Do as `retreat` does, along the path through refraction too."""
    steps, width = g.shape[0], last - first
    state = np.zeros(4 * width, g.dtype)
    # One row more than either filter forgets at, so that no row is read and written in one step.
    ring = np.zeros((max(f.cut, nu.cut) + 1, width), g.dtype)
    for k in range(steps):
        t = steps - 1 - k
        above = g[t, first:last]
        potential = u[t, first:last]
        old = ring[(t + f.cut) % len(ring)]
        spent = ring[(t + nu.cut) % len(ring)]
        kept = ring[t % len(ring)]
        out = y[t, at : at + width]
        for j in range(width):
            q = f.decay * (state[j] + state[j + width]) - f.cut_q * old[j]
            r = nu.decay * (state[j + 2 * width] + state[j + 3 * width]) - nu.cut_q * spent[j]
            rho = height * exp_of_negative(-abs(potential[j] - theta) * steep)
            value = rho * (above[j] + nu.gain * r)
            state[j] = q
            state[j + width] = f.decay * state[j + width] + value - f.cut_p * old[j]
            state[j + 2 * width] = r
            state[j + 3 * width] = nu.decay * state[j + 3 * width] + value - nu.cut_p * spent[j]
            kept[j] = value
            out[j] = f.gain * q


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
) -> None:
    for low in range(first, last, BLOCK):
        retreat_exact(g, u, low, min(low + BLOCK, last), y, low, theta, steep, height, f, nu)


def neuron_adjoint_exact(g: Array, u: Array, response: Alpha, spiking: Spiking) -> Array:
    """Return psp_adjoint(spike_adjoint_exact(g, u)) in one pass, of g and u (T, ...)."""
    y = empty(g.shape, g.dtype)
    flat = columns(g)
    constants = (
        *spiking.surrogate(g.dtype),
        response.recurrence(g.dtype, len(g)),
        spiking.refractory.recurrence(g.dtype, len(g)),
    )
    spread(_neuron_adjoint_exact, flat.shape[1], flat, columns(u), columns(y), *constants, grain=GRAIN)
    return y
