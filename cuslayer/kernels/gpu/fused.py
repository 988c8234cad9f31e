"""The passes that the CPU makes in one; here each is several, as matrix products are CuPy's."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.geometry import Window


def synapse_input(x: Array) -> Array:
    """Return what a dense or convolutional layer reads x as: x itself, spikes being cast a block at a time."""
    return x


def fused_conv(x: Array, window: Window, groups: int) -> None:
    """Return None: here a convolution is a matrix product, and its neurons are a pass of their own."""


def fused_conv_pool(x: Array, window: Window, groups: int, pool: Window) -> None:
    """Return None, as `fused_conv` does."""


def fused_dense(x: Array) -> None:
    """Return None, as `fused_conv` does."""
