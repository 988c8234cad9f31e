"""Populations with synapses to themselves on the CPU: the loop of `fused/loop.py` in chunks of one step.

In a step, each spike of `delay` steps before adds its weights to the weighted input. Backward runs from the last step
to the first: a spike gets the errors of the weighted inputs that it has reached. A block is the neurons of some
samples, which a thread computes together; a sample has the same bits in any batch.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from cuslayer._base.jit import inlined
from cuslayer._base.parallel import parallel_for
from cuslayer._base.threads import thread_count
from cuslayer.backend import Array
from cuslayer.kernels.constants import Product
from cuslayer.kernels.fused import loop
from cuslayer.kernels.fused.loop import (
    Blocks,
    Carried,
    Memory,
    fill,
    implementation_of,
    memory_of,
    receive,
    room,
    stage_of,
)
from cuslayer.kernels.host.memory import aligned_copy, empty
from cuslayer.kernels.host.rows import scratch
from cuslayer.kernels.host.vectors import multiply
from cuslayer.kernels.recurrent.constants import Geometry, Later, PopulationMemory, lags_of
from cuslayer.kernels.recurrent.synapses import backward_synapse, receive_errors, send_spikes, synapse
from cuslayer.kernels.scan.blocks import ENDLESS, Block, backward_of, forward_of
from cuslayer.kernels.spikes.cpu import list_row
from cuslayer.kernels.step.derive import StepSpiking

# Neurons of the samples that a thread computes together, and the least samples for which it reads a weight once.
_NEURONS = 8192
_SAMPLES = 16


class RecurrentInput(NamedTuple):
    """The source of a population: the weighted input from other layers, and the population's own earlier spikes."""

    x: Array  # (steps, columns)
    fired: Array  # (steps samples, neurons), a ring buffer of the spikes, uint8
    samples: int
    delay: int
    lags: int
    synapse: Any


class RecurrentErrors(NamedTuple):
    """The source of a population's errors: from later layers, and from the weighted inputs that a spike has reached."""

    g: Array  # (steps, columns); without columns if the errors are a product
    errors: Array  # (rows, next), flat, the errors of a narrow next layer
    weight: Array  # (next, neurons), flat
    following: int  # the outputs of the next layer
    y: Array  # (steps, columns), the gradients of the weighted inputs, also of some steps after the last
    samples: int
    neurons: int
    delay: int
    synapse: Any


@implementation_of(room, RecurrentInput)
def _room_of_spikes(like: Any, source: Any) -> Any:
    return np.empty(source.lags * source.fired.shape[1], np.int32)


@implementation_of(room, RecurrentErrors)
def _room_of_errors(like: Any, source: Any) -> Any:
    return scratch(source.y.shape[1], like)


@inlined
def _add(out: Any, row: Any) -> None:
    for j in range(out.size):
        out[j] += row[j]


@implementation_of(fill, RecurrentInput)
def _fill(
    first: int, last: int, begun: int, rows: Any, rows_at: int, at: int, size: int, buffer: Any, source: Any
) -> None:
    fired = source.fired
    synapse = source.synapse
    neurons = fired.shape[1]
    samples = source.samples
    ring_rows = len(fired) // samples
    for t in range(first, last):
        x = source.x[t - begun]
        row = rows[t % len(rows)]
        # In the ring buffer of spikes, rows are samples.
        sent_row = (t - source.delay) % ring_rows * samples + at // neurons
        for column in range(0, size, neurons):
            count = 0
            for lag in range(source.lags):
                first_of_lag = count
                earlier = (sent_row - lag * samples) % len(fired)
                count = list_row(earlier, fired, buffer, count)
                for e in range(first_of_lag, count if lag else 0):
                    buffer[e] += lag * neurons
            out = row[rows_at + column : rows_at + column + neurons]
            send_spikes(out, buffer, count, synapse)
            _add(out, x[at + column : at + column + neurons])
            sent_row += 1


