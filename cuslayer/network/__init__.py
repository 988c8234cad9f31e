"""Networks: sequences of layers, parallel branches, the paper's notation, the fusion plan, and hooks."""

from cuslayer.network.network import Parallel, Residual, Sequential
from cuslayer.network.notation import Network, Word
from cuslayer.network.online.rule import Online as Online
from cuslayer.network.synaptic import SparsityLoss as SparsityLoss

__all__ = ["Network", "Parallel", "Residual", "Sequential", "Word"]
