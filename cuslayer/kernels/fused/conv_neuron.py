"""A convolution of spikes and its neurons in one pass on the CPU, forward and backward.

A block, a few rows of a map, is computed for all time before the next: its weighted input, and backward the gradient of
it, are used while they are in the cache, and need not be written to memory. The results are those of `conv` and
`neuron` to the bit. `conv_pool.py` adds a pooling layer.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Alpha, Spiking, Window
from cuslayer.kernels.conv import spikes as conv_spikes
from cuslayer.kernels.conv import weight_sums
from cuslayer.kernels.conv.spikes import CHUNK, Maps, Where, rows_of, weigh, where
from cuslayer.kernels.conv.weight_sums import PARTS, Order, order_of, room
from cuslayer.kernels.host.llvm import run
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import scratch, scratch_rows
from cuslayer.kernels.neuron import blocks
from cuslayer.kernels.neuron.blocks import Block, backward_of, begin, forward_of
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.spikes.cpu import SpikeList
from cuslayer.kernels.srm.cpu import padded


def new_potentials(shape: tuple[int, int, int], keep: bool, dtype: Any) -> Array:
    """Return an array for potentials of a type, without elements unless they are kept."""
    return empty(shape if keep else (0, 0, 0), dtype)


@compiled
def _forward(first: int, last: int, m: Maps, spikes: Where, taps: Any, u: Any, s: Any, neurons: Block) -> None:
    width = m.columns * m.outputs
    distance = padded(m.together * width)
    x = scratch_rows(neurons.history + CHUNK, distance, taps)
    passing = scratch_rows(CHUNK, 0 if u.size else distance, taps)
    memory = scratch(neurons.rows * distance, taps)
    for block in range(first, last):
        sample, low, high = rows_of(block, m)
        at, size = (sample * m.rows + low) * width, (high - low) * width
        potential = u[block] if u.size else passing
        begin(memory, at, size, neurons)
        for t in range(0, m.steps, CHUNK):
            end = min(t + CHUNK, m.steps)
            weigh(t, end, x, sample, low, high, m, spikes, taps)
            blocks.forward(t, end, memory, x, 0, potential, 0, s, at, size, neurons)


@compiled
def _backward(
    first: int,
    last: int,
    parts_at: Any,
    m: Maps,
    spikes: Where,
    order: Order,
    taps: Any,
    g: Any,
    u: Any,
    y: Any,
    neurons: Block,
) -> None:
    width = m.columns * m.outputs
    distance = padded(m.together * width)
    passing = scratch_rows(CHUNK, 0 if y.size else distance, g)
    memory, ring = scratch(neurons.rows * distance, g), scratch_rows(max(neurons.history, 1), distance, g)
    given = room(m, spikes, order, g)
    for part in range(first, last):
        for block in range(parts_at[part], parts_at[part + 1]):
            sample, low, high = rows_of(block, m)
            at, size = (sample * m.rows + low) * width, (high - low) * width
            errors, y_at = (y, at) if y.size else (passing, 0)
            begin(memory, at, size, neurons)
            ring[:] = 0
            for end in range(m.steps, 0, -CHUNK):
                t = max(end - CHUNK, 0)
                blocks.backward(t, end, memory, ring, g, at, u[block], 0, errors, y_at, size, neurons)
                run(order.adding, (t, end, errors, y_at, sample, low, high, m, spikes, order, given, taps[part]))


def conv_neuron(
    x: SpikeList,
    steps: int,
    w: Array,
    window: Window,
    groups: int,
    response: Alpha | Array,
    spiking: Spiking | StepSpiking,
    keep: Any,
) -> tuple[Array, Array]:
    """Return the potential u and the spikes s (frames, rows, columns, outputs).

    u is for backward, block by block: (blocks, steps, numbers of a block). In the layout of s, the rows of a block
    would lie at distances of a power of two, where caches and memory are slow.

    Args:
        x: (frames, H, W, C), the frames of all samples at a step one after the other.
        steps: the number of steps of the frames.
        w: (kh, kw, C / groups, outputs).
        window: the window.
        groups: the number of groups of channels.
        response: the spike response; of neurons that are written as a step, their constants: see `blocks.py`.
        spiking: threshold and refractory response.
        keep: None for an empty u.
    """
    m = conv_spikes.maps(x, steps, w.shape[3], window)
    u = new_potentials(m.kept, keep is not None, w.dtype)
    s = empty((steps, m.neurons), bool)
    arrays = (conv_spikes.taps_in_runs(w, window, groups), u, s.view(np.uint8))
    neurons = forward_of(w.dtype, steps, response, spiking)
    parallel_for(_forward, m.blocks, m, where(x, window, m.outputs, w.dtype, groups), *arrays, neurons, grain=1)
    return u, s.reshape(x.shape[0], m.rows, m.columns, m.outputs)


def conv_neuron_adjoint(
    x: SpikeList,
    steps: int,
    g: Array,
    u: Array,
    window: Window,
    groups: int,
    response: Alpha | Array,
    spiking: Spiking | StepSpiking,
    keep: bool,
) -> tuple[Array | None, Array]:
    """Return the gradients of the weighted input, None without `keep`, and of the weights.

    g is the gradient of the spikes, and u the potential that `conv_neuron` returns; see there.
    """
    m = conv_spikes.maps(x, steps, g.shape[3], window)
    y = empty((steps, m.neurons) if keep else (0, 0), g.dtype)
    parts = weight_sums.new_parts(x, m, window, groups, g.dtype)
    spikes = where(x, window, m.outputs, g.dtype, groups), order_of(x, m, window, groups, g.dtype)
    arrays = (*spikes, parts, np.ascontiguousarray(g).reshape(steps, m.neurons), u, y)
    neurons = backward_of(g.dtype, steps, response, spiking)
    parallel_for(_backward, PARTS, weight_sums.bounds(m.blocks), m, *arrays, neurons, grain=1)
    return y.reshape(g.shape) if keep else None, weight_sums.of_runs(parts.sum(axis=0), window, m.outputs, groups)
