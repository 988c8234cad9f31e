"""The GPU has no fused passes: matrix products are CuPy's, so each layer and its neurons are separate passes."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window

__all__ = ["conv_kernels", "conv_pool_kernels", "dense_kernels"]


def conv_kernels(x: Array, window: Window, groups: int) -> None:
    """Return None: a convolution is a matrix product, and its neurons are a separate pass."""


def conv_pool_kernels(x: Array, window: Window, groups: int, pool: Window) -> None:
    """Return None, as `conv_kernels` does."""


def dense_kernels(x: Array) -> None:
    """Return None, as `conv_kernels` does."""
