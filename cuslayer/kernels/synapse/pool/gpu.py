"""Sum pooling on a GPU: `pool.cu`."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.images import WARPS, places
from cuslayer.kernels.cuda.launch import TILE, contiguous, empty
from cuslayer.kernels.spikes.gpu import synapse_input
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes, words_of
from cuslayer.kernels.synapse.matrix import pool_weight_adjoint as weight_adjoint
from cuslayer.kernels.synapse.matrix import weighted_pool, weighted_pool_adjoint

__all__ = ["adjoint", "forward", "weight_adjoint", "weighted_pool", "weighted_pool_adjoint"]


def forward(x: PackedSpikes | Array, window: Window, gain: Any) -> Array:
    """Sum each window of x (frames, H, W, C) channel by channel, times gain; spikes count as float32."""
    x = synapse_input(x)
    *image, channels = x.shape[-3:]
    frames = x.frames if isinstance(x, PackedSpikes) else len(x)
    source = x.words if isinstance(x, PackedSpikes) else contiguous(x)
    dtype = np.dtype(np.float32) if isinstance(x, PackedSpikes) else x.dtype
    y = empty(source, (frames, *window.outputs(tuple(image), ceil=True), channels), dtype)
    arguments = {"x": source, "y": y, "gain": dtype.type(gain), **places(x, y, window)}
    if isinstance(x, PackedSpikes):
        warps = -(-frames // TILE) * y.shape[1] * words_of(y.shape[2] * channels)
        kernel("pool", dtype).launch((-(-warps // WARPS),), (WORD, WARPS), **arguments)
    else:
        kernel("pool_numbers", dtype)(y.size, **arguments)
    return y


def adjoint(g: Array, image: tuple[int, int], window: Window, gain: Any) -> Array:
    """Return the gradient of an image (H, W): for each pixel, gain times the sum of its windows' gradients."""
    x = empty(g, (len(g), *image, g.shape[3]), g.dtype)
    gain = g.dtype.type(gain)
    kernel("pool_adjoint", g.dtype)(x.size, g=contiguous(g), x=x, gain=gain, **places(x, g, window))
    return x
