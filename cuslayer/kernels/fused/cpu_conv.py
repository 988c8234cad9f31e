"""Convolutions of spikes with their neurons, then pooling and its neurons, in one pass on the CPU.

A block, a few rows of a map, is computed for all time before the next. Its weighted input, the spikes before pooling,
and backward the gradients of both, are used in the cache and need not be written to memory. Pooling windows must tile
the map, and a block has whole windows. The results equal `conv`, `neuron` and `pool` to the bit. A stream runs the same
loop forward: its blocks keep their state from call to call.

Backward needs the potentials. A saved potential takes 4 bytes a step for every neuron. Before pooling, backward may
compute them again from checkpoints, the states at the first step of each chunk of time: 16 bytes for `CHUNK` steps, and
a byte for each spike that the refractory filter still needs. The potentials have the same bits, and are read from the
cache. That weighs spikes twice, so where many bins have a spike, potentials are saved.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import numpy as np

from cuslayer._base.jit import compiled, parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.constants import Pooling, Window
from cuslayer.kernels.conv import spikes as conv_spikes
from cuslayer.kernels.conv import weight_sums
from cuslayer.kernels.conv.cpu import forward as conv
from cuslayer.kernels.conv.cpu import input_adjoint
from cuslayer.kernels.conv.spikes import CHUNK, Maps, Where, rows_of, weigh, where
from cuslayer.kernels.conv.weight_sums import PARTS, Order, order_of, room
from cuslayer.kernels.host.llvm import VECTOR_BYTES, run
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import copy, scratch, scratch_rows
from cuslayer.kernels.neuron import blocks
from cuslayer.kernels.neuron.blocks import ENDLESS, Block, Held, backward_of, begin, forward_of, held_by, padded
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.pool.tiles import spread_tile, sum_tile
from cuslayer.kernels.spikes.cpu import SpikeList, find_spikes

# The share of bins with a spike from which potentials are saved.
_BUSY = 0.05


class Checkpoints(NamedTuple):
    """States from which backward recomputes potentials; of the chunks of time only the first may be shorter."""

    states: Array  # (blocks, chunks, states x distance), the states of a block before each chunk
    fired: Array  # (blocks, chunks, rows, distance), the spikes of the last steps of each chunk
    taps: Array  # the weights, as the convolution reads them
    neurons: Block  # of the forward pass


def saved_type(x: SpikeList) -> type[Checkpoints] | None:
    """Return the type that a pass of spikes saves instead of potentials, None if it saves potentials."""
    return Checkpoints if x.activity < _BUSY else None


def _checkpoints(m: Maps, used: bool, taps: Array, neurons: Block) -> Checkpoints:
    """Return arrays for checkpoints, without elements unless they are used."""
    count, chunks, distance = m.blocks if used else 0, -(-m.steps // CHUNK), padded(m.together * m.width)
    states = empty((count, chunks, neurons.states * distance), taps.dtype)
    return Checkpoints(states, empty((count, chunks, min(neurons.spikes, CHUNK), distance), np.uint8), taps, neurons)


class Tiles(NamedTuple):
    """The pooling windows: rows and columns of a window, windows in a row of a map, 0 without pooling, and the gain."""

    height: int
    width: int
    columns: int
    gain: Any


class PassPart(NamedTuple):
    """A block: rows [low, high) of a sample's map, its first neuron and their number, and the same after pooling."""

    sample: int
    low: int
    high: int
    at: int
    size: int
    pooled_at: int
    pooled_size: int


