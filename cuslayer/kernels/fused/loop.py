"""The loop of all passes over time on the CPU: ``fill`` the weighted input, run the scan of the neurons, ``take``.

A layer is a source and a sink. The source writes the weighted input of some neurons at some steps, and backward the
errors of their spikes. The sink takes the errors of the weighted input. Both are named tuples of arrays; the type
decides which function Numba compiles into the loop. Sources and sinks for dense layers, convolutions and numbers are in
`sources.py`, for populations with synapses to themselves in `recurrent/cpu.py`.

A thread computes a block, some neighbouring columns, for all time in chunks. The weighted input, the spikes before
pooling, and the gradients of both, stay in the cache and need not be written to memory. A pass whose memory has states
continues where the call before it ended. The results equal separate passes to the bit.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba.extending import overload

from cuslayer._base.jit import compiled, inlined, uncounted
from cuslayer.backend import Array
from cuslayer.kernels.fused.pooled import Tiles, pool, spread
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import copy, repeated, scratch, scratch_rows
from cuslayer.kernels.host.states import load_states, store_states
from cuslayer.kernels.scan import blocks
from cuslayer.kernels.scan.blocks import Block, begin, load_saved, padded
from cuslayer.kernels.synapse.conv.spikes import CHUNK

# Columns to which a shift is applied at a time.
_TOGETHER = 512


def by_type(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return a function for compiled loops; the class of its last argument chooses the implementation.

    ``implementation_of(function, kind)`` adds the implementation for a class of named tuples.
    """
    implementations: dict[type, Callable[..., Any]] = {}

    @overload(function, strict=False, inline="always")
    def choose(*arguments: Any) -> Callable[..., Any]:
        return implementations[arguments[-1].instance_class]

    vars(function)["implementations"] = implementations
    return function


