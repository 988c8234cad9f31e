"""The functional interface: NumPy's operations on tensors, and those of layers, neurons and losses."""

from cuslayer.array_functions.elementwise import (
    abs,
    absolute,
    add,
    astype,
    clip,
    divide,
    equal,
    exp,
    greater,
    greater_equal,
    less,
    less_equal,
    log,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    maximum,
    minimum,
    multiply,
    negative,
    not_equal,
    power,
    sigmoid,
    sqrt,
    square,
    subtract,
    tanh,
    where,
)
from cuslayer.array_functions.products import dot, einsum, matmul, tensordot
from cuslayer.array_functions.reductions import all, any, argmax, argmin, cumsum, max, mean, min, softmax, std, sum, var
from cuslayer.array_functions.shapes import (
    concatenate,
    copy,
    expand_dims,
    from_dlpack,
    moveaxis,
    ravel,
    reshape,
    squeeze,
    stack,
    swapaxes,
    transpose,
)
from cuslayer.encoding import replicate
from cuslayer.layers.affine import leaky_integral
from cuslayer.layers.conv import conv, conv_transpose
from cuslayer.layers.delay import shift
from cuslayer.layers.dense import dense
from cuslayer.layers.filter_bank import filter_bank, fir
from cuslayer.layers.fused import conv_neuron, conv_pool, dense_neuron, pool_neuron
from cuslayer.layers.pool import pool, unpool, weighted_pool, weighted_unpool
from cuslayer.layers.recurrent import recurrent
from cuslayer.layers.weight_hooks import quantize, weight_norm
from cuslayer.layers.weightless import decimate, dropout, k_winners
from cuslayer.loss.classification import cross_entropy, moving_count
from cuslayer.loss.cross_entropy import binary_cross_entropy
from cuslayer.loss.spike_count import spike_count_error
from cuslayer.loss.spike_time import spike_time_error
from cuslayer.network.join import join, on_gradient
from cuslayer.network.synaptic import synaptic_operations
from cuslayer.neurons.adaptive_lif import adaptive
from cuslayer.neurons.leaky import leaky
from cuslayer.neurons.loihi import loihi
from cuslayer.neurons.resonate_and_fire import resonate
from cuslayer.neurons.response import psp
from cuslayer.neurons.sampled_srm import sampled_spike
from cuslayer.neurons.sigma_delta import sigma_delta
from cuslayer.neurons.srm import neuron, spike

__all__ = [
    "abs",
    "absolute",
    "adaptive",
    "add",
    "all",
    "any",
    "argmax",
    "argmin",
    "astype",
    "binary_cross_entropy",
    "clip",
    "concatenate",
    "conv",
    "conv_neuron",
    "conv_pool",
    "conv_transpose",
    "copy",
    "cross_entropy",
    "cumsum",
    "decimate",
    "dense",
    "dense_neuron",
    "divide",
    "dot",
    "dropout",
    "einsum",
    "equal",
    "exp",
    "expand_dims",
    "filter_bank",
    "fir",
    "from_dlpack",
    "greater",
    "greater_equal",
    "join",
    "k_winners",
    "leaky",
    "leaky_integral",
    "less",
    "less_equal",
    "log",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "loihi",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "moveaxis",
    "moving_count",
    "multiply",
    "negative",
    "neuron",
    "not_equal",
    "on_gradient",
    "pool",
    "pool_neuron",
    "power",
    "psp",
    "quantize",
    "ravel",
    "recurrent",
    "replicate",
    "reshape",
    "resonate",
    "sampled_spike",
    "shift",
    "sigma_delta",
    "sigmoid",
    "softmax",
    "spike",
    "spike_count_error",
    "spike_time_error",
    "sqrt",
    "square",
    "squeeze",
    "stack",
    "std",
    "subtract",
    "sum",
    "swapaxes",
    "synaptic_operations",
    "tanh",
    "tensordot",
    "transpose",
    "unpool",
    "var",
    "weight_norm",
    "weighted_pool",
    "weighted_unpool",
    "where",
]
