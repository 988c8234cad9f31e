"""Networks: sequences of layers, the paper's notation, the fusion plan of a forward pass, and hooks."""

from cuslayer.network.network import Network, Sequential
from cuslayer.network.notation import Word

__all__ = ["Network", "Sequential", "Word"]