@implementation_of(receive, RecurrentErrors)
def _receive(first: int, last: int, rows: Any, at: int, size: int, buffer: Any, source: Any) -> None:
    neurons = source.neurons
    terms = source.following
    columns = source.y.shape[1]
    y = source.y.reshape(source.y.size)
    for t in range(last - 1, first - 1, -1):
        total = rows[t % len(rows), :size]
        reached = t + source.delay
        receive_errors(total, y, reached * columns + at, columns, max(len(source.y) - reached, 0), source.synapse)
        if terms:
            begin = (t * source.samples + at // neurons) * terms
            samples = size // neurons
            multiply(
                buffer,
                0,
                neurons,
                source.errors,
                begin,
                terms,
                1,
                0,
                source.weight,
                0,
                neurons,
                0,
                terms,
                1,
                samples,
                neurons,
            )
            _add(total, buffer)
        else:
            _add(total, source.g[t, at : at + size])


def nothing_later(g: Array, spiking: StepSpiking, longest: int) -> Later:
    """Return zeros to begin backward with, for gradients like g (T, N, ...) and a longest delay."""
    return _zeros_after(g, backward_of(g.dtype, ENDLESS, np.empty((0, 1), g.dtype), spiking), longest)


def _zeros_after(g: Array, block: Block, longest: int) -> Later:
    columns = math.prod(g.shape[1:])
    rows = (block.states, max(block.history, 1), longest)
    return Later(*(np.zeros((count, columns), g.dtype) for count in rows))


def held(x: Array, spiking: StepSpiking, delay: int) -> PopulationMemory:
    """Return the state of a population before its first step, for any number of calls, and delays up to `delay`."""
    return _memory(x, forward_of(x.dtype, ENDLESS, np.empty((0, 1), x.dtype), spiking), delay)


def _memory(x: Array, block: Block, delay: int) -> PopulationMemory:
    samples = x.shape[1]
    neurons = math.prod(x.shape[2:])
    states, inputs, fired = memory_of(block, samples * neurons, 1, delay)
    inputs = inputs.reshape(len(inputs), samples, neurons)
    return PopulationMemory(states, inputs, fired.reshape(len(fired), samples, neurons), rings=True)


def _blocks(samples: int, neurons: int, weighted: bool) -> Blocks:
    """Return the blocks of samples that threads compute together, so that all have equal work."""
    most = max(_NEURONS // max(neurons, 1), _SAMPLES if weighted else 1)
    rounds = -(-samples // (thread_count() * most))
    together = max(1, -(-samples // (thread_count() * max(rounds, 1))))
    return Blocks(1, samples * neurons, together * neurons)


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
        before: the state before the first step; the state after the last overwrites it. By default 0.
        saves: the names of the other values for backward, from `StepSpiking.saved`.
    """
    steps, samples = x.shape[:2]
    neurons = math.prod(x.shape[2:])
    flat = (steps, samples * neurons)
    block = forward_of(x.dtype, steps if before is None else ENDLESS, constants, spiking, saves)
    lags = lags_of(weight, geometry)
    before = _memory(x, block, delay + lags - 1) if before is None else before
    u = empty(x.shape, x.dtype)
    s = empty(x.shape, bool)
    saved = empty((len(saves), *x.shape), x.dtype)
    b = _blocks(samples, neurons, lags > 0 and geometry is None)
    fired = before.fired.reshape(len(before.fired), flat[1])
    memory = Memory(before.states, before.inputs.reshape(len(before.inputs), flat[1]), fired)
    stage = stage_of(b, block, u.reshape(flat), memory=memory)
    parallel_for(
        loop.forward,
        b.number,
        steps,
        before.steps,
        1,
        stage,
        None,
        saved.reshape(len(saves), *flat),
        s.view(np.uint8).reshape(flat),
        RecurrentInput(
            np.ascontiguousarray(x).reshape(flat),
            fired.reshape(len(fired) * samples, neurons),
            samples,
            delay,
            lags,
            synapse(weight, x.shape[2:], geometry),
        ),
        grain=1,
    )
    before.steps += steps
    return u, s, saved


def adjoint(
    g: Array | Product,
    u: Array,
    saved: Array,
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
        saved: the other values from `forward`.
        weight: see `forward`.
        spiking: the kind of neuron and its constants.
        constants: see `forward`.
        delay: the delay.
        geometry: the geometry of a convolution.
        states: (states, columns), the states before the first step; by default 0.
        trained: whether to compute the gradients of the constants; else there are none.
        later: gradients after the last step; the gradients before the first overwrite them. By default `nothing_later`.
        start: the steps before the first.
    """
    steps, samples = u.shape[:2]
    neurons = math.prod(u.shape[2:])
    columns = samples * neurons
    dtype = u.dtype
    saved = saved[: len(spiking.saved(trained))]  # after these, gradients of constants may need more
    block = backward_of(dtype, steps if later is None else ENDLESS, constants, spiking, trained)
    later = _zeros_after(u, block, 0) if later is None else later
    states = np.zeros((len(spiking.kind.states), columns), dtype) if states is None else states
    sums = np.empty((len(block.constants) if trained else 0, columns), dtype)
    # The errors of the weighted inputs after the last step, if there are any, come after the others.
    y = empty((steps + len(later.errors), columns), dtype)
    y[steps:] = later.errors
    of_next = np.empty(0, dtype)
    next_weight = np.empty(0, dtype)
    following = 0
    of_spikes = np.empty((0, columns), dtype)
    if isinstance(g, Product):
        of_next = np.ascontiguousarray(g.errors).reshape(-1)
        next_weight = aligned_copy(g.weight.T, dtype).reshape(-1)
        following = g.errors.shape[1]
    else:
        of_spikes = np.ascontiguousarray(g).reshape(steps, columns)
    errors_synapse = backward_synapse(weight, u.shape[2:], geometry)
    b = _blocks(samples, neurons, lags_of(weight, geometry) > 0 and geometry is None)
    stage = stage_of(b, block, u.reshape(steps, columns))
    parallel_for(
        loop.backward,
        b.number,
        np.arange(b.number + 1),
        steps,
        start,
        1,
        stage,
        None,
        Carried(
            saved.reshape(len(saved), steps, columns),
            states,
            np.array(spiking.old(trained), np.int64),
            later.states,
            later.ring,
            sums,
        ),
        y,
        RecurrentErrors(of_spikes, of_next, next_weight, following, y, samples, neurons, delay, errors_synapse),
        None,
        None,
        grain=1,
    )
    later.errors[:] = y[: len(later.errors)]
    return y[:steps].reshape(u.shape), sums
