"""Layers with their neurons in one pass on the CPU: which there are, and the pass of a dense layer of spikes.

A thread computes a block, some neurons of several samples, for all time in chunks. It never writes the weighted input
to memory, and without gradients memory does not grow with time. The results equal `dense` and `neuron` to the bit. A
stream runs the same loop: its blocks keep their state from call to call. Backward also computes the gradient from a
narrow next layer chunk by chunk, without writing it. A separate pass computes the gradient of the weights faster.
Convolutions are in `cpu_conv.py`.
"""

from __future__ import annotations

import math
import sys
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from cuslayer import kernels
from cuslayer._base.jit import compiled, parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.constants import Pooling, Product, Window, narrow
from cuslayer.kernels.conv.spikes import CHUNK
from cuslayer.kernels.dense.cpu import forward, gather, prefers_tables
from cuslayer.kernels.fused.cpu_conv import ConvPass, from_blocks, saved_type
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import copy, scratch, scratch_rows
from cuslayer.kernels.host.vectors import multiply
from cuslayer.kernels.neuron import blocks
from cuslayer.kernels.neuron.blocks import ENDLESS, Block, Held, backward_of, begin, forward_of, held_by, padded
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.spikes.cpu import SpikeList, as_bytes, find_spikes, list_row

__all__ = ["conv_kernels", "conv_pool_kernels", "dense_kernels", "from_blocks", "pool_kernels", "saved_type"]

# Neurons of a block: enough for SIMD, few enough for the second-level cache and, in a small layer, for the threads.
_LEAST, _MOST, _PARTS = 128, 512, 8
# In a stream: outputs of a sample, and neurons of all samples.
_WIDTH, _TOGETHER = 256, 1024
# Bins of an input, and steps of neurons, that are less work than waking other threads.
_FEW = 1 << 19
# Stands for the spikes of an input of numbers.
_NO_SPIKES = SpikeList(np.zeros(1, np.int64), np.empty((0, 0), np.uint64), (0, 0, 0, 0))


def conv_kernels(x: SpikeList | Array, window: Window, groups: int, spiking: StepSpiking) -> ConvPass | None:
    """Return the passes of a convolution and its neurons; None for numbers."""
    return ConvPass(groups) if isinstance(x, SpikeList) else None


def conv_pool_kernels(
    x: SpikeList | Array, window: Window, groups: int, pooling: Pooling, spiking: StepSpiking
) -> ConvPass | None:
    """Return the passes of a convolution, its neurons, pooling and its neurons; None without one."""
    return conv_kernels(x, window, groups, spiking) if pooling.window.tiles else None


def dense_kernels(x: SpikeList | Array, spiking: StepSpiking) -> ModuleType | None:
    """Return this module, which runs a dense layer of spikes and its neurons; None for numbers."""
    return sys.modules[__name__] if isinstance(x, SpikeList) else None


def pool_kernels(x: Array, spiking: StepSpiking) -> None:
    """Return None: pooling and its neurons are two passes."""


