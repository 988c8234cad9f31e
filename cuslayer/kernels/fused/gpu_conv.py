"""Launchers of `conv_neuron.cu` and `conv_pool.cu`: a convolution of packed spikes and what follows it in one pass."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Pooling, Spiking, Window
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.images import MOST, fits, geometry, image, lanes, new_potentials, new_spikes, warps_of_block
from cuslayer.kernels.cuda.launch import TILE, contiguous, neuron_constants, zeros
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes

__all__ = ["conv_neuron", "conv_pool"]

# The largest cut of the refractory response for which spikes are in a register: REGISTER_STEPS of packed_neuron.cuh.
_REGISTER_STEPS = 64


def conv_neuron(
    x: PackedSpikes,
    steps: int,
    w: Array,
    window: Window,
    groups: int,
    response: Alpha,
    spiking: Spiking,
    keep: Any,
) -> tuple[Array, PackedSpikes]:
    """Return the potential u (steps, neurons of all samples) and the spikes (frames, rows, columns, outputs).

    Args:
        x: (frames, H, W, C), the frames of all samples at a step one after the other.
        steps: the number of steps of the frames.
        w: (kh, kw, C / groups, outputs).
        window: any.
        groups: the number of groups of channels.
        response: the spike response.
        spiking: threshold and refractory response.
        keep: the type in which u is saved, w's or float16; None for an empty u.
    """
    rows, columns = window.outputs("conv", x.shape[-3:-1], ceil=False)
    s = new_spikes(x, (rows, columns, w.shape[3]))
    kept = new_potentials(w, w.dtype, steps, s.size // max(steps, 1), keep)
    in_shared = fits(w.nbytes)
    shared = w.nbytes if in_shared else 0
    block = lanes(warps_of_block(shared))
    samples, out_words = x.frames // max(steps, 1), s.words.shape[2]
    kernel("conv_neuron", w.dtype).launch(
        (-(-samples * rows * out_words // block[1]),),
        block,
        shared,
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
        in_shared=in_shared,
        keep=kept.keep,
        **image(x),
        **geometry(window),
        **neuron_constants(w.dtype, steps, response, spiking),
    )
    return kept.u, s


def conv_pool(
    x: PackedSpikes,
    steps: int,
    w: Array,
    window: Window,
    groups: int,
    response: Alpha,
    spiking: Spiking,
    pooling: Pooling,
    keep: Any,
) -> tuple[Array, Array, PackedSpikes]:
    """Return the potentials before and after pooling, and the spikes (frames, rows, columns, outputs) after it.

    Args:
        x: see `conv_neuron`, as for all arguments but the next.
        steps: the number of steps.
        w: the weights.
        window: the window of the convolution.
        groups: the number of groups of channels.
        response: the spike response of the neurons before pooling.
        spiking: their threshold and refractory response.
        pooling: windows that tile the map (`pools_in_one_pass`), their gain, and the neurons after pooling.
        keep: the type in which the potentials are saved.
    """
    rows, columns = window.outputs("conv", x.shape[-3:-1], ceil=False)
    outputs, (tile_h, tile_w) = w.shape[3], pooling.window.kernel
    s = new_spikes(x, (-(-rows // tile_h), -(-columns // tile_w), outputs))
    samples, (_, pooled_rows, out_words) = x.frames // max(steps, 1), s.words.shape
    kept = new_potentials(w, w.dtype, steps, samples * rows * columns * outputs, keep)
    pooled = new_potentials(w, w.dtype, steps, s.size // max(steps, 1), keep)
    constants = neuron_constants(w.dtype, steps, response, spiking)
    constants |= neuron_constants(w.dtype, steps, pooling.response, pooling.spiking, "pooled_")
    tile, ring_steps = tile_h * tile_w, _ring_steps(steps, constants)
    in_shared, ring_in_shared, block_words = _blocks(w.nbytes, tile, 4 * tile * ring_steps)
    words = samples * pooled_rows * out_words
    kernel("conv_pool", w.dtype).launch(
        (-(-words // block_words),),
        (WORD, tile + 1, block_words),
        in_shared * w.nbytes + ring_in_shared * block_words * 4 * tile * ring_steps,
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
        in_shared=in_shared,
        ring_in_shared=ring_in_shared,
        keep=kept.keep,
        pool_gain=w.dtype.type(pooling.gain),
        **image(x),
        **geometry(window),
        **constants,
    )
    return kept.u, pooled.u, s


def pools_in_one_pass(pool: Window) -> bool:
    """Return whether `conv_pool` takes a pooling window: windows side by side, of at most MOST numbers."""
    tiles = pool.stride == pool.kernel and pool.padding == (0, 0) and pool.dilation == (1, 1)
    return tiles and pool.kernel[0] * pool.kernel[1] <= MOST


def _ring_steps(steps: int, constants: Mapping[str, Any]) -> int:
    """Return the steps of the ring buffer, a multiple of TILE: those that are read later, and two batches."""
    cut, ref_cut = constants["pooled_cut"], constants["ref_cut"]
    read = max(cut if cut < steps else 0, ref_cut if _REGISTER_STEPS < ref_cut < steps else 0)
    return -(-read // TILE) * TILE + 2 * TILE


def _blocks(weights: int, tile: int, ring: int) -> tuple[bool, bool, int]:
    """Return whether weights and rings are in shared memory, and the words of spikes that a block computes.

    Args:
        weights: the bytes of the weights.
        tile: the positions of a pooling window.
        ring: the bytes of a ring buffer.
    """
    ring_in_shared = fits(ring)
    rings = ring if ring_in_shared else 0
    in_shared = fits(weights + rings)
    shared = in_shared * weights
    words = max(1, warps_of_block(shared + rings) // (tile + 1))
    while words > 1 and not fits(shared + words * rings):
        words -= 1
    return in_shared, ring_in_shared, words
