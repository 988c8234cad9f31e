"""Transposed convolution on a GPU: matrix products of patches."""

from cuslayer.kernels.matrix import conv_transpose as forward
from cuslayer.kernels.matrix import conv_transpose_weight_adjoint as weight_adjoint

__all__ = ["forward", "weight_adjoint"]