@compiled
def _part(block: int, m: Maps, tiles: Tiles) -> PassPart:
    sample, low, high = rows_of(block, m)
    width, pooled, lines = m.columns * m.outputs, tiles.columns * m.outputs, -(-m.rows // tiles.height)
    pooled_at, pooled_size = (sample * lines + low // tiles.height) * pooled, -(-(high - low) // tiles.height) * pooled
    return PassPart(sample, low, high, (sample * m.rows + low) * width, (high - low) * width, pooled_at, pooled_size)


@compiled
def chunk(number: int, steps: int) -> tuple[int, int]:
    """Return the first step of a chunk, and the end of its steps."""
    end = steps - (-(-steps // CHUNK) - 1 - number) * CHUNK
    return max(end - CHUNK, 0), end


@compiled
def _store_spikes(first: int, last: int, fired: Any, saved: Any) -> None:
    """Save the last spikes of the chunk [first, last), from a ring buffer; the last row is the last step."""
    for t in range(max(first, last - len(saved)), last):
        copy(saved[t - last + len(saved)], fired[t % len(fired)])


@compiled
def _load_spikes(first: int, last: int, steps: int, saved: Any, fired: Any) -> None:
    """Write the saved spikes of the steps [first, last), which are in earlier chunks, into a ring buffer."""
    for t in range(max(first, 0), last):
        number = -(-steps // CHUNK) - 1 - (steps - 1 - t) // CHUNK
        _, end = chunk(number, steps)
        copy(fired[t % len(fired)], saved[number, t - end + saved.shape[1]])


@compiled
def _take(first: int, last: int, begun: int, rows: Any, at: int, ring: Any, size: int) -> None:
    """Copy the steps [first, last) of a call that began at the step `begun` of the stream into a ring buffer."""
    for t in range(first, last):
        copy(ring[(begun + t) % len(ring), :size], rows[t % len(rows), at : at + size])


@compiled
def _give(first: int, last: int, begun: int, ring: Any, rows: Any, at: int, size: int) -> None:
    for t in range(first, last):
        copy(rows[t, at : at + size], ring[(begun + t) % len(ring), :size])


@compiled
def _pool(first: int, last: int, s: Any, x: Any, low: int, high: int, m: Maps, tiles: Tiles) -> None:
    """Sum the spikes s of the rows [low, high) tile by tile into x; both are ring buffers over time."""
    spikes, sums, down = s.reshape(s.size), x.reshape(x.size), m.columns * m.outputs
    lanes = VECTOR_BYTES // x.itemsize
    whole = m.outputs // lanes * lanes
    for t in range(first, last):
        # Divisions that the compiler would leave in the loop over tiles.
        line, spike_line = t % len(x) * x.shape[1], t % len(s) * s.shape[1]
        for row in range(-(-(high - low) // tiles.height)):
            tall = min(tiles.height, high - low - row * tiles.height)
            for column in range(tiles.columns):
                wide = min(tiles.width, m.columns - column * tiles.width)
                at = line + (row * tiles.columns + column) * m.outputs
                begin = spike_line + row * tiles.height * down + column * tiles.width * m.outputs
                for c in range(0, whole, lanes):
                    sum_tile(sums, at + c, tiles.gain, spikes, begin + c, m.outputs, wide, down, tall)
                for c in range(whole, m.outputs):
                    total = 0
                    for y in range(tall):
                        for z in range(wide):
                            total += spikes[begin + c + y * down + z * m.outputs]
                    sums[at + c] = x.dtype.type(total) * tiles.gain


@compiled
def _pool_adjoint(t: int, errors: Any, g: Any, low: int, high: int, m: Maps, tiles: Tiles) -> None:
    """Write into g, for the rows [low, high) at step t, gain times the error of their tiles; both are ring buffers."""
    found, out, down = errors.reshape(errors.size), g.reshape(g.size), m.columns * m.outputs
    lanes = VECTOR_BYTES // g.itemsize
    whole = m.outputs // lanes * lanes
    line, out_line = t % len(errors) * errors.shape[1], t % len(g) * g.shape[1]
    for row in range(-(-(high - low) // tiles.height)):
        tall = min(tiles.height, high - low - row * tiles.height)
        for column in range(tiles.columns):
            wide = min(tiles.width, m.columns - column * tiles.width)
            at = line + (row * tiles.columns + column) * m.outputs
            begin = out_line + row * tiles.height * down + column * tiles.width * m.outputs
            for c in range(0, whole, lanes):
                spread_tile(found, at + c, tiles.gain, out, begin + c, m.outputs, wide, down, tall)
            for c in range(whole, m.outputs):
                error = tiles.gain * found[at + c]
                for y in range(tall):
                    for z in range(wide):
                        out[begin + c + y * down + z * m.outputs] = error


@compiled
def _forward(
    first: int,
    last: int,
    m: Maps,
    tiles: Tiles,
    begun: int,
    spikes: Where,
    taps: Any,
    weighted: Any,
    held: Held,
    held_pooled: Held,
    saved: Checkpoints,
    u: Any,
    pooled_u: Any,
    s: Any,
    neurons: Block,
    after: Block,
) -> None:
    """Write the spikes s (steps, neurons) of blocks, and the potentials u and pooled_u if there is memory for them."""
    goes_on, pools, distance = held.memory.size > 0, tiles.columns > 0, padded(m.together * m.columns * m.outputs)
    own, pooled_distance = 0 if goes_on else distance, padded(m.together // tiles.height * tiles.columns * m.outputs)
    own_inputs, own_memory = scratch_rows(neurons.history + CHUNK, own, taps), scratch(neurons.rows * own, taps)
    own_fired = np.empty((neurons.spikes + CHUNK, own if pools else 0), np.uint8)
    own_pooled = 0 if goes_on or not pools else pooled_distance
    own_sums, own_after = scratch_rows(after.history + CHUNK, own_pooled, taps), scratch(after.rows * own_pooled, taps)
    rows = np.empty((min(CHUNK, m.steps), distance if goes_on else 0), taps.dtype)
    passing = scratch_rows(1, distance, taps)  # potentials that nobody reads
    for block in range(first, last):
        p = _part(block, m, tiles)
        memory, x, fired, fired_at = own_memory, own_inputs, own_fired, 0
        pooled_memory, sums, pooled_fired, pooled_at = own_after, own_sums, s, p.pooled_at
        if goes_on:
            memory, x, fired = held.memory[block], held.inputs[block], held.fired[block]
        elif not pools:
            fired, fired_at = s, p.at
        if goes_on and pools:
            pooled_memory, sums = held_pooled.memory[block], held_pooled.inputs[block]
            pooled_fired, pooled_at = held_pooled.fired[block], 0
        potential = u[block] if u.size else passing
        behind = pooled_u[block] if pooled_u.size else passing
        if begun == 0:
            begin(memory, p.at, p.size, neurons)
            if pools:
                begin(pooled_memory, p.pooled_at, p.pooled_size, after)
        for number in range(-(-m.steps // CHUNK)):
            t, end = chunk(number, m.steps)
            since, until = begun + t, begun + end
            if saved.states.size:
                copy(saved.states[block, number, : neurons.states * p.size], memory[: neurons.states * p.size])
            if len(weighted):
                _take(t, end, begun, weighted, p.at, x, p.size)
            elif begun % len(x) == 0:
                weigh(t, end, x, p.sample, p.low, p.high, m, spikes, taps)
            else:
                weigh(t, end, rows, p.sample, p.low, p.high, m, spikes, taps)
                _take(t, end, begun, rows, 0, x, p.size)
            blocks.forward(since, until, memory, x, 0, potential, 0, fired, fired_at, p.size, neurons)
            if saved.states.size:
                _store_spikes(t, end, fired, saved.fired[block, number])
            if pools:
                _pool(since, until, fired, sums, p.low, p.high, m, tiles)
                blocks.forward(
                    since, until, pooled_memory, sums, 0, behind, 0, pooled_fired, pooled_at, p.pooled_size, after
                )
            if goes_on and pools:
                _give(t, end, begun, pooled_fired, s, p.pooled_at, p.pooled_size)
            elif goes_on:
                _give(t, end, begun, fired, s, p.at, p.size)


@compiled
def _potentials(
    first: int,
    last: int,
    block: int,
    size: int,
    memory: Any,
    x: Any,
    fired: Any,
    potential: Any,
    steps: int,
    saved: Checkpoints,
) -> None:
    """Compute the potentials of the chunk [first, last) again, from the weighted input x in a ring buffer."""
    number, count = -(-last // CHUNK) - 1, saved.neurons.states * size
    _load_spikes(first - saved.neurons.spikes, first, steps, saved.fired[block], fired)
    copy(memory[:count], saved.states[block, number, :count])
    blocks.forward(first, last, memory, x, 0, potential, 0, fired, 0, size, saved.neurons)


@compiled
def _backward(
    first: int,
    last: int,
    parts_at: Any,
    m: Maps,
    tiles: Tiles,
    spikes: Where,
    order: Order,
    taps: Any,
    g: Any,
    saved: Checkpoints,
    u: Any,
    pooled_u: Any,
    y: Any,
    neurons: Block,
    after: Block,
    with_weights: bool,
) -> None:
    """Add the weights' gradients to the taps of each part, and write the weighted input's to y if it is wanted."""
    again, pools, distance = saved.states.size > 0, tiles.columns > 0, padded(m.together * m.columns * m.outputs)
    pooled_distance = padded(m.together // tiles.height * tiles.columns * m.outputs) if pools else 0
    spread, pooled = scratch_rows(CHUNK, distance if pools else 0, g), scratch_rows(CHUNK, pooled_distance, g)
    passing = scratch_rows(CHUNK, 0 if y.size else distance, g)
    restored = scratch_rows(CHUNK, distance if again else 0, g)
    memory, ring = scratch(neurons.rows * distance, g), scratch_rows(max(neurons.history, 1), distance, g)
    pooled_memory = scratch(after.rows * pooled_distance, g)
    pooled_ring = scratch_rows(max(after.history, 1), pooled_distance, g)
    wide, history = distance if again else 0, saved.neurons.history
    x = scratch_rows(history + CHUNK, wide, g)
    fired = np.empty((saved.neurons.spikes + CHUNK, wide), np.uint8)
    restoring = scratch(saved.neurons.rows * wide, g)
    given = room(m, spikes, order, g)
    for part in range(first, last):
        for block in range(parts_at[part], parts_at[part + 1]):
            p = _part(block, m, tiles)
            errors, y_at = (y, p.at) if y.size else (passing, 0)
            received, g_at = (spread, 0) if pools else (g, p.at)
            potential = restored if again else u[block]
            weighed = m.steps
            begin(memory, p.at, p.size, neurons)
            ring[:] = 0
            if pools:
                begin(pooled_memory, p.pooled_at, p.pooled_size, after)
                pooled_ring[:] = 0
            if again:
                begin(restoring, p.at, p.size, saved.neurons)
            for end in range(m.steps, 0, -CHUNK):
                t = max(end - CHUNK, 0)
                if again:
                    # The filter needs inputs from before the chunk; later ones are there from the chunk before.
                    earliest = max(t - history, 0)
                    weigh(earliest, weighed, x, p.sample, p.low, p.high, m, spikes, saved.taps)
                    weighed = earliest
                    _potentials(t, end, block, p.size, restoring, x, fired, restored, m.steps, saved)
                if pools:
                    behind, of = pooled_u[block], p.pooled_at
                    blocks.backward(
                        t, end, pooled_memory, pooled_ring, 0, g, of, behind, 0, pooled, 0, p.pooled_size, after
                    )
                    for k in range(t, end):
                        _pool_adjoint(k, pooled, spread, p.low, p.high, m, tiles)
                blocks.backward(t, end, memory, ring, 0, received, g_at, potential, 0, errors, y_at, p.size, neurons)
                if with_weights:
                    where_from = t, end, errors, y_at, p.sample, p.low, p.high, m, spikes, order, given, taps[part]
                    run(order.adding, where_from)


def _blocks(m: Maps, pooling: Pooling | None, dtype: Any) -> tuple[Maps, Tiles, tuple[int, int]]:
    """Return the maps in blocks of whole windows, the tiles, and the rows and columns of the result."""
    if pooling is None:
        return m, Tiles(1, 1, 0, dtype.type(1)), (m.rows, m.columns)
    height, width = pooling.window.kernel
    tiles = Tiles(height, width, -(-m.columns // width), dtype.type(pooling.gain))
    return conv_spikes.pooled_maps(m, height), tiles, (-(-m.rows // height), tiles.columns)


def _of_block(m: Maps, tiles: Tiles) -> int:
    """Return the neurons of a block after pooling."""
    return m.together // tiles.height * tiles.columns * m.outputs


@dataclass(frozen=True)
class ConvPass:
    """The passes of a convolution, its neurons and the next stages, with the GPU's arguments.

    Potentials for backward lie block by block: (blocks, steps, numbers of a block). In the layout of the spikes, the
    distances of a block's rows would be powers of two, where caches and memory are slow.
    """

    groups: int
    takes_products: ClassVar[bool] = False  # whether the gradient of the spikes may be a product of matrices

    def conv_neuron(
        self,
        x: SpikeList,
        steps: int,
        w: Array,
        window: Window,
        constants: Array,
        spiking: StepSpiking,
        keep: Any,
    ) -> tuple[Array, Array]:
        """Return the potential u and the spikes s (frames, rows, columns, outputs).

        Args:
            x: (frames, H, W, C), the frames of all samples at a step one after the other.
            steps: the number of steps of the frames.
            w: (kh, kw, C / groups, outputs).
            window: the window.
            constants: the constants that differ between the neurons; see `blocks.py`.
            spiking: their other constants.
            keep: None for an empty u.
        """
        u, _, s = self.conv_pool(x, steps, w, window, constants, spiking, None, keep)
        return u, s

    def conv_neuron_adjoint(
        self,
        x: SpikeList,
        steps: int,
        g: Array,
        u: Array,
        window: Window,
        constants: Array,
        spiking: StepSpiking,
        keep: bool,
    ) -> tuple[Array | None, Array]:
        """Return the gradients of the weighted input, None without `keep`, and of the weights.

        g is the gradient of the spikes, and u the potential that `conv_neuron` returns; see there.
        """
        return self.conv_pool_adjoint(x, steps, g, u, u[:0], window, constants, spiking, None, keep)

    def input_adjoint(
        self, errors: Array, w: Array, image: tuple[int, int], window: Window, of_weight: Array
    ) -> tuple[Array, Array]:
        """Return the gradients of the input and of the weight from the results of the backward passes."""
        return input_adjoint(errors, w, image, window, self.groups), of_weight

    def conv_pool(
        self,
        x: SpikeList,
        steps: int,
        w: Array,
        window: Window,
        constants: Array,
        spiking: StepSpiking,
        pooling: Pooling | None,
        keep: Any,
    ) -> tuple[Any, Array, Array]:
        """Return the potentials before and after pooling, and the spikes (frames, rows, columns, outputs) after it.

        See `conv_neuron` for the arguments and the layout of the potentials. With ``keep=Checkpoints``, the first are
        checkpoints, from which `conv_pool_adjoint` computes the potential before pooling again, to the same bits.
        """
        maps = conv_spikes.maps(x, steps, w.shape[3], window)
        m, tiles, image = _blocks(maps, pooling, w.dtype)
        again = keep is Checkpoints
        u = empty((0, 0, 0) if keep is None or again else m.kept, w.dtype)
        behind = m.blocks, steps, _of_block(m, tiles)
        pooled_u = empty((0, 0, 0) if keep is None or pooling is None else behind, w.dtype)
        s = empty((steps, m.samples * math.prod(image) * m.outputs), bool)
        neurons = after = forward_of(w.dtype, steps, constants, spiking)
        if pooling is not None:
            after = forward_of(w.dtype, steps, pooling.constants, pooling.spiking)
        taps, nothing = conv_spikes.taps_in_runs(w, window, self.groups), held_by(neurons, 0, 0, CHUNK)
        saved = _checkpoints(m, again, taps, neurons)
        spikes = where(x, window, m.outputs, w.dtype, self.groups), taps, np.empty((0, 0), w.dtype), nothing, nothing
        arrays = saved, u, pooled_u, s.view(np.uint8), neurons, after
        parallel_for(_forward, m.blocks, m, tiles, 0, *spikes, *arrays, grain=1)
        return saved if again else u, pooled_u, s.reshape(x.shape[0], *image, m.outputs)

    def conv_pool_adjoint(
        self,
        x: SpikeList,
        steps: int,
        g: Array,
        u: Array | Checkpoints,
        pooled_u: Array,
        window: Window,
        constants: Array,
        spiking: StepSpiking,
        pooling: Pooling | None,
        keep: bool,
    ) -> tuple[Array | None, Array]:
        """Return the gradients of the convolution's output, None without `keep`, and of the weights.

        g is the gradient of the spikes after pooling, u and pooled_u the potentials that `conv_pool` returns.
        """
        alone = conv_spikes.maps(x, steps, g.shape[3], window)
        m, tiles, _ = _blocks(alone, pooling, g.dtype)
        # Blocks of other rows would sum the weight gradient in another order, so it is computed from the errors.
        apart = m != alone
        y = empty((steps, m.neurons) if keep or apart else (0, 0), g.dtype)
        parts = weight_sums.new_parts(x, m, window, self.groups, g.dtype)
        neurons = after = backward_of(g.dtype, steps, constants, spiking)
        if pooling is not None:
            after = backward_of(g.dtype, steps, pooling.constants, pooling.spiking)
        if isinstance(u, Checkpoints):
            saved, u = u, np.empty((0, 0, 0), g.dtype)
        else:
            saved = _checkpoints(m, False, parts[0], neurons)
        given = where(x, window, m.outputs, g.dtype, self.groups), order_of(x, m, window, self.groups, g.dtype)
        arrays = parts, np.ascontiguousarray(g).reshape(steps, g.size // max(steps, 1)), saved, u, pooled_u, y
        end = neurons, after, not apart
        parallel_for(_backward, PARTS, weight_sums.bounds(m.blocks), m, tiles, *given, *arrays, *end, grain=1)
        errors = y.reshape(len(g), m.rows, m.columns, m.outputs) if y.size or keep else None
        if apart and errors is not None:
            return errors, weight_sums.weight_adjoint(x, errors, window, self.groups, steps)
        return errors, weight_sums.of_runs(parts.sum(axis=0), window, m.outputs, self.groups)


def from_blocks(u: Array, shape: tuple[int, ...], samples: Array | None, neurons: Array | None) -> Array:
    """Return potentials in blocks as (T, samples, H, W, C), or (T, samples, k) of k neurons (row, column, channel)."""
    steps, count, rows, columns, channels = shape
    chosen = np.arange(count) if samples is None else samples
    if 0 in shape:
        places = shape[2:] if neurons is None else (len(neurons),)
        return np.zeros((steps, len(chosen), *places), u.dtype)
    together = u.shape[2] // (columns * channels)
    by_sample = u.reshape(count, len(u) // count, steps, u.shape[2])
    if neurons is None:
        maps = by_sample.reshape(count, -1, steps, together, columns, channels)[chosen]
        whole = maps.transpose(2, 0, 1, 3, 4, 5).reshape(steps, len(chosen), -1, columns, channels)
        return np.array(whole[:, :, :rows], order="C")
    row, column, channel = neurons.T
    at = (row % together * columns + column) * channels + channel
    return np.ascontiguousarray(by_sample[chosen[:, None], row // together, :, at].transpose(2, 0, 1))


class StreamedConv:
    """A convolution and its neurons, then any pooling and its neurons, called with chunks (T, N, H, W, C)."""

    def __init__(
        self,
        weight: Array,
        window: Window,
        constants: Any,
        spiking: StepSpiking,
        pooling: Pooling | None = None,
    ) -> None:
        self._weight = weight
        self._window = window
        self._pooling = pooling
        self._constants = constants, spiking
        self._taps = conv_spikes.taps_in_runs(weight, window)
        self._steps = 0
        self._blocks: tuple[Block, Block] | None = None
        self._held: tuple[Held, Held]

    def _begin(self, m: Maps, tiles: Tiles, image: tuple[int, int]) -> tuple[Block, Block]:
        """Return the neurons before and after pooling, and begin their states."""
        w, pooling, (constants, spiking) = self._weight, self._pooling, self._constants
        given = spiking.placed(constants, w, (m.rows, m.columns, m.outputs))
        neurons = after = forward_of(w.dtype, ENDLESS, given, spiking)
        if pooling is not None:
            given = pooling.spiking.placed(pooling.constants, w, (*image, m.outputs))
            after = forward_of(w.dtype, ENDLESS, given, pooling.spiking)
        behind = held_by(after, m.blocks, _of_block(m, tiles), CHUNK)
        self._held = held_by(neurons, m.blocks, m.together * m.width, CHUNK), behind
        return neurons, after

    def __call__(self, x: Array) -> Array:
        if x.ndim != 5:
            raise ValueError(f"x must be (T, N, H, W, C), got shape {x.shape}")
        w, window = self._weight, self._window
        if x.shape[4] != w.shape[2]:
            raise ValueError(f"x has {x.shape[4]} channels, weight expects {w.shape[2]}")
        steps, samples = len(x), x.shape[1]
        frames = x.reshape(steps * samples, *x.shape[2:])
        numbers = x.dtype != bool
        found = find_spikes(np.zeros(frames.shape, bool) if numbers else frames)
        maps = conv_spikes.maps(found, 1, w.shape[3], window)._replace(steps=steps, samples=samples)
        m, tiles, image = _blocks(maps, self._pooling, w.dtype)
        weighted = (conv(frames, w, window, 1) if numbers else np.empty(0, w.dtype)).reshape(-1, m.neurons or 1)
        self._blocks = self._blocks or self._begin(m, tiles, image)
        s, none = np.empty((steps, samples, *image, m.outputs), bool), np.empty((0, 0, 0), w.dtype)
        saved = _checkpoints(m, False, self._taps, self._blocks[0])
        spikes = where(found, window, m.outputs, w.dtype), self._taps, weighted, *self._held
        arrays = saved, none, none, s.view(np.uint8).reshape(steps, math.prod(s.shape[1:])), *self._blocks
        parallel_for(_forward, m.blocks, m, tiles, self._steps, *spikes, *arrays, grain=1)
        self._steps += steps
        return s
