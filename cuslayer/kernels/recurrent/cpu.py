"""Populations with synapses to themselves on the CPU: one loop over time for each sample.

In a step, each spike of `delay` steps before adds its weights to the weighted input. Backward runs from the last step
to the first: a spike gets the errors of the weighted inputs that it has reached. One thread computes a sample, whatever
else is in the batch.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from cuslayer._base.jit import compiled, parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.states import store_states
from cuslayer.kernels.neuron.blocks import ENDLESS, Block, backward_of, begin, forward_of
from cuslayer.kernels.neuron.blocks import backward as run_backward
from cuslayer.kernels.neuron.blocks import forward as run_forward
from cuslayer.kernels.neuron.cpu import load_saved
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.recurrent.constants import Geometry, Program, lags_of
from cuslayer.kernels.recurrent.synapses import backward_synapse, receive_errors, send_spikes, synapse
from cuslayer.kernels.spikes.cpu import list_row

# Samples that go back together, for which a row of weights is read once.
_TOGETHER = 8


class PopulationMemory:
    """The state of a population between calls.

    Attributes:
        steps: the number of steps so far.
        states: (samples, states x neurons).
        inputs: (samples, steps, neurons), a ring buffer of the weighted inputs within the response.
        fired: (samples, steps, neurons), a ring buffer of the spikes within refraction and the longest delay, uint8.
    """

    def __init__(self, x: Array, block: Block, delay: int) -> None:
        samples, neurons = x.shape[1], math.prod(x.shape[2:])
        self.steps = 0
        self.states = np.zeros((samples, block.states * neurons), x.dtype)
        self.inputs = np.zeros((samples, block.history + 1, neurons), x.dtype)
        self.fired = np.zeros((samples, max(block.spikes, delay) + 1, neurons), np.uint8)

    def last_spikes(self, delay: int) -> Array:
        """Return the spikes of the last `delay` steps, (delay, samples, neurons)."""
        at = np.arange(self.steps - delay, self.steps) % self.fired.shape[1]
        return np.ascontiguousarray(self.fired[:, at].swapaxes(0, 1)).view(bool)

    def copy(self) -> PopulationMemory:
        """Return a copy."""
        found = object.__new__(PopulationMemory)
        found.steps = self.steps
        found.states, found.inputs, found.fired = self.states.copy(), self.inputs.copy(), self.fired.copy()
        return found

    def by_column(self, states: int) -> Array:
        """Return a copy of the states as (states, columns)."""
        samples = len(self.states)
        return self.states.reshape(samples, states, -1).swapaxes(0, 1).reshape(states, -1).copy()


class Later(NamedTuple):
    """The gradients of `Held`, from a call of backward for the call over the steps before."""

    states: Array  # (samples, states x neurons)
    ring: Array  # (samples, steps, neurons), a ring buffer of the gradients of the potentials within the filters
    errors: Array  # (longest delay, columns), the gradients of the next weighted inputs


def nothing_later(g: Array, program: Program, longest: int, steps: int = ENDLESS) -> Later:
    """Return zeros to begin backward over so many steps with, for gradients like g (T, N, ...) and a longest delay."""
    block = _backward_block(g.dtype, steps, program, np.empty((0, 1), g.dtype), False)
    samples, neurons = g.shape[1], math.prod(g.shape[2:])
    shapes = (samples, block.states * neurons), (samples, max(block.history, 1), neurons), (longest, samples * neurons)
    return Later(*(np.zeros(shape, g.dtype) for shape in shapes))


def _backward_block(dtype: np.dtype[Any], steps: int, program: Program, constants: Array, trained: bool) -> Block:
    return backward_of(dtype, steps, program.response_of(constants), program.spiking, program.exact, trained)


def held(x: Array, program: Program, delay: int) -> PopulationMemory:
    """Return the state of a population before its first step, for any number of calls and delays up to one."""
    constants = np.empty((0, 1), x.dtype)
    return PopulationMemory(x, forward_of(x.dtype, ENDLESS, program.response_of(constants), program.spiking), delay)


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
) -> None:
    width, size, kept = x.shape[2], states.shape[1], b.rows - len(more)
    total, index = np.empty(width, x.dtype), np.empty(lags * width, np.int32)
    memory = np.empty(b.rows * width, x.dtype)
    for n in range(first, last):
        begin(memory, 0, width, b)
        memory[:size] = states[n]
        for k in range(x.shape[0]):
            t = start + k
            given, now = inputs[n, t % inputs.shape[1]], t % fired.shape[1]
            count = 0
            for lag in range(lags):
                first_of_lag = count
                count = list_row((t - delay - lag) % fired.shape[1], fired[n], index, count)
                for e in range(first_of_lag, count if lag else 0):
                    index[e] += lag * width
            send_spikes(total, index, count, synapse)
            for j in range(width):
                given[j] = x[k, n, j] + total[j]
            run_forward(t, t + 1, memory, inputs[n], 0, u[k, n : n + 1], 0, fired[n], 0, width, b)
            s[k, n] = fired[n, now]
            for i in range(len(more)):
                more[i, k, n] = memory[(kept + i) * width : (kept + i + 1) * width]
        states[n] = memory[:size]


def forward(
    x: Array,
    weight: Array,
    program: Program,
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
        program: the neurons.
        constants: (constants, K), the constants that differ between neurons.
        delay: the steps after which a spike reaches its own population, by lag 0.
        geometry: the geometry of a convolution.
        before: the state before the first step, overwritten by the state after the last; by default 0.
        saves: the names of the other values for backward, from `saved` of the program.
    """
    steps, samples, neurons = x.shape[0], x.shape[1], math.prod(x.shape[2:])
    response = program.response_of(constants)
    block = forward_of(x.dtype, steps if before is None else ENDLESS, response, program.spiking, saves)
    lags = lags_of(weight, geometry)
    before = PopulationMemory(x, block, delay + lags - 1) if before is None else before
    u, s = empty(x.shape, x.dtype), empty(x.shape, bool)
    more, flat = empty((len(saves), *x.shape), x.dtype), (steps, samples, neurons)
    given = np.ascontiguousarray(x).reshape(flat), synapse(weight, x.shape[2:], geometry), delay, lags
    written = u.reshape(flat), more.reshape(len(saves), *flat), s.view(np.uint8).reshape(flat)
    held = before.states, before.inputs, before.fired
    parallel_for(_forward, samples, before.steps, *given, *held, *written, block, grain=1)
    before.steps += steps
    return u, s, more


