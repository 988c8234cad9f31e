"""Networks: sequences of layers, parallel branches, the paper's notation, the fusion plan, and hooks."""

from cuslayer.network.network import Network, Parallel, Sequential
from cuslayer.network.notation import Word

__all__ = ["Network", "Parallel", "Sequential", "Word"]
