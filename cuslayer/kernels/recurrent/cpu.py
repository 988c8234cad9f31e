"""Populations with synapses to themselves on the CPU: one loop over time for some samples.

In a step, each spike of `delay` steps before adds its weights to the weighted input. Backward runs from the last step
to the first: a spike gets the errors of the weighted inputs that it has reached. A thread computes some samples
together, whose neurons are one block; a sample has the same bits in any batch.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer._base.jit import compiled, inlined, parallel_for
from cuslayer._base.threads import thread_count
from cuslayer.backend import Array
from cuslayer.kernels.constants import Product
from cuslayer.kernels.host.memory import aligned_copy, empty
from cuslayer.kernels.host.rows import copy, scratch
from cuslayer.kernels.host.states import load_states, store_states
from cuslayer.kernels.host.vectors import multiply
from cuslayer.kernels.neuron.blocks import ENDLESS, Block, backward_of, begin, forward_of, load_saved
from cuslayer.kernels.neuron.blocks import backward as run_backward
from cuslayer.kernels.neuron.blocks import forward as run_forward
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.recurrent.constants import Geometry, Later, PopulationMemory, lags_of
from cuslayer.kernels.recurrent.synapses import backward_synapse, receive_errors, send_spikes, synapse
from cuslayer.kernels.spikes.cpu import list_row

# A thread computes samples with so many neurons together, but at least so many for which it reads a weight once.
_NEURONS, _SAMPLES = 8192, 16


def nothing_later(g: Array, spiking: StepSpiking, longest: int) -> Later:
    """Return zeros to begin backward with, for gradients like g (T, N, ...) and a longest delay."""
    return _zeros_after(g, backward_of(g.dtype, ENDLESS, np.empty((0, 1), g.dtype), spiking), longest)


def _zeros_after(g: Array, block: Block, longest: int) -> Later:
    columns, rows = math.prod(g.shape[1:]), (block.states, max(block.history, 1), longest)
    return Later(*(np.zeros((count, columns), g.dtype) for count in rows))


def held(x: Array, spiking: StepSpiking, delay: int) -> PopulationMemory:
    """Return the state of a population before its first step, for any number of calls and delays up to one."""
    return _memory(x, forward_of(x.dtype, ENDLESS, np.empty((0, 1), x.dtype), spiking), delay)


def _memory(x: Array, block: Block, delay: int) -> PopulationMemory:
    samples, neurons = x.shape[1], math.prod(x.shape[2:])
    states = np.zeros((block.states, samples * neurons), x.dtype)
    inputs = np.zeros((block.history + 1, samples, neurons), x.dtype)
    fired = np.zeros((max(block.spikes, delay) + 1, samples, neurons), np.uint8)
    return PopulationMemory(states, inputs, fired, rings=True)


@inlined
def _add(out: Any, one: Any, other: Any) -> None:
    for j in range(out.size):
        out[j] = one[j] + other[j]


@compiled
def _forward(
    first: int,
    last: int,
    start: int,
    x: Any,
    synapse: Any,
    delay: int,
    lags: int,
    states: Any,
    inputs: Any,
    fired: Any,
    u: Any,
    more: Any,
    s: Any,
    b: Block,
    together: int,
) -> None:
    width, kept = x.shape[2], b.rows - len(more)
    all_columns = x.shape[1] * width
    rows, marks = inputs.reshape(len(inputs), all_columns), fired.reshape(len(fired), all_columns)
    potential, saved = u.reshape(len(u), all_columns), more.reshape(len(more), len(u), all_columns)
    by_sample, spikes = fired.reshape(len(fired) * x.shape[1], width), s.reshape(len(s), all_columns)
    total, index = scratch(width, x), np.empty(lags * width, np.int32)
    memory = scratch(b.rows * min(together, last - first) * width, x)
    for low in range(first, last, together):
        high = min(low + together, last)
        at, columns = low * width, (high - low) * width
        begin(memory, at, columns, b)
        load_states(memory, states, at, columns)
        for k in range(x.shape[0]):
            t = start + k
            given = rows[t % len(inputs)]
            for n in range(low, high):
                count = 0
                for lag in range(lags):
                    first_of_lag = count
                    row = (t - delay - lag) % len(fired) * x.shape[1] + n
                    count = list_row(row, by_sample, index, count)
                    for e in range(first_of_lag, count if lag else 0):
                        index[e] += lag * width
                send_spikes(total, index, count, synapse)
                _add(given[n * width : (n + 1) * width], x[k, n], total)
            run_forward(t, t + 1, memory, rows, at, potential[k : k + 1], at, marks, at, columns, b)
            copy(spikes[k, at : at + columns], marks[t % len(fired), at : at + columns])
            for i in range(len(more)):
                copy(saved[i, k, at : at + columns], memory[(kept + i) * columns : (kept + i + 1) * columns])
        store_states(states, memory, at, columns)


def forward(
    x: Array,
    weight: Array,
    spiking: StepSpiking,
    constants: Array,
    delay: int,
    geometry: Geometry | None = None,
    before: PopulationMemory | None = None,
    saves: tuple[str, ...] = (),
) -> tuple[Array, Array, Array]:
    """Return the potential u and the spikes s, (T, N, ...), and other values for backward, (values, T, N, ...).

    Args:
        x: (T, N, ...), the weighted input from other layers.
        weight: the weight of a dense layer (lags neurons, neurons), lag 0 first, or of a convolution.
        spiking: the kind of neuron and its constants.
        constants: (constants, K), the constants that differ between neurons.
        delay: the steps after which a spike reaches its own population, by lag 0.
        geometry: the geometry of a convolution.
        before: the state before the first step, overwritten by the state after the last; by default 0.
        saves: the names of the other values for backward, from `StepSpiking.saved`.
    """
    steps, samples, neurons = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    block = forward_of(x.dtype, steps if before is None else ENDLESS, constants, spiking, saves)
    lags = lags_of(weight, geometry)
    before = _memory(x, block, delay + lags - 1) if before is None else before
    u, s = empty(x.shape, x.dtype), empty(x.shape, bool)
    more, flat = empty((len(saves), *x.shape), x.dtype), (steps, samples, neurons)
    given = np.ascontiguousarray(x).reshape(flat), synapse(weight, x.shape[2:], geometry), delay, lags
    written = u.reshape(flat), more.reshape(len(saves), *flat), s.view(np.uint8).reshape(flat)
    held, weighted = (before.states, before.inputs, before.fired), lags > 0 and geometry is None
    together = _together(samples, neurons, weighted)
    parallel_for(_forward, samples, before.steps, *given, *held, *written, block, together, grain=together)
    before.steps += steps
    return u, s, more


@compiled
def _adjoint(
    first: int,
    last: int,
    start: int,
    g: Any,
    errors: Any,
    after: Any,
    u: Any,
    kept: Any,
    y: Any,
    synapse: Any,
    delay: int,
    states: Any,
    old: Any,
    later: Later,
    sums: Any,
    b: Block,
    together: int,
) -> None:
    steps, samples, inputs = errors.shape
    width, at_sums = y.shape[1] // max(samples, 1), b.rows - len(sums)
    most, apart = min(together, last - first) * width, y.shape[1]
    flat, flat_errors, flat_after = y.reshape(y.size), errors.reshape(errors.size), after.reshape(after.size)
    memory, totals, own = scratch(b.rows * most, u), scratch(most, u), scratch(most, u)
    for low in range(first, last, together):
        rows = min(low + together, last) - low
        at, columns = low * width, rows * width
        begin(memory, 0, columns, b)
        load_states(memory, later.states, at, columns)
        ring, total = later.ring[:, at : at + columns].copy(), totals[:columns]
        for t in range(steps - 1, -1, -1):
            receive_errors(total, flat, (t + delay) * apart + at, apart, max(len(y) - t - delay, 0), synapse)
            if inputs:
                place = (t * samples + low) * inputs
                sent = flat_errors, place, inputs, 1, 0
                multiply(own, 0, width, *sent, flat_after, 0, width, 0, inputs, 1, rows, width)
            _add(total, total, own if inputs else g[t, at : at + columns])
            load_saved(memory, columns, t, at, u, kept, states, old, b)
            potential, out, now = u[t : t + 1], y[t : t + 1], start + t
            grads = total.reshape(1, columns)
            run_backward(now, now + 1, memory, ring, 0, grads, 0, potential, at, out, at, columns, b)
        later.ring[:, at : at + columns] = ring
        store_states(later.states, memory, at, columns)
        store_states(sums, memory[at_sums * columns :], at, columns)


def _together(samples: int, neurons: int, weighted: bool) -> int:
    """Return the number of samples that a thread computes together, so that all threads have equal work."""
    most = max(_NEURONS // max(neurons, 1), _SAMPLES if weighted else 1)
    rounds = -(-samples // (thread_count() * most))
    return max(1, -(-samples // (thread_count() * max(rounds, 1))))


def adjoint(
    g: Array | Product,
    u: Array,
    more: Array,
    weight: Array,
    spiking: StepSpiking,
    constants: Array,
    delay: int,
    geometry: Geometry | None = None,
    states: Array | None = None,
    trained: bool = False,
    later: Later | None = None,
    start: int = 0,
) -> tuple[Array, Array]:
    """Return the gradients of the weighted input, (T, N, ...), and of the constants by column, (constants, columns).

    A spike gets its gradient g from later layers, plus the weights times the gradients of the weighted inputs `delay`
    steps later.

    Args:
        g: (T, N, ...), or a `Product` of one column or more.
        u: (T, N, ...), the potential.
        more: the other values from `forward`.
        weight: see `forward`.
        spiking: the kind of neuron and its constants.
        constants: see `forward`.
        delay: the delay.
        geometry: the geometry of a convolution.
        states: (states, columns), the states before the first step; by default 0.
        trained: whether to compute the gradients of the constants; else there are none.
        later: gradients after the last step, overwritten by those before the first; by default `nothing_later`.
        start: the steps before the first.
    """
    steps, samples, neurons = u.shape[0], u.shape[1], math.prod(u.shape[2:])
    flat, lags = (steps, samples * neurons), lags_of(weight, geometry)
    more = more[: len(spiking.saved(trained))]  # after these, gradients of constants may need more
    block = backward_of(u.dtype, steps if later is None else ENDLESS, constants, spiking, trained)
    later = _zeros_after(u, block, 0) if later is None else later
    old = np.array(spiking.old(trained), np.int64)
    states = np.zeros((len(spiking.kind.states), samples * neurons), u.dtype) if states is None else states
    sums = np.empty((len(block.constants) if trained else 0, flat[1]), u.dtype)
    # The errors of the weighted inputs after the last step, if there are any, come after the others.
    y = empty((steps + len(later.errors), flat[1]), u.dtype)
    y[steps:] = later.errors
    if isinstance(g, Product):
        errors = np.ascontiguousarray(g.errors).reshape(steps, samples, g.errors.shape[1])
        given = np.empty((0, flat[1]), u.dtype), errors, aligned_copy(g.weight.T, u.dtype)
    else:
        given = np.ascontiguousarray(g).reshape(flat), np.empty((steps, samples, 0), u.dtype), np.empty((0, 0), u.dtype)
    arrays = *given, u.reshape(flat), more.reshape(len(more), *flat), y
    synapses = backward_synapse(weight, u.shape[2:], geometry), delay
    states_and_sums, together = (states, old, later, sums), _together(samples, neurons, lags > 0 and geometry is None)
    parallel_for(_adjoint, samples, start, *arrays, *synapses, *states_and_sums, block, together, grain=together)
    later.errors[:] = y[: len(later.errors)]
    return y[:steps].reshape(u.shape), sums
