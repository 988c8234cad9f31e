"""Differentiable operations, one a file: each forward faces its backward."""

from cuslayer.functions.conv import conv
from cuslayer.functions.conv_neuron import conv_neuron
from cuslayer.functions.conv_pool import conv_pool
from cuslayer.functions.conv_transpose import conv_transpose
from cuslayer.functions.count import spike_count_error
from cuslayer.functions.cross_entropy import cross_entropy
from cuslayer.functions.dense import dense
from cuslayer.functions.dense_neuron import dense_neuron
from cuslayer.functions.distance import spike_time_error
from cuslayer.functions.dropout import dropout
from cuslayer.functions.filter_bank import filter_bank, fir
from cuslayer.functions.loihi import loihi
from cuslayer.functions.moving_count import moving_count
from cuslayer.functions.neuron import neuron
from cuslayer.functions.pool import pool
from cuslayer.functions.psp import psp
from cuslayer.functions.quantize import quantize
from cuslayer.functions.replicate import replicate
from cuslayer.functions.shift import shift
from cuslayer.functions.spike import spike
from cuslayer.functions.tap import tap
from cuslayer.functions.unpool import unpool
from cuslayer.functions.weight_norm import weight_norm

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
    "loihi",
    "moving_count",
    "neuron",
    "pool",
    "psp",
    "quantize",
    "replicate",
    "shift",
    "spike",
    "spike_count_error",
    "spike_time_error",
    "tap",
    "unpool",
    "weight_norm",
]
