"""A dense layer of spikes and its neurons in one pass on the CPU.

A block, some neurons of several samples, is computed for all time in chunks: the weighted input is never written to
memory, and without gradients memory does not grow with time. The results are those of `dense` and `neuron` to the bit.
Backward, the gradient that a narrow next layer sends is computed chunk by chunk, and never written either. The gradient
of the weights is a pass of its own, which is faster.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer import kernels
from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.kernels.conv.spikes import CHUNK
from cuslayer.kernels.dense.cpu import forward, gather, has_busy_rows
from cuslayer.kernels.dense.product import Product, narrow
from cuslayer.kernels.fused.two_passes import fire, fire_adjoint
from cuslayer.kernels.host.memory import empty, is_large
from cuslayer.kernels.host.rows import copy, fence, scratch, scratch_rows, write_row
from cuslayer.kernels.host.vectors import multiply
from cuslayer.kernels.neuron import blocks
from cuslayer.kernels.neuron.blocks import Block, backward_of, begin, forward_of
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.spikes.cpu import SpikeList
from cuslayer.kernels.srm.cpu import padded

# Neurons of a block: enough for SIMD, few enough for the second-level cache and, of a small layer, for the threads.
_LEAST, _MOST, _PARTS = 128, 512, 8


class Blocks(NamedTuple):
    """The neurons of all samples as blocks: `width` neurons of `together` samples."""

    steps: int
    samples: int
    outputs: int
    width: int
    together: int


def blocks_of(steps: int, samples: int, outputs: int) -> tuple[Blocks, int]:
    """Return the blocks of neurons, and their number. A block of several samples has all of their neurons."""
    width = max(1, min(outputs, _MOST, max(_LEAST, -(-samples * outputs // _PARTS))))
    together = max(1, min(_MOST // width, samples)) if width == outputs else 1
    return Blocks(steps, samples, outputs, width, together), -(-outputs // width) * -(-samples // together)


@compiled
def _forward(
    first: int, last: int, b: Blocks, start: Any, index: Any, w: Any, u: Any, s: Any, neurons: Block, large: bool
) -> None:
    """Write the spikes s (rows, outputs) of blocks, and the potentials u if there is memory for them."""
    groups, most = -(-b.samples // b.together), padded(b.width * b.together)
    x, potential = scratch_rows(neurons.history + CHUNK, most, w), scratch_rows(CHUNK if u.size else 1, most, w)
    ring, table = x.reshape(-1), w.reshape(-1)
    fired = scratch_rows(neurons.spikes + CHUNK, most, s)
    memory = np.empty(neurons.rows * most, w.dtype)
    for block in range(first, last):
        at, low = block // groups * b.width, block % groups * b.together
        size, count = min(b.width, b.outputs - at), min(b.together, b.samples - low)
        begin(memory, low * b.outputs + at, count * size, neurons)
        for t in range(0, b.steps, CHUNK):
            end = min(t + CHUNK, b.steps)
            for k in range(t, end):
                for i in range(count):
                    row = k * b.samples + low + i
                    to = k % len(x) * most + i * size
                    gather(ring, to, size, start[row], start[row + 1], index, table, at, b.outputs)
            blocks.forward(t, end, memory, x, 0, potential, 0, fired, 0, count * size, neurons)
            for k in range(t, end):
                for i in range(count):
                    row = k * b.samples + low + i
                    copy(s[row, at : at + size], fired[k % len(fired), i * size : (i + 1) * size])
                    if u.size:
                        write_row(u[row, at : at + size], potential[k - t, i * size : (i + 1) * size], large)
    fence()


def dense_neuron(
    x: SpikeList, steps: int, w: Array, response: Alpha | Array, spiking: Spiking | StepSpiking, keep: Any = None
) -> tuple[Array, Array]:
    """Return the potentials and the spikes (rows, outputs) of a dense layer, x (rows, inputs), w (inputs, outputs).

    The rows are those of all samples at a step, one after the other, for each of the steps. There are no potentials if
    `keep` is None. Where rows are busy, the layer and the neurons are two passes. Of neurons that are written as a
    step, `response` is their constants; see `blocks.py`.
    """
    w, shape = np.ascontiguousarray(w), (x.shape[0], w.shape[1])
    if has_busy_rows(x, w):
        weighted = forward(x, w).reshape(steps, shape[0] // max(steps, 1) * shape[1])
        u, s = (each.reshape(shape) for each in fire(kernels.cpu, weighted, response, spiking))
        return w[:0] if keep is None else u, s
    b, count = blocks_of(steps, shape[0] // max(steps, 1), shape[1])
    u, s = w[:0] if keep is None else empty(shape, w.dtype), empty(shape, bool)
    neurons = forward_of(w.dtype, steps, response, spiking)
    spikes = b, x.start, x.index, w, u, s.view(np.uint8)
    parallel_for(_forward, count, *spikes, neurons, is_large(u), grain=1)
    return u, s


@compiled
def _backward(first: int, last: int, b: Blocks, errors: Any, w: Any, u: Any, neurons: Block) -> None:
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
            blocks.backward(t, end, memory, ring, g, 0, u, to, rows, 0, wide, neurons)
            for k in range(t, end):
                copy(u[k, to : to + wide], rows[k - t, :wide])


def dense_neuron_adjoint(
    g: Array | Product, u: Array, steps: int, response: Alpha | Array, spiking: Spiking | StepSpiking, exact: bool
) -> Array:
    """Return the gradient (rows, outputs) of the weighted input of a dense layer; u is overwritten.

    Args:
        g: the gradient of the spikes (rows, outputs), or the product that it is.
        u: the potentials (rows, outputs).
        steps: time steps.
        response: the spike response of the neurons; see `dense_neuron`.
        spiking: their threshold, refractory response and surrogate.
        exact: whether the gradient goes through the refractory response.
    """
    rows, outputs = u.shape
    samples, g = rows // max(steps, 1), narrow(g)
    flat = u.reshape(steps, samples * outputs)
    if exact or not isinstance(g, Product) or g.dtype != u.dtype:
        given = g.materialize() if isinstance(g, Product) else g
        given = given.astype(u.dtype, copy=False).reshape(flat.shape)
        return fire_adjoint(kernels.cpu, given, flat, response, spiking, exact).reshape(u.shape)
    b, count = blocks_of(steps, samples, outputs)
    arrays = np.ascontiguousarray(g.errors).reshape(-1), np.ascontiguousarray(g.weight.T), flat
    parallel_for(_backward, count, b, *arrays, backward_of(u.dtype, steps, response, spiking), grain=1)
    return u
