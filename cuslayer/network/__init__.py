"""Networks: sequences of layers, parallel branches, the paper's notation, the fusion plan, and hooks."""

from cuslayer.network.network import Network, Sequential
from cuslayer.network.notation import Word
from cuslayer.network.parallel import Parallel

__all__ = ["Network", "Parallel", "Sequential", "Word"]
