"""Decide which layers, neurons and pooling layers run in one pass on a GPU: those whose input is packed spikes."""

from __future__ import annotations

from types import ModuleType

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.fused import gpu_dense
from cuslayer.kernels.spikes.packed import PackedSpikes

__all__ = ["conv_kernels", "conv_pool_kernels", "dense_kernels"]


def conv_kernels(x: PackedSpikes | Array, window: Window, groups: int, exact: bool = False) -> None:
    """Return None."""


def conv_pool_kernels(x: PackedSpikes | Array, window: Window, groups: int, pool: Window, exact: bool = False) -> None:
    """Return None."""


def dense_kernels(x: PackedSpikes | Array, training: bool = False) -> ModuleType | None:
    """Return the module that runs a dense layer and its neurons in one pass; None if two are needed."""
    return gpu_dense if isinstance(x, PackedSpikes) else None
