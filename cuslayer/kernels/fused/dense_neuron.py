"""A dense layer of spikes and its neurons in one pass on the CPU, for inference.

A block, some neurons of several samples, is computed for all time in chunks, so that its memory does not grow with
time. The results are those of `dense` and `neuron` to the bit. Training does not gain from it: the weighted input is
read as often as it is written, and backward a separate `dense.weight_adjoint` is faster.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.kernels.conv.spikes import CHUNK
from cuslayer.kernels.dense.cpu import forward, gather, has_busy_rows
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.tiles import copy
from cuslayer.kernels.spikes.cpu import SpikeList
from cuslayer.kernels.srm.cpu import forward_block, forward_constants, neuron, padded

# Outputs of a block, whose weights fit in the second-level cache, and neurons of a block, of several samples.
_WIDTH = 256
_TOGETHER = 1024


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
    x: SpikeList, steps: int, w: Array, response: Alpha, spiking: Spiking, keep: None = None
) -> tuple[Array, Array]:
    """Return no potentials and the spikes (rows, outputs) of a dense layer, x (rows, inputs), w (inputs, outputs).

    The rows are those of all samples at a step, one after the other, for each of the steps. Where rows are busy,
    the layer and the neurons are two passes.
    """
    if has_busy_rows(x, w):
        weighted = forward(x, w).reshape(steps, -1)
        return w[:0], neuron(weighted, response, spiking, overwrite=True)[1].reshape(x.shape[0], w.shape[1])
    w, outputs, samples = np.ascontiguousarray(w), w.shape[1], x.shape[0] // max(steps, 1)
    width = max(1, min(_WIDTH, outputs))
    b = Blocks(steps, samples, outputs, width, max(1, min(_TOGETHER // width, samples)))
    s = empty((x.shape[0], outputs), bool)
    constants = forward_constants(w.dtype, steps, response, spiking)
    blocks = -(-outputs // width) * -(-samples // b.together)
    parallel_for(_forward, blocks, b, x.start, x.index, w, s.view(np.uint8), constants, grain=1)
    return w[:0], s
