"""Which synapses and neurons are one pass on the CPU."""

from __future__ import annotations

from types import ModuleType

from cuslayer.backend import Array
from cuslayer.kernels.cpu import conv_neuron
from cuslayer.kernels.cpu.conv_spikes import runs
from cuslayer.kernels.cpu.events import SpikeList
from cuslayer.kernels.geometry import Window


def fused_conv(x: SpikeList | Array, window: Window, groups: int) -> ModuleType | None:
    """Return the kernels that are a convolution and its neurons in one pass; None where they are two."""
    return conv_neuron if isinstance(x, SpikeList) and runs(window, groups) else None
