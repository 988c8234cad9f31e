"""Launcher of `pool_neuron.cu`: pooling of packed spikes and its neurons in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Spiking, Window
from cuslayer.kernels.cuda.images import WARPS, geometry, image, new_potentials, new_spikes
from cuslayer.kernels.fused.gpu_pool_adjoint import pool_neuron_adjoint
from cuslayer.kernels.fused.neurons import forward_constants, kernel_for
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.spikes.gpu import packed
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes

__all__ = ["pool_neuron", "pool_neuron_adjoint"]


def pool_neuron(
    x: PackedSpikes | Array,
    steps: int,
    window: Window,
    gain: Any,
    response: Alpha | Array,
    spiking: Spiking | StepSpiking,
    keep: Any,
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
        rows=rows,
        out_columns=columns,
        out_words=out_words,
        keep=kept.keep,
        pool_gain=dtype.type(gain),
        **image(x),
        **geometry(window),
        **forward_constants(response, spiking, dtype, steps, x.words),
    )
    return kept.u, s
