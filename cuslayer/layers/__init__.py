"""Layers: operations with their weights, one a file."""

from cuslayer.layers.base import Layer, WeightHook
from cuslayer.layers.conv import Conv
from cuslayer.layers.dense import Dense
from cuslayer.layers.dropout import Dropout
from cuslayer.layers.pool import Pool

__all__ = ["Conv", "Dense", "Dropout", "Layer", "Pool", "WeightHook"]
