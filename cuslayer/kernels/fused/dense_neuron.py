"""A dense layer of spikes and its neurons on the CPU: one pass for inference, and the neurons' gradients in training.

A block, some neurons of several samples, is computed for all time in chunks, so that its memory does not grow with
time. The results are those of `dense` and `neuron` to the bit. Training does not gain from it: the weighted input is
read as often as it is written, and backward a separate `dense.weight_adjoint` is faster. But the gradient that a narrow
next layer sends is computed chunk by chunk, and never written to memory.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.kernels.conv.spikes import CHUNK
from cuslayer.kernels.dense.cpu import forward, gather, has_busy_rows
from cuslayer.kernels.dense.product import Product, narrow
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.products import multiply
from cuslayer.kernels.host.tiles import copy, scratch, scratch_rows
from cuslayer.kernels.spikes.cpu import SpikeList
from cuslayer.kernels.srm.cpu import (
    backward_block,
    backward_constants,
    forward_block,
    forward_constants,
    neuron,
    neuron_adjoint,
    neuron_adjoint_exact,
    padded,
)

# Outputs of a block, whose weights fit in the second-level cache, and neurons of a block, of several samples.
_WIDTH = 256
_TOGETHER = 1024
# Neurons of a block backward: enough for SIMD, few enough for the threads.
_LEAST_BACK, _MOST_BACK, _PARTS = 128, 512, 8


class Blocks(NamedTuple):
    """The neurons of all samples as blocks: `width` neurons of `together` samples."""

    steps: int
    samples: int
    outputs: int
    width: int
    together: int


@compiled
def _forward(
    first: int,
    last: int,
    b: Blocks,
    start: Any,
    index: Any,
    w: Any,
    s: Any,
    constants: Any,
) -> None:
    _, f, nu = constants
    groups, most = -(-b.samples // b.together), padded(b.width * b.together)
    x = np.empty((f.cut + CHUNK, most), w.dtype)
    ring, table, u = x.reshape(-1), w.reshape(-1), np.empty((1, most), w.dtype)
    fired = np.empty((nu.cut + CHUNK, most), np.uint8)
    state = np.empty(4 * most, w.dtype)
    for block in range(first, last):
        at, low = block // groups * b.width, block % groups * b.together
        size, count = min(b.width, b.outputs - at), min(b.together, b.samples - low)
        state[:] = 0
        for t in range(0, b.steps, CHUNK):
            end = min(t + CHUNK, b.steps)
            for k in range(t, end):
                for i in range(count):
                    row = k * b.samples + low + i
                    to = k % len(x) * most + i * size
                    gather(ring, to, size, start[row], start[row + 1], index, table, at, b.outputs)
            forward_block(t, end, state, x, 0, u, 0, fired, 0, count * size, constants)
            for k in range(t, end):
                for i in range(count):
                    row = k * b.samples + low + i
                    copy(s[row, at : at + size], fired[k % len(fired), i * size : (i + 1) * size])


def dense_neuron(
    x: SpikeList, steps: int, w: Array, response: Alpha, spiking: Spiking, keep: Any = None
) -> tuple[Array, Array]:
    """Return the potentials and the spikes (rows, outputs) of a dense layer, x (rows, inputs), w (inputs, outputs).

    The rows are those of all samples at a step, one after the other, for each of the steps. If `keep` is None, there
    are no potentials. Where they are kept or rows are busy, the layer and the neurons are two passes.
    """
    if keep is not None or has_busy_rows(x, w):
        weighted = forward(x, w)
        u, s = neuron(weighted.reshape(steps, weighted.size // max(steps, 1)), response, spiking, overwrite=True)
        return w[:0] if keep is None else u.reshape(weighted.shape), s.reshape(weighted.shape)
    w, outputs, samples = np.ascontiguousarray(w), w.shape[1], x.shape[0] // max(steps, 1)
    width = max(1, min(_WIDTH, outputs))
    b = Blocks(steps, samples, outputs, width, max(1, min(_TOGETHER // width, samples)))
    s = empty((x.shape[0], outputs), bool)
    constants = forward_constants(w.dtype, steps, response, spiking)
    blocks = -(-outputs // width) * -(-samples // b.together)
    parallel_for(_forward, blocks, b, x.start, x.index, w, s.view(np.uint8), constants, grain=1)
    return w[:0], s


@compiled
def _backward(first: int, last: int, b: Blocks, errors: Any, w: Any, u: Any, constants: Any) -> None:
    """Overwrite the potentials u (steps, neurons) of blocks with the gradients; w (next, outputs)."""
    _, _, _, f = constants
    groups, most, table = -(-b.samples // b.together), padded(b.width * b.together), w.reshape(-1)
    g, rows = scratch_rows(CHUNK, most, u), scratch_rows(CHUNK, most, u)
    spikes, of_step = g.reshape(-1), b.samples * len(w)
    for block in range(first, last):
        at, low = block // groups * b.width, block % groups * b.together
        size, count = min(b.width, b.outputs - at), min(b.together, b.samples - low)
        to, wide = low * b.outputs + at, count * size
        state, ring = scratch(2 * padded(wide), u), scratch_rows(max(f.cut, 1), padded(wide), u)
        for t in range((b.steps - 1) // CHUNK * CHUNK, -1, -CHUNK):
            end = min(t + CHUNK, b.steps)
            for i in range(count):
                given = errors, t * of_step + (low + i) * len(w), of_step, 1, 0
                multiply(spikes, i * size, most, *given, table, at, b.outputs, 0, len(w), 1, end - t, size)
            backward_block(t, end, state, ring, g, 0, u, to, rows, 0, wide, constants)
            for k in range(t, end):
                copy(u[k, to : to + wide], rows[k - t, :wide])


def dense_neuron_adjoint(
    g: Array | Product, u: Array, steps: int, response: Alpha, spiking: Spiking, exact: bool
) -> Array:
    """Return the gradient (rows, outputs) of the weighted input of a dense layer; u is overwritten.

    Args:
        g: the gradient of the spikes (rows, outputs), or the product that it is.
        u: the potentials (rows, outputs).
        steps: time steps.
        response: the spike response of the neurons.
        spiking: their threshold, refractory response and surrogate.
        exact: whether the gradient goes through the refractory response.
    """
    rows, outputs = u.shape
    samples, g = rows // max(steps, 1), narrow(g)
    flat = u.reshape(steps, samples * outputs)
    if exact or not isinstance(g, Product) or g.dtype != u.dtype:
        given = g.materialize() if isinstance(g, Product) else g
        adjoint = neuron_adjoint_exact if exact else neuron_adjoint
        given = given.astype(u.dtype, copy=False).reshape(flat.shape)
        return adjoint(given, flat, response, spiking, overwrite=True).reshape(u.shape)
    width = max(1, min(outputs, _MOST_BACK, max(_LEAST_BACK, -(-flat.shape[1] // _PARTS))))
    # A block of several samples has all of their neurons, which lie together.
    together = max(1, min(_MOST_BACK // width, samples)) if width == outputs else 1
    b = Blocks(steps, samples, outputs, width, together)
    blocks = -(-outputs // width) * -(-samples // together)
    arrays = np.ascontiguousarray(g.errors).reshape(-1), np.ascontiguousarray(g.weight.T), flat
    parallel_for(_backward, blocks, b, *arrays, backward_constants(u.dtype, steps, response, spiking), grain=1)
    return u
