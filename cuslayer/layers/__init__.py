"""Layers: each operation with its backward and its class, one kind per file."""

from cuslayer.layers.base import Layer, WeightHook
from cuslayer.layers.batch_norm import BatchNorm
from cuslayer.layers.conv import Conv, ConvTranspose
from cuslayer.layers.count_pool import CountMaxPool
from cuslayer.layers.delay import Delay, Shift
from cuslayer.layers.dense import Dense, ReadOut
from cuslayer.layers.filter_bank import FilterBank, TemporalFilter
from cuslayer.layers.first_step import FirstStep
from cuslayer.layers.pool import AvgPool, GlobalAvgPool, MaxPool, SumPool, Unpool
from cuslayer.layers.rectifier import QuantizedReLU, ReLU
from cuslayer.layers.recurrent import Recurrent
from cuslayer.layers.synaptic_delay import SynapticDelays
from cuslayer.layers.weight_hooks import IntegerWeight, WeightNorm
from cuslayer.layers.weightless import Average, Decimate, Dropout, KWinners

__all__ = [
    "Average",
    "AvgPool",
    "BatchNorm",
    "Conv",
    "ConvTranspose",
    "CountMaxPool",
    "Decimate",
    "Delay",
    "Dense",
    "Dropout",
    "FilterBank",
    "FirstStep",
    "GlobalAvgPool",
    "IntegerWeight",
    "KWinners",
    "Layer",
    "MaxPool",
    "QuantizedReLU",
    "ReLU",
    "ReadOut",
    "Recurrent",
    "Shift",
    "SumPool",
    "SynapticDelays",
    "TemporalFilter",
    "Unpool",
    "WeightHook",
    "WeightNorm",
]
