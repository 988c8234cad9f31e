"""Launchers of `pool_neuron.cu` and `pool_neuron_adjoint.cu`: pooling of packed spikes and its neurons in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer import kernels
from cuslayer.backend import Array, DType
from cuslayer.kernels.constants import Window
from cuslayer.kernels.cuda.images import (
    WARPS,
    image_of,
    map_of,
    new_potentials,
    new_spikes,
    stored_potential,
    struct_of,
)
from cuslayer.kernels.cuda.launch import contiguous, empty
from cuslayer.kernels.float16 import gpu as float16
from cuslayer.kernels.scan.gpu import adjoint_constants, forward_constants, kernel_for, stored_values
from cuslayer.kernels.spikes.gpu import packed
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.synapse.pool import gpu as pool

__all__ = ["pool_neuron", "pool_neuron_adjoint"]


def pool_neuron(
    x: PackedSpikes | Array,
    steps: int,
    window: Window,
    gain: float,
    constants: Array,
    spiking: StepSpiking,
    keep: DType,
) -> tuple[Array, PackedSpikes]:
    """Return the potential u (steps, neurons of all samples) and the spikes (frames, rows, columns, C), in float32."""
    x, dtype = packed(x), np.dtype(np.float32)
    rows, columns = window.outputs(x.shape[-3:-1], ceil=True)
    s = new_spikes(x, (rows, columns, x.shape[-1]))
    samples, out_words = x.frames // max(steps, 1), s.words.shape[2]
    kept = new_potentials(x.words, dtype, steps, s.size // max(steps, 1), keep)
    kernel_for("pool_neuron", dtype, spiking).launch(
        (-(-samples * rows * out_words // WARPS),),
        (WORD, WARPS),
        x=x.words,
        u=kept.real,
        half=kept.half,
        s=s.words,
        steps=steps,
        samples=samples,
        keep=kept.keep,
        pool_gain=dtype.type(gain),
        image=image_of(x),
        map=map_of(s),
        window=struct_of(window),
        **forward_constants(constants, spiking, dtype, steps),
    )
    return kept.u, s


def pool_neuron_adjoint(
    g: Array,
    u: Array,
    steps: int,
    window: Window,
    gain: Any,
    image: tuple[int, int],
    constants: Array,
    spiking: StepSpiking,
) -> Array:
    """Return the gradient (frames, H, W, C) of the input of a pooling layer; one pass if the windows tile the image."""
    channels, dtype = g.shape[-1], g.dtype
    frames = g.shape[0]
    if not window.tiles:
        by_steps = (steps, g.size // max(steps, 1))
        potential = u if u.dtype == dtype else float16.load(u, dtype)
        errors = spiking.fire_adjoint(kernels.gpu, g.reshape(by_steps), potential.reshape(by_steps), constants)
        return pool.adjoint(errors.reshape(g.shape), image, window, gain)
    x = empty(g, (frames, *image, channels), dtype)
    kernel_for("pool_neuron_adjoint", dtype, spiking)(
        g.size // max(steps, 1),
        g=contiguous(g),
        **stored_potential(u, dtype),
        again=empty(g, g.shape if stored_values(spiking) else (0,), dtype),
        x=x,
        steps=steps,
        samples=frames // max(steps, 1),
        image=image_of(x),
        tile_h=window.kernel[0],
        tile_w=window.kernel[1],
        pool_gain=dtype.type(gain),
        exact=spiking.exact,
        **adjoint_constants(constants, spiking, dtype, steps),
    )
    return x
