"""Convolution on a GPU: matrix products of patches."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels import matrix
from cuslayer.kernels.constants import Window
from cuslayer.kernels.matrix import conv as forward
from cuslayer.kernels.matrix import conv_input_adjoint as input_adjoint

__all__ = ["forward", "input_adjoint", "weight_adjoint"]


def weight_adjoint(x: Array, g: Array, window: Window, groups: int, steps: int = 1) -> Array:
    """Return the gradient (kh, kw, C / groups, outputs) of the weight; a matrix product, whatever the steps."""
    return matrix.conv_weight_adjoint(x, g, window, groups)
