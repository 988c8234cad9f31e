"""Convolution on a GPU: matrix products of patches."""

from cuslayer.kernels.matrix import conv as forward
from cuslayer.kernels.matrix import conv_input_adjoint as input_adjoint
from cuslayer.kernels.matrix import conv_weight_adjoint as weight_adjoint

__all__ = ["forward", "input_adjoint", "weight_adjoint"]
