"""Neurons of every kind over time on the CPU: twins of `scan.cuh`.

The loops run over blocks of columns; see `cuslayer/_base/parallel.py`. The states, constants and other rows of a block
lie one after the other in one array. `blocks.py` has the scan of a block.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer._base.jit import compiled
from cuslayer._base.parallel import BLOCK, GRAIN, columns, parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import add_row, copy, scratch, scratch_rows
from cuslayer.kernels.host.states import load_states, store_states
from cuslayer.kernels.scan import blocks
from cuslayer.kernels.scan.blocks import Block, backward_of, begin, forward_of, load_saved, padded
from cuslayer.kernels.step.derive import StepSpiking

# Steps that are buffered before their results overwrite them: inputs forward, gradients backward.
_CHUNK = 16
# An index that is no literal: Numba would compile a function once more for a literal.
_ZERO: Any = np.int64(0)


@compiled
def _forward(
    first: int, last: int, states: Array, inputs: Array, u: Array, s: Array, saved: Array, overwrite: bool, b: Block
) -> None:
    distance = padded(min(BLOCK, last - first))
    steps = len(u)
    memory = scratch(b.rows * distance, u)
    ring = scratch_rows(b.history + _CHUNK, distance if overwrite else 0, u)
    at_saved = b.at + len(b.constants)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        width = high - low
        begin(memory, low, width, b)
        load_states(memory, states, low, width)
        if overwrite:
            for t in range(0, steps, _CHUNK):
                end = min(t + _CHUNK, steps)
                for k in range(t, end):
                    copy(ring[k % len(ring), :width], inputs[0, k, low:high])
                blocks.forward(t, end, memory, ring, _ZERO, u, low, s, low, width, b)
        elif len(inputs) == 1 and len(saved) == 0:
            blocks.forward(_ZERO, steps, memory, inputs[0], low, u, low, s, low, width, b)
        else:
            for t in range(steps):
                for i in range(1, len(inputs)):
                    place = (at_saved + len(saved) + i - 1) * width
                    copy(memory[place : place + width], inputs[i, t, low:high])
                blocks.forward(t, t + 1, memory, inputs[0], low, u, low, s, low, width, b)
                for i in range(len(saved)):
                    place = (at_saved + i) * width
                    copy(saved[i, t, low:high], memory[place : place + width])
        store_states(states, memory, low, width)


def forward(
    inputs: Array,
    constants: Array,
    spiking: StepSpiking,
    states: Array | None = None,
    saves: tuple[str, ...] = (),
    *,
    overwrite: bool = False,
) -> tuple[Array, Array, Array]:
    """Return the potential u and the spikes s, both (T, ...), and values for backward, (values, T, ...).

    Args:
        inputs: (inputs, T, ...), the weighted inputs; with a stride of 0, one step that all steps equal.
        constants: (constants, K), constants that differ between neurons: column m has number m % K.
        spiking: the kind of neuron and its other constants.
        states: (states, columns), the states before the first step; the states after the last overwrite them. By
            default 0.
        saves: the names of the values for backward: `StepSpiking.saved`.
        overwrite: whether u overwrites the only input; then there are no values for backward.
    """
    shape = inputs.shape[1:]
    dtype = inputs.dtype
    # Rows of a ring buffer with one row are all the same.
    still = shape[0] > 1 and inputs.strides[1] == 0
    weighted = np.ascontiguousarray(inputs[:, :1] if still else inputs)
    overwrite = overwrite and not still
    u = weighted[0] if overwrite else empty(shape, dtype)
    s = empty(shape if spiking.kind.fires else (shape[0], 0), bool)
    saved = empty((len(saves), *shape), dtype)
    flat = columns(u)
    states = np.empty((0, flat.shape[1]), dtype) if states is None else states
    block = forward_of(dtype, shape[0], constants, spiking, saves)
    parallel_for(
        _forward,
        flat.shape[1],
        states,
        weighted.reshape(*weighted.shape[:2], flat.shape[1]),
        flat,
        columns(s.view(np.uint8)),
        saved.reshape(len(saves), *flat.shape),
        overwrite,
        block,
        grain=GRAIN,
    )
    return u, s, saved


@compiled
def _adjoint(
    first: int,
    last: int,
    g: Array,
    u: Array,
    saved: Array,
    states: Array,
    old: Array,
    later: Array,
    y: Array,
    sums: Array,
    b: Block,
) -> None:
    distance = padded(min(BLOCK, last - first))
    steps = len(g)
    memory = scratch(b.rows * distance, g)
    ring = scratch_rows(max(b.history, 1), distance, g)
    written = scratch_rows(_CHUNK, distance, g)
    inputs = len(y)
    at_inputs = b.rows - inputs + 1
    at_sums = at_inputs - len(sums)
    for low in range(first, last, BLOCK):
        high = min(low + BLOCK, last)
        width = high - low
        begin(memory, low, width, b)
        load_states(memory, later, low, width)
        if b.history:
            ring[:] = 0
        for end in range(steps, 0, -_CHUNK):
            t = max(end - _CHUNK, 0)
            if len(saved) == 0 and len(old) == 0 and inputs == 1:
                blocks.backward(t, end, memory, ring, _ZERO, g, low, u, low, written, _ZERO, width, b)
            else:
                for k in range(end - 1, t - 1, -1):
                    load_saved(memory, width, k, low, u, saved, states, old, b)
                    blocks.backward(k, k + 1, memory, ring, _ZERO, g, low, u, low, written, _ZERO, width, b)
                    for i in range(1, inputs):
                        place = (at_inputs + i - 1) * width
                        copy(y[i, k, low:high], memory[place : place + width])
            for k in range(t, end):
                if y.shape[1] == steps:
                    copy(y[0, k, low:high], written[k % _CHUNK, :width])
                else:
                    add_row(y[0, 0, low:high], written[k % _CHUNK, :width])
        store_states(later, memory, low, width)
        store_states(sums, memory[at_sums * width :], low, width)


def adjoint(
    g: Array,
    u: Array,
    kept: Array,
    constants: Array,
    spiking: StepSpiking,
    states: Array | None = None,
    trained: bool = False,
    later: Array | None = None,
    *,
    overwrite: bool = False,
    still: bool = False,
) -> tuple[Array, Array]:
    """Return the gradients of the inputs, (inputs, T, ...), and of the constants by column, (constants, columns).

    Args:
        g: (T, ...), the gradient of the spikes.
        u: the potential.
        kept: the values that `forward` has saved.
        constants: see `forward`.
        spiking: the kind of neuron, its other constants, and the surrogate.
        states: the states before the first step; by default 0.
        trained: whether to compute the gradients of the constants; else there are none.
        later: the gradients of the states after the last step; the gradients before the first overwrite them. By
            default 0.
        overwrite: whether the gradient of the only input may overwrite u.
        still: whether all steps have the same input; the gradient of it is (1, 1, ...), the sum over the steps.
    """
    kind = spiking.kind
    flat = columns(np.ascontiguousarray(g))
    potential = columns(np.ascontiguousarray(u))
    count = len(kind.inputs)
    old = np.array(spiking.old(trained), np.int64)
    in_place = overwrite and count == 1 and not old.size
    if still:
        y = np.zeros((1, 1, flat.shape[1]), g.dtype)
    else:
        y = potential[None] if in_place else empty((count, *flat.shape), g.dtype)
    sums = np.empty((len(kind.columns) if trained else 0, flat.shape[1]), g.dtype)
    nothing = np.empty((0, flat.shape[1]), g.dtype)
    if states is None:
        states = np.zeros((len(kind.states), flat.shape[1]), g.dtype) if old.size else nothing
    parallel_for(
        _adjoint,
        flat.shape[1],
        flat,
        potential,
        kept.reshape(len(kept), *flat.shape),
        states,
        old,
        nothing if later is None else later,
        y,
        sums,
        backward_of(g.dtype, len(g), constants, spiking, trained),
        grain=GRAIN,
    )
    return y.reshape(*y.shape[:2], *g.shape[1:]), sums