def implementation_of(function: Callable[..., Any], kind: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that makes a function the implementation of another for a class."""

    def add(implementation: Callable[..., Any]) -> Callable[..., Any]:
        vars(function)["implementations"][kind] = implementation
        return implementation

    return add


@by_type
def room(like: Any, source: Any) -> Any:
    """Return the memory that a thread needs for a source or sink, in the type of an array."""
    raise TypeError("runs in compiled loops only")


@by_type
def fill(
    first: int, last: int, begun: int, rows: Any, rows_at: int, at: int, size: int, buffer: Any, source: Any
) -> None:
    """Write the weighted input of the columns [at, at + size) at the steps [first, last) of all calls.

    Step t is row t modulo the number of rows, from the column `rows_at` on. The call began at the step `begun`. The
    buffer is the thread's memory, from `room`.
    """
    raise TypeError("runs in compiled loops only")


@by_type
def receive(first: int, last: int, rows: Any, at: int, size: int, buffer: Any, source: Any) -> None:
    """Write the errors of the spikes of the columns [at, at + size) at the steps [first, last); see `fill`."""
    raise TypeError("runs in compiled loops only")


@by_type
def take(first: int, last: int, errors: Any, at: int, size: int, part: int, buffer: Any, sink: Any) -> None:
    """Use the errors of the weighted input, a ring buffer, of one block of a part of all blocks; see `fill`."""
    raise TypeError("runs in compiled loops only")


class Blocks(NamedTuple):
    """The columns of a step in blocks: of `groups` groups of `size` columns, `width` columns, or fewer at the end."""

    groups: int
    size: int
    width: int

    @property
    def number(self) -> int:
        """The number of blocks."""
        return self.groups * -(-self.size // max(self.width, 1))


@compiled
def place(block: int, b: Blocks) -> tuple[int, int]:
    """Return the first column of a block, and the number of its columns."""
    in_a_group = -(-b.size // b.width)
    group = block // in_a_group
    first = (block - group * in_a_group) * b.width
    return group * b.size + first, min(b.width, b.size - first)


class Memory(NamedTuple):
    """The states of neurons between calls, and ring buffers of earlier steps; no elements if a call begins anew."""

    states: Array  # (states, columns)
    inputs: Array  # (steps, columns), the weighted inputs
    fired: Array  # (steps, columns), the spikes, uint8


def memory_of(neurons: Block, columns: int, chunk: int, delay: int = 0) -> Memory:
    """Return the states before the first step, for calls in chunks of `chunk` steps and spikes after a delay."""
    dtype = neurons.numbers.dtype
    return Memory(
        np.zeros((neurons.states, columns), dtype),
        np.zeros((neurons.history + chunk, columns), dtype),
        np.zeros((max(neurons.spikes, delay) + chunk, columns), np.uint8),
    )


class Stage(NamedTuple):
    """Neurons of a pass."""

    blocks: Blocks
    neurons: Block
    shift: Array  # (rows, K), see `norm.scaling.shifted`: column m has the numbers m % K; without elements for none
    memory: Memory
    u: Array  # the potentials, (steps, columns) or block by block (blocks steps, width); without elements for none
    apart: int  # the rows of u from block to block; 0 if blocks are columns of the same rows


def stage_of(
    b: Blocks,
    neurons: Block,
    u: Array,
    apart: int = 0,
    shift: Array | None = None,
    memory: Memory | None = None,
) -> Stage:
    """Return neurons of a pass, which begins anew without a memory."""
    none = np.empty((0, 0), neurons.numbers.dtype)
    if memory is None:
        memory = Memory(none, none, np.empty((0, 0), np.uint8))
    numbers = none
    if shift is not None:
        # Of some pixels side by side: short loops are slow.
        numbers = repeated(np.atleast_2d(shift), max(1, _TOGETHER // max(1, shift.shape[-1])))
    return Stage(b, neurons, numbers, memory, u, apart)


class Pooled(NamedTuple):
    """Pooling after a layer's neurons, the neurons after it, and the states between, if they are saved."""

    tiles: Tiles
    stage: Stage
    saved: Checkpoints


class Checkpoints(NamedTuple):
    """States from which backward recomputes potentials; of the chunks of time only the first may be shorter.

    A saved potential takes 4 bytes a step for every neuron, a checkpoint 16 bytes for `CHUNK` steps, and a byte for
    each spike that later steps need. The potentials have the same bits, and are read from the cache. That weighs spikes
    twice, so where many bins have a spike, potentials are saved.
    """

    states: Array  # (blocks, chunks, states x distance), the states of a block before each chunk
    fired: Array  # (blocks, chunks, rows, distance), the spikes of the last steps of each chunk
    taps: Array  # the weights, as the source reads them
    neurons: Block  # of the forward pass


def checkpoints(steps: int, number: int, b: Blocks, taps: Array, neurons: Block) -> Checkpoints:
    """Return arrays for the checkpoints of some blocks."""
    chunks = -(-steps // CHUNK)
    distance = padded(b.width)
    states = empty((number, chunks, neurons.states * distance), neurons.numbers.dtype)
    fired = empty((number, chunks, min(neurons.spikes, CHUNK), distance), np.uint8)
    return Checkpoints(states, fired, taps, neurons)


def no_checkpoints(neurons: Block) -> Checkpoints:
    """Return the checkpoints of a pass that saves potentials or nothing."""
    none = np.empty((0, 0, 0), neurons.numbers.dtype)
    return Checkpoints(none, np.empty((0, 0, 0, 0), np.uint8), none, neurons)


@compiled
def _chunk(number: int, steps: int, most: int) -> tuple[int, int]:
    """Return the first step of a chunk of `most` steps, and the end of its steps."""
    end = steps - (-(-steps // most) - 1 - number) * most
    return max(end - most, 0), end


@uncounted
def _save_states(block: int, number: int, memory: Array, size: int, saved: Checkpoints) -> None:
    """Save the states before a chunk."""
    if saved.states.size:
        copy(saved.states[block, number, :size], memory[:size])


@uncounted
def _save_spikes(block: int, number: int, first: int, last: int, fired: Array, saved: Checkpoints) -> None:
    """Save the last spikes of the chunk [first, last), from a ring buffer; the last row is the last step."""
    if saved.states.size:
        rows = saved.fired[block, number]
        for t in range(max(first, last - len(rows)), last):
            copy(rows[t - last + len(rows)], fired[t % len(fired)])


@uncounted
def _load_spikes(first: int, last: int, steps: int, saved: Array, fired: Array) -> None:
    """Write the saved spikes of the steps [first, last), which are in earlier chunks, into a ring buffer."""
    for t in range(max(first, 0), last):
        number = -(-steps // CHUNK) - 1 - (steps - 1 - t) // CHUNK
        _, end = _chunk(number, steps, CHUNK)
        copy(fired[t % len(fired)], saved[number, t - end + saved.shape[1]])


@compiled
def _room_after(after: Stage, chunk: int) -> tuple[Any, Any]:
    """Return the memory of a block of the neurons after pooling, and a ring buffer of their inputs for a chunk."""
    width = padded(after.blocks.width)
    neurons = after.neurons
    memory = scratch(neurons.rows * width, neurons.numbers)
    return memory, scratch_rows(neurons.history + chunk if chunk else 0, width, neurons.numbers)


@inlined
def _copy_spikes(s: Any, first: int, last: int, ring: Any, begun: int, at: int, size: int) -> None:
    """Copy the spikes of the steps [first, last) of a call from a ring buffer."""
    for t in range(first, last):
        copy(s[t, at : at + size], ring[(begun + t) % len(ring), at : at + size])


@inlined
def _save_values(values: Any, t: int, memory: Any, row: int, at: int, size: int) -> None:
    """Copy the values that backward needs of a step from the memory's rows."""
    for i in range(len(values)):
        copy(values[i, t, at : at + size], memory[(row + i) * size : (row + i + 1) * size])


@uncounted
def _apply_shift(first: int, last: int, rows: Array, rows_at: int, at: int, size: int, shift: Array) -> None:
    """Apply `norm.scaling.shifted` to the columns [at, at + size) in a ring buffer."""
    channels = shift.shape[1]
    for t in range(first, last):
        row = rows[t % len(rows), rows_at : rows_at + size]
        begin = 0
        channel = at % channels
        while begin < size:
            count = min(channels - channel, size - begin)
            out = row[begin : begin + count]
            if len(shift) != 3:
                bias = shift[0, channel : channel + count]
                for j in range(count):
                    out[j] += bias[j]
            if len(shift) > 1:
                centre = shift[len(shift) - 3, channel : channel + count]
                factor = shift[len(shift) - 2, channel : channel + count]
                added = shift[len(shift) - 1, channel : channel + count]
                for j in range(count):
                    out[j] = (out[j] - centre[j]) * factor[j] + added[j]
            begin += count
            channel = 0


@inlined
def _potentials(t: int, end: int, steps: int, chunk: int, block: int, stage: Stage, unread: Any) -> Any:
    """Return the rows for the potentials of the steps [t, end) of a block."""
    if stage.u.size == 0:
        return unread
    first = block * stage.apart
    # Rows count the steps of all calls, modulo their number: one row fits any step.
    return stage.u[first + t : first + end] if chunk == 1 else stage.u[first : first + steps]


@compiled
def forward(
    first: int,
    last: int,
    steps: int,
    begun: int,
    chunk: int,
    stage: Stage,
    pooled: Pooled | None,
    saved_values: Array | None,
    s: Array,
    source: Any,
) -> None:
    """Write the spikes s (steps, neurons) of the blocks [first, last), and the potentials that stages have arrays for.

    Args:
        first: the first block.
        last: the end of the blocks.
        steps: the steps of the call.
        begun: the steps of earlier calls.
        chunk: the steps that are computed at a time, `CHUNK` at most.
        stage: the neurons of the layer.
        pooled: pooling and its neurons; None without.
        saved_values: (values, steps, neurons), further values for backward, with chunks of one step; None for none.
        s: the spikes of the last neurons, uint8.
        source: the layer.
    """
    neurons = stage.neurons
    continues = len(stage.memory.inputs) > 0
    buffer = room(neurons.numbers, source)
    width = padded(stage.blocks.width)
    memory = scratch(neurons.rows * width, neurons.numbers)
    own_inputs = scratch_rows(neurons.history + chunk, 0 if continues else width, neurons.numbers)
    unread = scratch_rows(1, width, neurons.numbers)
    own_fired = s
    if pooled is not None:
        own_fired = np.empty((neurons.spikes + chunk, width), np.uint8)
        after = pooled.stage
        memory_after, sums_of_tiles = _room_after(after, 0 if continues else chunk)
    for block in range(first, last):
        at, size = place(block, stage.blocks)
        begin(memory, at, size, neurons)
        load_states(memory, stage.memory.states, at, size)
        x = stage.memory.inputs if continues else own_inputs
        x_at = at if continues else 0
        fired = stage.memory.fired if continues else own_fired
        # Without pooling, spikes are written to s.
        fired_at = at if continues or pooled is None else 0
        if pooled is not None:
            at_after, size_after = place(block, after.blocks)
            begin(memory_after, at_after, size_after, after.neurons)
            load_states(memory_after, after.memory.states, at_after, size_after)
            sums = after.memory.inputs if continues else sums_of_tiles
            sums_at = at_after if continues else 0
            fired_after = after.memory.fired if continues else s
        for number in range(-(-steps // chunk)):
            t, end = _chunk(number, steps, chunk)
            since = begun + t
            until = begun + end
            if pooled is not None:
                _save_states(block, number, memory, neurons.states * size, pooled.saved)
            fill(since, until, begun, x, x_at, at, size, buffer, source)
            if stage.shift.size:
                _apply_shift(since, until, x, x_at, at, size, stage.shift)
            potential = _potentials(t, end, steps, chunk, block, stage, unread)
            potential_at = 0 if stage.apart or not stage.u.size else at
            blocks.forward(since, until, memory, x, x_at, potential, potential_at, fired, fired_at, size, neurons)
            if saved_values is not None:
                _save_values(saved_values, t, memory, neurons.rows - len(saved_values), at, size)
            if pooled is not None:
                _save_spikes(block, number, t, end, fired, pooled.saved)
                pool(since, until, fired, fired_at, size, sums, sums_at, pooled.tiles)
                potential = _potentials(t, end, steps, chunk, block, after, unread)
                blocks.forward(
                    since,
                    until,
                    memory_after,
                    sums,
                    sums_at,
                    potential,
                    0,
                    fired_after,
                    at_after,
                    size_after,
                    after.neurons,
                )
                if continues:
                    _copy_spikes(s, t, end, fired_after, begun, at_after, size_after)
            elif continues:
                _copy_spikes(s, t, end, fired, begun, at, size)
        store_states(stage.memory.states, memory, at, size)
        if pooled is not None:
            store_states(after.memory.states, memory_after, at_after, size_after)


class Carried(NamedTuple):
    """Values that backward needs besides the potential, and the gradients that go from call to call."""

    values: Array  # (values, steps, columns), see `StepSpiking.saved`
    states: Array  # (states, columns), the states before the first step
    old: Array  # the numbers of the states whose values before a step backward needs, see `StepSpiking.old`
    later: Array  # (states, columns), the gradients after the last step; the gradients before the first overwrite them
    ring: Array  # (rows, columns), likewise the ring buffer of values of later steps
    sums: Array  # (constants, columns), the gradients of trained constants


@uncounted
def _restore(
    first: int,
    last: int,
    steps: int,
    block: int,
    size: int,
    memory: Array,
    x: Array,
    fired: Array,
    potential: Array,
    saved: Checkpoints,
) -> None:
    """Compute the potentials of the chunk [first, last) again, from the weighted input x in a ring buffer."""
    number = -(-last // CHUNK) - 1
    count = saved.neurons.states * size
    _load_spikes(first - saved.neurons.spikes, first, steps, saved.fired[block], fired)
    copy(memory[:count], saved.states[block, number, :count])
    blocks.forward(first, last, memory, x, 0, potential, 0, fired, 0, size, saved.neurons)


@compiled
def backward(
    first: int,
    last: int,
    parts: Array,
    steps: int,
    begun: int,
    chunk: int,
    stage: Stage,
    pooled: Pooled | None,
    carried: Carried | None,
    y: Array,
    errors: Any,
    layer: Any,
    source: Any,
) -> None:
    """Write the gradient of the weighted input to y, if it has elements, and give it to the layer.

    Args:
        first: the first part of the blocks.
        last: the end of the parts.
        parts: the first block of each part, and the number of blocks.
        steps: the steps of the call.
        begun: the steps of earlier calls.
        chunk: the steps that are computed at a time.
        stage: the neurons of the layer, with their potentials.
        pooled: pooling and its neurons, with their potentials; None without.
        carried: further values, with chunks of one step; None for none.
        y: (steps, columns); it may be the potentials.
        errors: the source of the errors of the spikes.
        layer: the sink of the errors of the weighted input; None for y alone.
        source: the layer, for checkpoints; None without pooling.
    """
    neurons = stage.neurons
    like = neurons.numbers
    buffer = room(like, errors)
    width = padded(stage.blocks.width)
    memory = scratch(neurons.rows * width, like)
    ring = scratch_rows(max(neurons.history, 1), width, like)
    grads = scratch_rows(chunk, width, like)
    written = scratch_rows(chunk, width, like)
    restored = stage.u
    recompute = False
    if layer is not None:
        sink_buffer = room(like, layer)
    if pooled is not None:
        after = pooled.stage
        saved = pooled.saved
        recompute = saved.states.size > 0
        memory_after, ring_after, grads_after, written_after = _room_back(after, chunk)
        wide = width if recompute else 0
        restored = scratch_rows(chunk, wide, like)
        restoring = scratch(saved.neurons.rows * wide, like)
        x = scratch_rows(saved.neurons.history + chunk, wide, like)
        fired = np.empty((saved.neurons.spikes + chunk, wide), np.uint8)
        source_buffer = room(like, source)
    for part in range(first, last):
        for block in range(parts[part], parts[part + 1]):
            at, size = place(block, stage.blocks)
            begin(memory, at, size, neurons)
            ring[:] = 0
            if carried is not None:
                load_states(memory, carried.later, at, size)
                _load_rows(ring, carried.ring, at, size)
            if pooled is not None:
                at_after, size_after = place(block, after.blocks)
                begin(memory_after, at_after, size_after, after.neurons)
                ring_after[:] = 0
                filled = steps
                if recompute:
                    begin(restoring, at, size, saved.neurons)
            for end in range(steps, 0, -chunk):
                t = max(end - chunk, 0)
                since = begun + t
                until = begun + end
                if pooled is not None:
                    if recompute:
                        # The neurons need inputs from before the chunk; the ring buffer still has the later ones.
                        earliest = max(t - saved.neurons.history, 0)
                        fill(earliest, filled, 0, x, 0, at, size, source_buffer, source)
                        if stage.shift.size:
                            _apply_shift(earliest, filled, x, 0, at, size, stage.shift)
                        filled = earliest
                        _restore(t, end, steps, block, size, restoring, x, fired, restored, saved)
                    receive(t, end, grads_after, at_after, size_after, buffer, errors)
                    potential = _potentials(t, end, steps, chunk, block, after, restored)
                    blocks.backward(
                        since,
                        until,
                        memory_after,
                        ring_after,
                        0,
                        grads_after,
                        0,
                        potential,
                        0,
                        written_after,
                        0,
                        size_after,
                        after.neurons,
                    )
                    spread(t, end, written_after, size, grads, pooled.tiles)
                else:
                    receive(t, end, grads, at, size, buffer, errors)
                potential = _potentials(t, end, steps, chunk, block, stage, restored)
                potential_at = 0 if stage.apart or recompute else at
                if carried is not None:
                    load_saved(memory, size, t, at, stage.u, carried.values, carried.states, carried.old, neurons)
                    out = y[t:end]
                    blocks.backward(
                        since, until, memory, ring, 0, grads, 0, potential, potential_at, out, at, size, neurons
                    )
                else:
                    blocks.backward(
                        since, until, memory, ring, 0, grads, 0, potential, potential_at, written, 0, size, neurons
                    )
                    if layer is not None:
                        take(t, end, written, at, size, part, sink_buffer, layer)
                    if y.size:
                        for k in range(t, end):
                            copy(y[k, at : at + size], written[k % chunk, :size])
            if carried is not None:
                _store_rows(carried.ring, ring, at, size)
                store_states(carried.later, memory, at, size)
                row = neurons.rows - len(carried.sums)
                store_states(carried.sums, memory[row * size :], at, size)


@compiled
def _room_back(after: Stage, chunk: int) -> tuple[Any, Any, Any, Any]:
    """Return the memory of a block of the neurons after pooling, their ring buffer, and two buffers for a chunk."""
    width = padded(after.blocks.width)
    neurons = after.neurons
    like = neurons.numbers
    memory = scratch(neurons.rows * width, like)
    ring = scratch_rows(max(neurons.history, 1), width, like)
    return memory, ring, scratch_rows(chunk, width, like), scratch_rows(chunk, width, like)


@uncounted
def _load_rows(ring: Array, rows: Array, at: int, size: int) -> None:
    """Copy columns of some rows to the front of a block's rows."""
    for i in range(len(rows)):
        copy(ring[i, :size], rows[i, at : at + size])


@uncounted
def _store_rows(rows: Array, ring: Array, at: int, size: int) -> None:
    """Copy the front of a block's rows to columns of some rows."""
    for i in range(len(rows)):
        copy(rows[i, at : at + size], ring[i, :size])
