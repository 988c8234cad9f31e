"""The GPU's kernels: launchers of the CUDA sources, and matrix products, under the names of `kernels.cpu`.

Time loops take one thread a column; dense, convolution and pooling are CuPy's products and sums.
"""

from cuslayer.kernels.gpu.delay import shift_delay_adjoint, shift_linear
from cuslayer.kernels.gpu.filter_bank import filter_bank, filter_bank_adjoint, filter_bank_weight_adjoint
from cuslayer.kernels.gpu.fused import fused_conv, fused_conv_pool, fused_dense, synapse_input
from cuslayer.kernels.gpu.half import halved, restored
from cuslayer.kernels.gpu.loihi import loihi, loihi_adjoint
from cuslayer.kernels.gpu.neuron import (
    neuron,
    neuron_adjoint,
    neuron_adjoint_exact,
    spike,
    spike_adjoint,
    spike_adjoint_exact,
)
from cuslayer.kernels.gpu.optim import adam, sgd
from cuslayer.kernels.gpu.response import fir, fir_adjoint, psp, psp_adjoint, shift, shift_spikes
from cuslayer.kernels.matrix import (
    conv,
    conv_input_adjoint,
    conv_transpose,
    conv_transpose_weight_adjoint,
    conv_weight_adjoint,
    dense,
    dense_input_adjoint,
    dense_weight_adjoint,
    pool,
    pool_adjoint,
)

__all__ = [
    "adam",
    "conv",
    "conv_input_adjoint",
    "conv_transpose",
    "conv_transpose_weight_adjoint",
    "conv_weight_adjoint",
    "dense",
    "dense_input_adjoint",
    "dense_weight_adjoint",
    "filter_bank",
    "filter_bank_adjoint",
    "filter_bank_weight_adjoint",
    "fir",
    "fir_adjoint",
    "fused_conv",
    "fused_conv_pool",
    "fused_dense",
    "halved",
    "loihi",
    "loihi_adjoint",
    "neuron",
    "neuron_adjoint",
    "neuron_adjoint_exact",
    "pool",
    "pool_adjoint",
    "psp",
    "psp_adjoint",
    "restored",
    "sgd",
    "shift",
    "shift_delay_adjoint",
    "shift_linear",
    "shift_spikes",
    "spike",
    "spike_adjoint",
    "spike_adjoint_exact",
    "synapse_input",
]
