"""Differentiable operations, one a file: each forward faces its backward."""

from cuslayer.functions.conv import conv
from cuslayer.functions.conv_neuron import conv_neuron
from cuslayer.functions.conv_pool import conv_pool
from cuslayer.functions.count import spike_count_error
from cuslayer.functions.dense import dense
from cuslayer.functions.dense_neuron import dense_neuron
from cuslayer.functions.distance import spike_time_error
from cuslayer.functions.dropout import dropout
from cuslayer.functions.neuron import neuron
from cuslayer.functions.pool import pool
from cuslayer.functions.psp import psp
from cuslayer.functions.shift import shift
from cuslayer.functions.spike import spike

__all__ = [
    "conv",
    "conv_neuron",
    "conv_pool",
    "dense",
    "dense_neuron",
    "dropout",
    "neuron",
    "pool",
    "psp",
    "shift",
    "spike",
    "spike_count_error",
    "spike_time_error",
]
