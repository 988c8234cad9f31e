"""Which synapses, neurons and pooling layers are one pass on the CPU."""

from __future__ import annotations

from types import ModuleType

from cuslayer.backend import Array
from cuslayer.kernels.cpu import conv_neuron, conv_pool, dense_neuron
from cuslayer.kernels.cpu.conv_spikes import runs
from cuslayer.kernels.cpu.events import SpikeList
from cuslayer.kernels.geometry import Window


def fused_conv(x: SpikeList | Array, window: Window, groups: int) -> ModuleType | None:
    """Return the kernels that are a convolution and its neurons in one pass; None where they are two."""
    return conv_neuron if isinstance(x, SpikeList) and runs(window, groups) else None


def fused_conv_pool(x: SpikeList | Array, window: Window, groups: int, pool: Window) -> ModuleType | None:
    """Return the kernels that are a convolution, its neurons, pooling and its neurons in one pass; None where not."""
    tiles = pool.stride == pool.kernel and pool.padding == (0, 0) and pool.dilation == (1, 1)
    return conv_pool if tiles and fused_conv(x, window, groups) else None


def fused_dense(x: SpikeList | Array) -> ModuleType | None:
    """Return the kernel that is a dense layer and its neurons in one pass, for inference; None where they are two."""
    return dense_neuron if isinstance(x, SpikeList) else None
