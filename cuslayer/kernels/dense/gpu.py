"""The dense layer on a GPU: matrix products."""

from cuslayer.kernels.matrix import dense as forward
from cuslayer.kernels.matrix import dense_input_adjoint as input_adjoint
from cuslayer.kernels.matrix import dense_weight_adjoint as weight_adjoint

__all__ = ["forward", "input_adjoint", "weight_adjoint"]
