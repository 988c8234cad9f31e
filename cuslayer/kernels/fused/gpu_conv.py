"""Launchers of `conv_neuron.cu` and `conv_pool.cu`: a convolution of packed spikes and what follows it in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Pooling, Spiking, Window
from cuslayer.kernels.cuda.images import blocks, geometry, image, new_potentials, new_spikes
from cuslayer.kernels.cuda.launch import TILE, contiguous, zeros
from cuslayer.kernels.fused.neurons import cut_of, forward_constants, kernel_for, same_kind
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes

__all__ = ["conv_neuron", "conv_pool"]

# The largest cut of the refractory response for which spikes are in a register: REGISTER_STEPS of packed_neuron.cuh.
_REGISTER_STEPS = 64
# Positions of a pooling window: a warp each, and one for the pooled neurons, in a block of at most 512 threads.
_MOST_POSITIONS = 15


def conv_neuron(
    x: PackedSpikes,
    steps: int,
    w: Array,
    window: Window,
    groups: int,
    response: Alpha | Array,
    spiking: Spiking | StepSpiking,
    keep: Any,
) -> tuple[Array, PackedSpikes]:
    """Return the potential u (steps, neurons of all samples) and the spikes (frames, rows, columns, outputs)."""
    rows, columns = window.outputs(x.shape[-3:-1], ceil=False)
    s = new_spikes(x, (rows, columns, w.shape[3]))
    kept = new_potentials(w, w.dtype, steps, s.size // max(steps, 1), keep)
    rows_of_inputs = input_rows(cut_of(response, w.dtype, steps), steps)
    found = blocks(w.nbytes, [count * WORD * w.dtype.itemsize for count in rows_of_inputs])
    samples, out_words = x.frames // max(steps, 1), s.words.shape[2]
    kernel_for("conv_neuron", w.dtype, spiking).launch(
        (-(-samples * rows * out_words // found.groups),),
        (WORD, found.groups),
        found.shared,
        x=x.words,
        w=contiguous(w),
        u=kept.real,
        half=kept.half,
        s=s.words,
        steps=steps,
        samples=samples,
        rows=rows,
        out_columns=columns,
        outputs=w.shape[3],
        out_words=out_words,
        groups=groups,
        in_shared=found.weights,
        input_ring=found.option < len(rows_of_inputs) - 1,
        input_rows=rows_of_inputs[found.option],
        keep=kept.keep,
        **image(x),
        **geometry(window),
        **forward_constants(response, spiking, w.dtype, steps, w),
    )
    return kept.u, s


def input_rows(cut: int, steps: int) -> list[int]:
    """Return the rows of a ring buffer of inputs, and the rows without one: inputs that enter, and those that leave."""
    return ([_batches(cut) + TILE] if cut < steps else []) + [2 * TILE]


def _batches(steps: int) -> int:
    """Return a number of steps, rounded up to whole batches."""
    return -(-steps // TILE) * TILE


def conv_pool(
    x: PackedSpikes,
    steps: int,
    w: Array,
    window: Window,
    groups: int,
    response: Alpha | Array,
    spiking: Spiking | StepSpiking,
    pooling: Pooling,
    keep: Any,
) -> tuple[Array, Array, PackedSpikes]:
    """Return the potentials before and after pooling, and the spikes (frames, rows, columns, outputs) after it."""
    rows, columns = window.outputs(x.shape[-3:-1], ceil=False)
    outputs, (tile_h, tile_w) = w.shape[3], pooling.window.kernel
    s = new_spikes(x, (-(-rows // tile_h), -(-columns // tile_w), outputs))
    samples, (_, pooled_rows, out_words) = x.frames // max(steps, 1), s.words.shape
    kept = new_potentials(w, w.dtype, steps, samples * rows * columns * outputs, keep)
    pooled = new_potentials(w, w.dtype, steps, s.size // max(steps, 1), keep)
    constants = forward_constants(response, spiking, w.dtype, steps, w)
    pooled_constants = forward_constants(pooling.response, pooling.spiking, w.dtype, steps, w)
    cut, pooled_cut = (cut_of(of, w.dtype, steps) for of in (response, pooling.response))
    ref_cut = steps if isinstance(spiking, StepSpiking) else cut_of(spiking.refractory, w.dtype, steps)
    tile, ring_steps = tile_h * tile_w, _ring_steps(steps, pooled_cut, ref_cut)
    words = samples * pooled_rows * out_words
    rows_of_inputs = input_rows(cut, steps)
    inputs, ring = [tile * count * WORD * w.dtype.itemsize for count in rows_of_inputs], 4 * tile * ring_steps
    # Ring buffers of spikes are in memory only if they are too long for shared memory.
    found = blocks(w.nbytes, [size + ring for size in inputs] + inputs[-1:], tile + 1)
    ring_in_shared, option = found.option < len(inputs), min(found.option, len(inputs) - 1)
    kernel_for("conv_pool", w.dtype, spiking).launch(
        (-(-words // found.groups),),
        (WORD, tile + 1, found.groups),
        found.shared,
        x=x.words,
        w=contiguous(w),
        u=kept.real,
        half=kept.half,
        pooled_u=pooled.real,
        pooled_half=pooled.half,
        s=s.words,
        ring=zeros(w, (0 if ring_in_shared else words, ring_steps, tile), np.uint32),
        steps=steps,
        samples=samples,
        rows=rows,
        out_columns=columns,
        outputs=outputs,
        groups=groups,
        tile_h=tile_h,
        tile_w=tile_w,
        pooled_rows=pooled_rows,
        pooled_columns=s.shape[2],
        out_words=out_words,
        ring_steps=ring_steps,
        in_shared=found.weights,
        input_ring=option < len(inputs) - 1,
        input_rows=rows_of_inputs[option],
        ring_in_shared=ring_in_shared,
        keep=kept.keep,
        pool_gain=w.dtype.type(pooling.gain),
        **image(x),
        **geometry(window),
        **constants,
        pooled=pooled_constants.pop("neurons"),
        **{f"pooled_{name}": value for name, value in pooled_constants.items()},
    )
    return kept.u, pooled.u, s


def pools_in_one_pass(pooling: Pooling, spiking: Spiking | StepSpiking) -> bool:
    """Return whether `conv_pool` takes windows, side by side, of at most 15 positions, and two layers of a kind."""
    (rows, columns), tiles = pooling.window.kernel, pooling.window.tiles
    return tiles and rows * columns <= _MOST_POSITIONS and same_kind(spiking, pooling.spiking)


def _ring_steps(steps: int, cut: int, ref_cut: int) -> int:
    """Return the steps of the ring buffer of spikes: those that are read later, and two batches."""
    read = max(cut if cut < steps else 0, ref_cut if _REGISTER_STEPS < ref_cut < steps else 0)
    return _batches(read) + 2 * TILE
