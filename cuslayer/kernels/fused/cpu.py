"""Decide which layers, neurons and pooling layers run in one pass on the CPU."""

from __future__ import annotations

from types import ModuleType

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.fused import conv_neuron, conv_pool, dense_neuron
from cuslayer.kernels.fused.checkpoints import Checkpoints
from cuslayer.kernels.fused.potentials import from_blocks
from cuslayer.kernels.spikes.cpu import SpikeList

__all__ = ["conv_kernels", "conv_pool_kernels", "dense_kernels", "from_blocks", "pool_kernels"]

# What a pass with pooling saves instead of potentials that nobody observes.
checkpoints = Checkpoints


def conv_kernels(x: SpikeList | Array, window: Window, groups: int, exact: bool = False) -> ModuleType | None:
    """Return the module that runs a convolution and its neurons in one pass; None if two are needed.

    `exact` gradients, with the path through refraction, need two.
    """
    return conv_neuron if isinstance(x, SpikeList) and groups == 1 and not exact else None


def conv_pool_kernels(
    x: SpikeList | Array, window: Window, groups: int, pool: Window, exact: bool = False
) -> ModuleType | None:
    """Return the module that runs a convolution, its neurons, pooling and its neurons in one pass; None without one."""
    return conv_pool if pool.tiles and conv_kernels(x, window, groups, exact) else None


def dense_kernels(x: SpikeList | Array, training: bool = False) -> ModuleType | None:
    """Return the module that runs a dense layer and its neurons in one pass; None if two are needed, as in training."""
    return dense_neuron if isinstance(x, SpikeList) and not training else None


def pool_kernels(x: Array) -> None:
    """Return None: pooling and its neurons are two passes."""
