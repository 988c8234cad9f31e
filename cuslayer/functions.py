"""The functional interface: all differentiable operations. Each is defined in the file of its layer, neuron or loss."""

from cuslayer.encoding import replicate
from cuslayer.layers.conv import conv
from cuslayer.layers.conv_transpose import conv_transpose
from cuslayer.layers.delay import shift
from cuslayer.layers.dense import dense
from cuslayer.layers.dropout import dropout
from cuslayer.layers.filter_bank import filter_bank, fir
from cuslayer.layers.fused import conv_neuron, conv_pool, dense_neuron
from cuslayer.layers.pool import pool, unpool
from cuslayer.layers.weight_hooks import quantize, weight_norm
from cuslayer.loss.classification import cross_entropy, moving_count
from cuslayer.loss.spike_count import spike_count_error
from cuslayer.loss.spike_time import spike_time_error
from cuslayer.network.hooks import on_gradient
from cuslayer.network.join import join
from cuslayer.neurons.loihi import loihi
from cuslayer.neurons.response import psp
from cuslayer.neurons.srm import neuron, spike

__all__ = [
    "conv",
    "conv_neuron",
    "conv_pool",
    "conv_transpose",
    "cross_entropy",
    "dense",
    "dense_neuron",
    "dropout",
    "filter_bank",
    "fir",
    "join",
    "loihi",
    "moving_count",
    "neuron",
    "on_gradient",
    "pool",
    "psp",
    "quantize",
    "replicate",
    "shift",
    "spike",
    "spike_count_error",
    "spike_time_error",
    "unpool",
    "weight_norm",
]
