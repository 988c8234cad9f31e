"""Sum pooling on a GPU: `pool.cu` for packed spikes, sums of shifted views for numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels import matrix
from cuslayer.kernels.constants import Window
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.images import WARPS, geometry, image
from cuslayer.kernels.cuda.launch import TILE, empty
from cuslayer.kernels.matrix import pool_adjoint as adjoint
from cuslayer.kernels.matrix import pool_weight_adjoint as weight_adjoint
from cuslayer.kernels.matrix import weighted_pool, weighted_pool_adjoint
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes, words_of

__all__ = ["adjoint", "forward", "weight_adjoint", "weighted_pool", "weighted_pool_adjoint"]


def forward(x: PackedSpikes | Array, window: Window, gain: Any) -> Array:
    """Sum each window of x (frames, H, W, C) channel by channel, times gain; spikes count as float32."""
    if not isinstance(x, PackedSpikes):
        return matrix.pool(x, window, gain)
    dtype = np.dtype(np.float32)
    rows, columns = window.outputs("pool", x.shape[-3:-1], ceil=True)
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
