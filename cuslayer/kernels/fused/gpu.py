"""The passes that the CPU makes in one; here each is several, as matrix products are CuPy's."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window

__all__ = ["conv_kernels", "conv_pool_kernels", "dense_kernels"]


def conv_kernels(x: Array, window: Window, groups: int) -> None:
    """Return None: here a convolution is a matrix product, and its neurons are a pass of their own."""


def conv_pool_kernels(x: Array, window: Window, groups: int, pool: Window) -> None:
    """Return None, as `conv_kernels` does."""


def dense_kernels(x: Array) -> None:
    """Return None, as `conv_kernels` does."""
