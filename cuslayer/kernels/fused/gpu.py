"""Decide which layers, neurons and pooling layers run in one pass on a GPU: those whose input is packed spikes."""

from __future__ import annotations

from types import ModuleType

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.fused import gpu_conv, gpu_pool
from cuslayer.kernels.spikes.packed import PackedSpikes

__all__ = ["conv_kernels", "conv_pool_kernels", "dense_kernels", "pool_kernels"]


def conv_kernels(x: PackedSpikes | Array, window: Window, groups: int, exact: bool = False) -> ModuleType | None:
    """Return the module that runs a convolution and its neurons in one pass; None if two are needed."""
    return gpu_conv if isinstance(x, PackedSpikes) else None


def conv_pool_kernels(
    x: PackedSpikes | Array, window: Window, groups: int, pool: Window, exact: bool = False
) -> ModuleType | None:
    """Return the module that runs a convolution, its neurons, pooling and its neurons in one pass; None without one.

    The pooling windows must lie side by side, without padding and dilation, and have at most 15 positions.
    """
    return gpu_conv if isinstance(x, PackedSpikes) and gpu_conv.pools_in_one_pass(pool) else None


def pool_kernels(x: PackedSpikes | Array) -> ModuleType | None:
    """Return the module that runs pooling and its neurons in one pass; None if two are needed."""
    return gpu_pool if isinstance(x, PackedSpikes) else None


def dense_kernels(x: Array, training: bool = False) -> None:
    """Return None: a dense layer is a matrix product, and its neurons are a separate pass."""