class ColumnBlocks(NamedTuple):
    """The neurons of all samples as blocks: `width` neurons of `together` samples."""

    steps: int
    samples: int
    outputs: int
    width: int
    together: int

    @property
    def number(self) -> int:
        return -(-self.outputs // self.width) * -(-self.samples // self.together)


def blocks_of(steps: int, samples: int, outputs: int) -> ColumnBlocks:
    """Return the blocks of neurons. A block of several samples has all their neurons."""
    width = max(1, min(outputs, _MOST, max(_LEAST, -(-samples * outputs // _PARTS))))
    together = max(1, min(_MOST // width, samples)) if width == outputs else 1
    return ColumnBlocks(steps, samples, outputs, width, together)


@compiled
def _forward(
    first: int,
    last: int,
    b: ColumnBlocks,
    begun: int,
    start: Any,
    index: Any,
    w: Any,
    weighted: Any,
    held: Held,
    u: Any,
    s: Any,
    neurons: Block,
) -> None:
    """Write the spikes s (steps, neurons) of blocks, from the step `begun` on, and u if there is memory for it."""
    groups, most, goes_on = -(-b.samples // b.together), padded(b.width * b.together), held.memory.size > 0
    own, table = 0 if goes_on else most, w.reshape(-1)
    own_inputs, own_fired = scratch_rows(neurons.history + CHUNK, own, w), scratch_rows(neurons.spikes + CHUNK, own, s)
    own_memory, potential = np.empty(neurons.rows * own, w.dtype), scratch_rows(CHUNK if u.size else 1, most, w)
    for block in range(first, last):
        at, low = block // groups * b.width, block % groups * b.together
        size, count = min(b.width, b.outputs - at), min(b.together, b.samples - low)
        to, wide = low * b.outputs + at, count * size
        memory, x, fired = own_memory, own_inputs, own_fired
        if goes_on:
            memory, x, fired = held.memory[block], held.inputs[block], held.fired[block]
        if begun == 0:
            begin(memory, to, wide, neurons)
        ring, distance = x.reshape(-1), x.shape[1]
        for t in range(0, b.steps, CHUNK):
            end = min(t + CHUNK, b.steps)
            for k in range(t, end):
                row = (begun + k) % len(x)
                if len(weighted):
                    copy(x[row, :wide], weighted[k, to : to + wide])
                else:
                    for i in range(count):
                        line, place = k * b.samples + low + i, row * distance + i * size
                        rows = start[line], start[line + 1]
                        gather(ring, place, size, rows[0], rows[1], index, table, at, b.outputs)
            blocks.forward(begun + t, begun + end, memory, x, 0, potential, 0, fired, 0, wide, neurons)
            for k in range(t, end):
                copy(s[k, to : to + wide], fired[(begun + k) % len(fired), :wide])
                if u.size:
                    copy(u[k, to : to + wide], potential[(begun + k) % len(potential), :wide])


def dense_neuron(
    x: SpikeList, steps: int, w: Array, constants: Array, spiking: StepSpiking, keep: Any = None
) -> tuple[Array, Array]:
    """Return the potentials and the spikes (rows, outputs) of a dense layer, x (rows, inputs), w (inputs, outputs).

    The rows are all samples of a step, one after the other, step by step. Without `keep` there are no potentials. Where
    tables are faster, the layer and the neurons are two passes. `constants` are the neurons' own; see `blocks.py`.
    """
    w, shape = np.ascontiguousarray(w), (x.shape[0], w.shape[1])
    b = blocks_of(steps, shape[0] // max(steps, 1), shape[1])
    flat = steps, b.samples * b.outputs
    if prefers_tables(x, w):
        u, s = (each.reshape(shape) for each in spiking.fire(kernels.cpu, forward(x, w).reshape(flat), constants))
        return w[:0] if keep is None else u, s
    u, s = empty((0, 0) if keep is None else flat, w.dtype), empty(flat, bool)
    neurons = forward_of(w.dtype, steps, constants, spiking)
    spikes = x.start, x.index, w, w[:0], held_by(neurons, 0, 0, CHUNK)
    parallel_for(_forward, b.number, b, 0, *spikes, u, s.view(np.uint8), neurons, grain=1)
    return w[:0] if keep is None else u.reshape(shape), s.reshape(shape)


@compiled
def _backward(first: int, last: int, b: ColumnBlocks, errors: Any, w: Any, u: Any, neurons: Block) -> None:
    """Overwrite the potentials u (steps, neurons) of blocks with the gradients; w (next, outputs)."""
    groups, most, table = -(-b.samples // b.together), padded(b.width * b.together), w.reshape(-1)
    g, rows = scratch_rows(CHUNK, most, u), scratch_rows(CHUNK, most, u)
    spikes, of_step = g.reshape(-1), b.samples * len(w)
    memory, ring = scratch(neurons.rows * most, u), scratch_rows(max(neurons.history, 1), most, u)
    for block in range(first, last):
        at, low = block // groups * b.width, block % groups * b.together
        size, count = min(b.width, b.outputs - at), min(b.together, b.samples - low)
        to, wide = low * b.outputs + at, count * size
        begin(memory, to, wide, neurons)
        ring[:] = 0
        for t in range((b.steps - 1) // CHUNK * CHUNK, -1, -CHUNK):
            end = min(t + CHUNK, b.steps)
            for i in range(count):
                given = errors, t * of_step + (low + i) * len(w), of_step, 1, 0
                multiply(spikes, i * size, most, *given, table, at, b.outputs, 0, len(w), 1, end - t, size)
            blocks.backward(t, end, memory, ring, 0, g, 0, u, to, rows, 0, wide, neurons)
            for k in range(t, end):
                copy(u[k, to : to + wide], rows[k - t, :wide])


def dense_neuron_adjoint(g: Array | Product, u: Array, steps: int, constants: Array, spiking: StepSpiking) -> Array:
    """Return the gradient (rows, outputs) of the weighted input of a dense layer; u is overwritten.

    Args:
        g: the gradient of the spikes (rows, outputs), or a `Product`.
        u: the potentials (rows, outputs).
        steps: time steps.
        constants: the constants that differ between the neurons.
        spiking: their other constants.
    """
    b, g = blocks_of(steps, u.shape[0] // max(steps, 1), u.shape[1]), narrow(g)
    flat = u.reshape(steps, b.samples * b.outputs)
    if not isinstance(g, Product) or g.dtype != u.dtype:
        given = g.materialize() if isinstance(g, Product) else g
        given = given.astype(u.dtype, copy=False).reshape(flat.shape)
        return spiking.fire_adjoint(kernels.cpu, given, flat, constants).reshape(u.shape)
    arrays = np.ascontiguousarray(g.errors).reshape(-1), np.ascontiguousarray(g.weight.T), flat
    parallel_for(_backward, b.number, b, *arrays, backward_of(u.dtype, steps, constants, spiking), grain=1)
    return u


@compiled
def _few(b: ColumnBlocks, count: int, begun: int, x: Any, w: Any, held: Held, s: Any, neurons: Block) -> None:
    """List the spikes and run all blocks, in one call, since a call takes longer than a step of few neurons."""
    start, index, none = np.empty(len(x) + 1, np.int64), np.empty(x.size, np.int32), np.empty((0, 0), w.dtype)
    start[0] = 0
    for row in range(len(x)):
        start[row + 1] = list_row(row, x, index, start[row])
    _forward(0, count, b, begun, start, index, w, none, held, none, s, neurons)


class _Streamed:
    """Neurons that keep their state from call to call."""

    def __init__(self, constants: Any, spiking: StepSpiking, dtype: np.dtype[Any]) -> None:
        self.neurons = forward_of(dtype, ENDLESS, constants, spiking)
        self.dtype = dtype
        self.steps = 0
        self.held: Held | None = None

    def begin(self, steps: int, samples: int, outputs: int) -> tuple[ColumnBlocks, Held, Array, Array]:
        """Return the blocks of a call and their stored states, no potentials, and new spikes (steps, neurons)."""
        width = max(1, min(_WIDTH, outputs))
        b = ColumnBlocks(
            steps, samples, outputs, width, 1 if width < outputs else max(1, min(_TOGETHER // width, samples))
        )
        if self.held is None:
            self.held = held_by(self.neurons, b.number, b.width * b.together, CHUNK)
        return b, self.held, np.empty((0, 0), self.dtype), np.empty((steps, samples * outputs), bool)


class StreamedNeurons:
    """Neurons that run over their weighted input chunk by chunk (T, ...); a call returns its spikes."""

    def __init__(self, constants: Any, spiking: StepSpiking) -> None:
        self._constants = constants, spiking
        self._run: _Streamed | None = None

    def __call__(self, x: Array) -> Array:
        flat = np.ascontiguousarray(x).reshape(len(x), math.prod(x.shape[1:]))
        constants, spiking = self._constants
        if self._run is None:
            self._run = _Streamed(spiking.placed(constants, x, x.shape[2:]), spiking, x.dtype)
        run = self._run
        b, held, none, s = run.begin(len(x), 1, flat.shape[1])
        given = _NO_SPIKES.start, _NO_SPIKES.index, none, flat, held, none, s.view(np.uint8)
        parallel_for(_forward, b.number, b, run.steps, *given, run.neurons, grain=8)
        run.steps += len(x)
        return s.reshape(x.shape)


class StreamedDense(_Streamed):
    """A dense layer (inputs, outputs) and its neurons, called chunk by chunk (T, N, ...); see `dense_neuron`."""

    def __init__(self, weight: Array, constants: Any, spiking: StepSpiking) -> None:
        self._weight = np.ascontiguousarray(weight)
        super().__init__(spiking.placed(constants, weight, (weight.shape[1],)), spiking, weight.dtype)

    def __call__(self, x: Array) -> Array:
        steps, samples, w = len(x), x.shape[1], self._weight
        rows = x.reshape(steps * samples, math.prod(x.shape[2:]))
        if rows.shape[1] != len(w):
            raise ValueError(f"x has {rows.shape[1]} features, weight expects {len(w)}")
        b, held, none, s = self.begin(steps, samples, w.shape[1])
        spikes = s.view(np.uint8)
        if rows.dtype == bool and rows.size + s.size <= _FEW:
            _few(b, b.number, self.steps, as_bytes(rows), w, held, spikes, self.neurons)
        else:
            found: Any = find_spikes(rows) if rows.dtype == bool else _NO_SPIKES
            # Compute the weighted input of rows that share tables before the neurons run.
            apart = found is _NO_SPIKES or prefers_tables(found, w)
            weighted = forward(rows if found is _NO_SPIKES else found, w).reshape(s.shape) if apart else w[:0]
            found = _NO_SPIKES if apart else found
            given = found.start, found.index, w, weighted, held, none, spikes
            parallel_for(_forward, b.number, b, self.steps, *given, self.neurons, grain=1)
        self.steps += steps
        return s.reshape(steps, samples, w.shape[1])
