"""Transposed convolution on a GPU: matrix products of patches."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels import matrix
from cuslayer.kernels.constants import Window
from cuslayer.kernels.spikes.gpu import unpacked
from cuslayer.kernels.spikes.packed import PackedSpikes

__all__ = ["forward", "weight_adjoint"]


def forward(x: PackedSpikes | Array, w: Array, image: tuple[int, int], window: Window, groups: int) -> Array:
    """Return the transposed convolution of x (frames, H, W, C) on an image; see `matrix.conv_transpose`."""
    return matrix.conv_transpose(unpacked(x), w, image, window, groups)


def weight_adjoint(x: PackedSpikes | Array, g: Array, window: Window, groups: int) -> Array:
    """Return the gradient of the weight; see `matrix.conv_transpose_weight_adjoint`."""
    return matrix.conv_transpose_weight_adjoint(unpacked(x), g, window, groups)
