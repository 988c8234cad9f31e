"""Sum pooling on a GPU: `pool.cu` for packed spikes, sums of shifted views for numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels import matrix
from cuslayer.kernels.constants import Window
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.images import WARPS, geometry, image
from cuslayer.kernels.cuda.launch import TILE, contiguous, empty
from cuslayer.kernels.matrix import pool_weight_adjoint as weight_adjoint
from cuslayer.kernels.matrix import weighted_pool, weighted_pool_adjoint
from cuslayer.kernels.spikes.gpu import synapse_input
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes, words_of

__all__ = ["adjoint", "forward", "weight_adjoint", "weighted_pool", "weighted_pool_adjoint"]


def forward(x: PackedSpikes | Array, window: Window, gain: Any) -> Array:
    """Sum each window of x (frames, H, W, C) channel by channel, times gain; spikes count as float32."""
    x = synapse_input(x)
    if not isinstance(x, PackedSpikes):
        return matrix.pool(x, window, gain)
    dtype = np.dtype(np.float32)
    rows, columns = window.outputs(x.shape[-3:-1], ceil=True)
    y = empty(x.words, (x.frames, rows, columns, x.shape[-1]), dtype)
    warps = -(-x.frames // TILE) * rows * words_of(columns * x.shape[-1])
    kernel("pool", dtype).launch(
        (-(-warps // WARPS),),
        (WORD, WARPS),
        x=x.words,
        y=y,
        frames=x.frames,
        rows=rows,
        out_columns=columns,
        gain=dtype.type(gain),
        **image(x),
        **geometry(window),
    )
    return y


def adjoint(g: Array, image: tuple[int, int], window: Window, gain: Any) -> Array:
    """Return the gradient of an image (H, W): for each pixel, gain times the sum of its windows' gradients."""
    frames, rows, columns, channels = g.shape
    x = empty(g, (frames, *image, channels), g.dtype)
    kernel("pool_adjoint", g.dtype)(
        x.size,
        g=contiguous(g),
        x=x,
        frames=frames,
        height=image[0],
        columns=image[1],
        channels=channels,
        rows=rows,
        out_columns=columns,
        gain=g.dtype.type(gain),
        **geometry(window),
    )
    return x
