"""Sum pooling on a GPU: sums of shifted views."""

from cuslayer.kernels.matrix import pool as forward
from cuslayer.kernels.matrix import pool_adjoint as adjoint

__all__ = ["adjoint", "forward"]
