"""Transposed convolution on a GPU: the adjoint of a convolution, for spikes as numbers."""

from __future__ import annotations

from typing import Any

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.spikes.gpu import unpack
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.kernels.synapse import matrix
from cuslayer.kernels.synapse.conv.gpu import input_adjoint

__all__ = ["forward", "weight_adjoint"]


def forward(x: PackedSpikes | Array, w: Array, image: tuple[int, int], window: Window, groups: int) -> Array:
    """Return the transposed convolution (frames, H, W, outputs) of x; see the twin in `cpu.py`."""
    return input_adjoint(_numbers(x, w.dtype), w, image, window, groups)


def weight_adjoint(x: PackedSpikes | Array, g: Array, window: Window, groups: int) -> Array:
    """Return the gradient (kh, kw, outputs / groups, C) of the weight, x like the input, g like the output."""
    return matrix.conv_weight_adjoint(g, _numbers(x, g.dtype), window, groups)


def _numbers(x: PackedSpikes | Array, dtype: Any) -> Array:
    numbers = unpack(x) if isinstance(x, PackedSpikes) else x
    return numbers.astype(dtype, copy=False)
