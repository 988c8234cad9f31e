"""Sum pooling on a GPU: sums of shifted views."""

from cuslayer.kernels.matrix import pool as forward
from cuslayer.kernels.matrix import pool_adjoint as adjoint
from cuslayer.kernels.matrix import pool_weight_adjoint as weight_adjoint
from cuslayer.kernels.matrix import weighted_pool, weighted_pool_adjoint

__all__ = ["adjoint", "forward", "weight_adjoint", "weighted_pool", "weighted_pool_adjoint"]