@compiled
def _adjoint(
    first: int,
    last: int,
    start: int,
    g: Any,
    u: Any,
    kept: Any,
    y: Any,
    synapse: Any,
    delay: int,
    lags: int,
    states: Any,
    old: Any,
    later: Later,
    sums: Any,
    b: Block,
) -> None:
    steps, width, at_kept = g.shape[0], g.shape[2], b.at + len(b.constants)
    size, rows, at_sums = b.states * width, b.rows * width, b.rows - len(sums)
    memories, totals = np.empty(_TOGETHER * rows, g.dtype), np.empty((_TOGETHER, width), g.dtype)
    old_row = b.places[-1]
    for low in range(first, last, _TOGETHER):
        high = min(low + _TOGETHER, last)
        for n in range(low, high):
            memory = memories[(n - low) * rows : (n - low + 1) * rows]
            begin(memory, 0, width, b)
            memory[:size] = later.states[n]
        total, columns = totals[: high - low], slice(low * width, high * width)
        for t in range(steps - 1, -1, -1):
            total[:] = 0
            for lag in range(lags):
                after = t + delay + lag
                if after < steps:
                    receive_errors(total.reshape(total.size), y[after, columns], synapse, lag)
                elif after - steps < len(later.errors):
                    receive_errors(total.reshape(total.size), later.errors[after - steps, columns], synapse, lag)
            potential, out, now = u[t : t + 1], y[t : t + 1], start + t
            for n in range(low, high):
                at, given = n * width, total[n - low : n - low + 1]
                memory = memories[(n - low) * rows : (n - low + 1) * rows]
                for j in range(width):
                    given[0, j] += g[t, n, j]
                load_saved(memory, at_kept, width, t, at, u, kept, states, old, old_row, b.numbers, 0)
                run_backward(now, now + 1, memory, later.ring[n], given, 0, potential, at, out, at, width, b)
        for n in range(low, high):
            memory, at = memories[(n - low) * rows : (n - low + 1) * rows], n * width
            later.states[n] = memory[:size]
            store_states(sums[:, at : at + width], memory[at_sums * width :], 0, width)


def adjoint(
    g: Array,
    u: Array,
    more: Array,
    weight: Array,
    program: Program,
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
        g: (T, N, ...).
        u: (T, N, ...), the potential.
        more: the other values from `forward`.
        weight: see `forward`.
        program: the neurons.
        constants: see `forward`.
        delay: the delay.
        geometry: the geometry of a convolution.
        states: (states, columns), the states before the first step; by default 0.
        trained: whether to compute the gradients of the constants; else there are none.
        later: gradients after the last step, overwritten by those before the first; by default `nothing_later`.
        start: the steps before the first.
    """
    steps, samples, neurons = g.shape[0], g.shape[1], math.prod(g.shape[2:])
    y, flat, spiking = empty(g.shape, g.dtype), (steps, samples * neurons), program.spiking
    more = more[: len(program.saved(trained))]  # after these, gradients of constants may need more
    block = _backward_block(g.dtype, steps if later is None else ENDLESS, program, constants, trained)
    later = nothing_later(g, program, 0, steps) if later is None else later
    old = np.array(spiking.old(trained) if isinstance(spiking, StepSpiking) else (), np.int64)
    states = np.zeros((program.states, samples * neurons), g.dtype) if states is None else states
    sums = np.empty((len(block.constants) if trained else 0, flat[1]), g.dtype)
    given = np.ascontiguousarray(g).reshape(steps, samples, neurons)
    arrays = given, u.reshape(flat), more.reshape(len(more), *flat), y.reshape(flat)
    synapses = backward_synapse(weight, g.shape[2:], geometry), delay, lags_of(weight, geometry)
    grain = min(max(samples // _TOGETHER, 1), _TOGETHER)
    parallel_for(_adjoint, samples, start, *arrays, *synapses, states, old, later, sums, block, grain=grain)
    if len(later.errors):
        later.errors[:] = np.concatenate([arrays[-1], later.errors])[: len(later.errors)]
    return y, sums
