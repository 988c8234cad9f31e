"""Networks: layers in a row, the paper's notation, the plan of what runs in one pass, and hooks on a pass."""

from cuslayer.network.network import Network, Sequential
from cuslayer.network.notation import Word

__all__ = ["Network", "Sequential", "Word"]
