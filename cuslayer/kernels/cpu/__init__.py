"""The CPU's kernels: Numba loops, each the twin of a CUDA kernel or of a matrix product."""

from cuslayer.kernels.cpu.conv import conv, conv_input_adjoint, conv_weight_adjoint
from cuslayer.kernels.cpu.conv_transpose import conv_transpose, conv_transpose_weight_adjoint
from cuslayer.kernels.cpu.delay import shift_delay_adjoint, shift_linear
from cuslayer.kernels.cpu.dense import dense, dense_input_adjoint, dense_weight_adjoint
from cuslayer.kernels.cpu.events import synapse_input
from cuslayer.kernels.cpu.filter_bank import filter_bank, filter_bank_adjoint, filter_bank_weight_adjoint
from cuslayer.kernels.cpu.fused import fused_conv, fused_conv_pool, fused_dense
from cuslayer.kernels.cpu.half import halved, restored
from cuslayer.kernels.cpu.loihi import loihi, loihi_adjoint
from cuslayer.kernels.cpu.neuron import neuron, neuron_adjoint, neuron_adjoint_exact
from cuslayer.kernels.cpu.optim import adam, sgd
from cuslayer.kernels.cpu.pool import pool, pool_adjoint
from cuslayer.kernels.cpu.response import fir, fir_adjoint, psp, psp_adjoint, shift, shift_spikes
from cuslayer.kernels.cpu.spike import spike, spike_adjoint, spike_adjoint_exact

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
