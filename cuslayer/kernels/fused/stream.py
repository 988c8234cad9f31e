"""Dense and convolutional layers with their neurons on the CPU that keep their state from chunk to chunk of time.

Their spikes are those of `dense_neuron`, `conv_neuron` and `conv_pool`, to the bit. A block of neurons runs through all
steps of a chunk before the next one, so that what it keeps is loaded once for a chunk. The states of a block lie
together: the recurrences, and ring buffers of the weighted inputs and the spikes within the filters.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Pooling, Spiking, Window
from cuslayer.kernels.conv import spikes as conv_spikes
from cuslayer.kernels.conv.cpu import forward as conv
from cuslayer.kernels.conv.spikes import CHUNK, Maps, Where, rows_of, weigh, where
from cuslayer.kernels.dense.cpu import add_rows, has_busy_rows
from cuslayer.kernels.dense.cpu import forward as dense
from cuslayer.kernels.dense.product import busy_above
from cuslayer.kernels.fused.conv_pool import Tiles, _pool, _tiles
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import copy
from cuslayer.kernels.neuron import blocks
from cuslayer.kernels.neuron.blocks import Block, begin, forward_of
from cuslayer.kernels.neuron.columns import placed
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.spikes.cpu import SpikeList, as_bytes, find_spikes, list_row

# More steps than any stream has: a filter is cut after its last sample.
_ENDLESS = 1 << 62
# Neurons of a dense layer in a block: outputs of a sample, or all of some samples.
_WIDTH, _TOGETHER = 256, 1024
# Bins of an input, and steps of neurons, that are less work than what it takes to wake other threads.
_FEW = 1 << 19
# Steps of a ring buffer are a multiple of this. In a chunk that begins at a multiple of them, rows have the same places
# by the steps of the chunk and of the stream.
_RING = 128


class Blocks(NamedTuple):
    """The neurons of a dense layer as blocks of `width` columns of `together` samples; one of the two is all or 1."""

    samples: int
    outputs: int
    width: int
    together: int

    @property
    def number(self) -> int:
        return -(-self.samples // self.together) * -(-self.outputs // self.width) if self.outputs else 0


class Held(NamedTuple):
    """What blocks of neurons keep: their memory (blocks, rows width), and ring buffers (blocks, steps, width)."""

    state: Array
    ring: Array
    fired: Array

    @classmethod
    def of(cls, neurons: Block, count: int, width: int, dtype: Any) -> Held:
        # What lies before the first step is not read.
        filters = (neurons.history, dtype), (neurons.spikes, np.uint8)
        rings = (empty((count, -(-(cut + CHUNK) // _RING) * _RING, width), kind) for cut, kind in filters)
        return cls(np.empty((count, neurons.rows * width), dtype), *rings)


@compiled
def _take(first: int, last: int, begun: int, rows: Any, at: int, ring: Any, to: int, size: int) -> None:
    """Copy the steps [first, last) of a chunk that began at the step `begun` of the stream into a ring buffer."""
    for t in range(first, last):
        copy(ring[(begun + t) % len(ring), to : to + size], rows[t % len(rows), at : at + size])


@compiled
def _give(first: int, last: int, begun: int, ring: Any, of: int, rows: Any, at: int, size: int) -> None:
    for t in range(first, last):
        copy(rows[t, at : at + size], ring[(begun + t) % len(ring), of : of + size])


@compiled
def _dense(
    first: int,
    last: int,
    b: Blocks,
    begun: int,
    start: Any,
    index: Any,
    w: Any,
    limit: int,
    weighted: Any,
    held: Held,
    out: Any,
    neurons: Block,
) -> None:
    """Run blocks through a chunk; their input is a list of spikes, or where that is empty, already weighted."""
    across, table = -(-b.outputs // b.width), w.reshape(-1)
    u = np.empty((1, b.width * b.together), w.dtype)
    for block in range(first, last):
        low, at = block // across * b.together, block % across * b.width
        count, size = min(b.together, b.samples - low), min(b.width, b.outputs - at)
        column = low * b.outputs + at
        state, ring, fired = held.state[block], held.ring[block], held.fired[block]
        flat = ring.reshape(-1)
        if begun == 0:
            begin(state, column, count * size, neurons)
        for t in range(0, len(out), CHUNK):
            end = min(t + CHUNK, len(out))
            if len(weighted):
                _take(t, end, begun, weighted, column, ring, 0, count * size)
            else:
                for k in range(t, end):
                    for i in range(count):
                        row = k * b.samples + low + i
                        to = (begun + k) % len(ring) * ring.shape[1] + i * size
                        add_rows(flat, to, size, start[row], start[row + 1], index, table, at, b.outputs, limit)
            blocks.forward(begun + t, begun + end, state, ring, 0, u, 0, fired, 0, count * size, neurons)
            _give(t, end, begun, fired, 0, out, column, count * size)


@compiled
def _few_dense(
    b: Blocks, count: int, begun: int, x: Any, w: Any, limit: int, held: Held, out: Any, neurons: Block
) -> None:
    """List the spikes and run all blocks, in one call, since a call takes longer than a step of few neurons."""
    start, index = np.empty(len(x) + 1, np.int64), np.empty(x.size, np.int32)
    start[0] = 0
    for row in range(len(x)):
        start[row + 1] = list_row(row, x, index, start[row])
    _dense(0, count, b, begun, start, index, w, limit, np.empty((0, 0), w.dtype), held, out, neurons)


class StreamedDense:
    """A dense layer and its neurons, called with one chunk (T, N, ...) after the other.

    Args:
        weight: (inputs, outputs).
        response: the spike response; of neurons that are written as a step, the constants of each, arrays that
            broadcast to the neurons.
        spiking: threshold and refractory response.
    """

    def __init__(self, weight: Array, response: Any, spiking: Spiking | StepSpiking) -> None:
        self._weight, self._limit = np.ascontiguousarray(weight), busy_above(*weight.shape, weight.itemsize)
        response = placed(response, spiking, weight, (weight.shape[1],))
        self._neurons = forward_of(weight.dtype, _ENDLESS, response, spiking)
        self._steps = 0
        self._held: Held | None = None

    def __call__(self, x: Array) -> Array:
        steps, samples, outputs = len(x), x.shape[1], self._weight.shape[1]
        rows = x.reshape(steps * samples, math.prod(x.shape[2:]))
        if rows.shape[1] != len(self._weight):
            raise ValueError(f"x has {rows.shape[1]} features, weight expects {len(self._weight)}")
        width = max(1, min(_WIDTH, outputs))
        b = Blocks(samples, outputs, width, 1 if width < outputs else max(1, min(_TOGETHER // width, samples)))
        held = self._held
        if held is None:
            held = self._held = Held.of(self._neurons, b.number, b.width * b.together, self._weight.dtype)
        out = np.empty((steps, samples, outputs), bool)
        spikes = out.view(np.uint8).reshape(steps, samples * outputs)
        end: tuple[Any, ...] = held, spikes, self._neurons
        if rows.dtype == bool and rows.size + out.size <= _FEW:
            _few_dense(b, b.number, self._steps, as_bytes(rows), self._weight, self._limit, *end)
        else:
            found: Any = find_spikes(rows) if rows.dtype == bool else _NO_SPIKES
            # Rows that share tables are weighted before the neurons run.
            apart = found is _NO_SPIKES or has_busy_rows(found, self._weight)
            weighted = dense(rows if found is _NO_SPIKES else found, self._weight) if apart else self._weight[:0]
            end = self._limit, weighted.reshape(-1, spikes.shape[1] or 1), *end
            found = _NO_SPIKES if apart else found
            parallel_for(_dense, b.number, b, self._steps, found.start, found.index, self._weight, *end, grain=1)
        self._steps += steps
        return out


# In place of the spikes of an input that is numbers.
_NO_SPIKES = SpikeList(np.zeros(1, np.int64), np.empty((0, 0), np.uint64), (0, 0, 0, 0))


@compiled
def _conv(
    first: int,
    last: int,
    m: Maps,
    begun: int,
    spikes: Where,
    taps: Any,
    weighted: Any,
    held: Held,
    out: Any,
    neurons: Block,
) -> None:
    width = m.columns * m.outputs
    rows, u = np.empty((CHUNK, m.together * width), taps.dtype), np.empty((1, m.together * width), taps.dtype)
    for block in range(first, last):
        sample, low, high = rows_of(block, m)
        at, size = (sample * m.rows + low) * width, (high - low) * width
        state, ring, fired = held.state[block], held.ring[block], held.fired[block]
        if begun == 0:
            begin(state, at, size, neurons)
        for t in range(0, m.steps, CHUNK):
            end = min(t + CHUNK, m.steps)
            if len(weighted):
                _take(t, end, begun, weighted, at, ring, 0, size)
            elif begun % len(ring) == 0:
                weigh(t, end, ring, sample, low, high, m, spikes, taps)
            else:
                weigh(t, end, rows, sample, low, high, m, spikes, taps)
                _take(t, end, begun, rows, 0, ring, 0, size)
            blocks.forward(begun + t, begun + end, state, ring, 0, u, 0, fired, 0, size, neurons)
            _give(t, end, begun, fired, 0, out, at, size)


@compiled
def _conv_pool(
    first: int,
    last: int,
    m: Maps,
    begun: int,
    tiles: Tiles,
    spikes: Where,
    taps: Any,
    weighted: Any,
    held: Held,
    pooled: Held,
    out: Any,
    neurons: Block,
    after: Block,
) -> None:
    width, pooled_width, lines = m.columns * m.outputs, tiles.columns * m.outputs, -(-m.rows // tiles.height)
    rows, u = np.empty((CHUNK, m.together * width), taps.dtype), np.empty((1, m.together * width), taps.dtype)
    for block in range(first, last):
        sample, low, high = rows_of(block, m)
        at, size = (sample * m.rows + low) * width, (high - low) * width
        pooled_at = (sample * lines + low // tiles.height) * pooled_width
        pooled_size = -(-(high - low) // tiles.height) * pooled_width
        state, ring, fired = held.state[block], held.ring[block], held.fired[block]
        pooled_state, pooled_ring, pooled_fired = pooled.state[block], pooled.ring[block], pooled.fired[block]
        if begun == 0:
            begin(state, at, size, neurons)
            begin(pooled_state, pooled_at, pooled_size, after)
        for t in range(0, m.steps, CHUNK):
            end = min(t + CHUNK, m.steps)
            if len(weighted):
                _take(t, end, begun, weighted, at, ring, 0, size)
            elif begun % len(ring) == 0:
                weigh(t, end, ring, sample, low, high, m, spikes, taps)
            else:
                weigh(t, end, rows, sample, low, high, m, spikes, taps)
                _take(t, end, begun, rows, 0, ring, 0, size)
            since, until = begun + t, begun + end
            blocks.forward(since, until, state, ring, 0, u, 0, fired, 0, size, neurons)
            _pool(since, until, fired, pooled_ring, low, high, m, tiles)
            blocks.forward(since, until, pooled_state, pooled_ring, 0, u, 0, pooled_fired, 0, pooled_size, after)
            _give(t, end, begun, pooled_fired, 0, out, pooled_at, pooled_size)


class StreamedConv:
    """A convolution and its neurons, then pooling and its neurons if any, called with chunks (T, N, H, W, C).

    Args:
        weight: (kh, kw, C, outputs), float32 if there is pooling.
        window: the window of the convolution.
        response: the spike response of the neurons after the convolution.
        spiking: their threshold and refractory response.
        pooling: windows that tile the map, and the neurons after them; None for no pooling.
    """

    def __init__(
        self,
        weight: Array,
        window: Window,
        response: Any,
        spiking: Spiking | StepSpiking,
        pooling: Pooling | None = None,
    ) -> None:
        self._weight, self._window, self._pooling = weight, window, pooling
        self._taps = conv_spikes.taps_in_runs(weight, window)
        self._kinds = [(response, spiking)] if pooling is None else [(response, spiking), pooling[2:]]
        self._neurons: list[Block] = []
        self._steps = 0
        self._held: list[Held] | None = None

    def __call__(self, x: Array) -> Array:
        if x.ndim != 5:
            raise ValueError(f"x must be (T, N, H, W, C), got shape {x.shape}")
        if x.shape[4] != self._weight.shape[2]:
            raise ValueError(f"x has {x.shape[4]} channels, weight expects {self._weight.shape[2]}")
        steps, samples, window = len(x), x.shape[1], self._window
        frames = x.reshape(steps * samples, *x.shape[2:])
        numbers = x.dtype != bool
        found = find_spikes(np.zeros(frames.shape, bool) if numbers else frames)
        weighted = conv(frames, self._weight, window, 1) if numbers else self._weight[:0]
        m = conv_spikes.maps(found, 1, self._weight.shape[3], window)._replace(steps=steps, samples=samples)
        places = m.rows, m.columns
        pooling: tuple[Any, ...] = ()
        if self._pooling is not None:
            m = conv_spikes.pooled_maps(m, self._pooling.window.kernel[0])
            tiles = _tiles(m, self._pooling, self._weight.dtype)
            places, pooling = (-(-m.rows // tiles.height), tiles.columns), (tiles,)
        if self._held is None:
            widths = [m.together * m.width]
            if pooling:
                widths.append(m.together // tiles.height * tiles.columns * m.outputs)
            image, like = (m.rows, m.columns, m.outputs), self._weight
            made = list[Block]()
            for (response, spiking), maps in zip(self._kinds, (image, (*places, m.outputs)), strict=False):
                given = placed(response, spiking, like, maps)
                made.append(forward_of(like.dtype, _ENDLESS, given, spiking))
            self._neurons = made
            sizes = zip(self._neurons, widths, strict=True)
            self._held = [Held.of(each, m.blocks, width, self._weight.dtype) for each, width in sizes]
        out = np.empty((steps, samples, *places, m.outputs), bool)
        spikes = out.view(np.uint8).reshape(steps, math.prod(out.shape[1:]))
        flat = weighted.reshape(-1, m.neurons or 1)
        arguments = (
            *pooling,
            where(found, window, m.outputs, self._weight.dtype),
            self._taps,
            flat,
            *self._held,
            spikes,
            *self._neurons,
        )
        parallel_for(_conv_pool if pooling else _conv, m.blocks, m, self._steps, *arguments, grain=1)
        self._steps += steps
        return out
