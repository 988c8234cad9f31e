"""Decide which layers, neurons and pooling layers run in one pass on the CPU."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

from cuslayer.backend import Array
from cuslayer.kernels.constants import Pooling, Spiking, Window
from cuslayer.kernels.conv import cpu as conv
from cuslayer.kernels.fused import conv_neuron, conv_pool, dense_neuron
from cuslayer.kernels.fused.checkpoints import Checkpoints, saved_type
from cuslayer.kernels.fused.potentials import from_blocks
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.spikes.cpu import SpikeList

__all__ = ["conv_kernels", "conv_pool_kernels", "dense_kernels", "from_blocks", "pool_kernels", "saved_type"]


@dataclass(frozen=True)
class OnePass:
    """The passes of a convolution, its neurons and what follows them, with the GPU's arguments.

    Attributes:
        groups: the number of groups of channels.
        takes_products: whether the gradient of the spikes may be a product of matrices.
    """

    groups: int
    takes_products: ClassVar[bool] = False

    def conv_neuron(
        self, x: SpikeList, steps: int, w: Array, window: Window, response: Any, spiking: Any, keep: Any
    ) -> tuple[Array, Array]:
        """Return the potential and the spikes; see `fused/conv_neuron.py`."""
        return conv_neuron.conv_neuron(x, steps, w, window, self.groups, response, spiking, keep)

    def conv_neuron_adjoint(
        self,
        x: SpikeList,
        steps: int,
        g: Array,
        u: Array,
        window: Window,
        response: Any,
        spiking: Any,
        keep: bool,
    ) -> tuple[Array | None, Array]:
        """Return the gradients of the weighted input and of the weight; see `fused/conv_neuron.py`."""
        return conv_neuron.conv_neuron_adjoint(x, steps, g, u, window, self.groups, response, spiking, keep)

    def input_adjoint(
        self, errors: Array, w: Array, image: tuple[int, int], window: Window, of_weight: Array
    ) -> tuple[Array, Array]:
        """Return the gradients of the input and of the weight, of what the passes backward return."""
        return conv.input_adjoint(errors, w, image, window, self.groups), of_weight

    def conv_pool(
        self,
        x: SpikeList,
        steps: int,
        w: Array,
        window: Window,
        response: Any,
        spiking: Any,
        pooling: Pooling,
        keep: Any,
    ) -> tuple[Any, Array, Array]:
        """Return both potentials and the spikes after pooling; see `fused/conv_pool.py`."""
        return conv_pool.conv_pool(x, steps, w, window, self.groups, response, spiking, pooling, keep)

    def conv_pool_adjoint(
        self,
        x: SpikeList,
        steps: int,
        g: Array,
        u: Array | Checkpoints,
        pooled_u: Array,
        window: Window,
        response: Any,
        spiking: Any,
        pooling: Pooling,
        keep: bool,
    ) -> tuple[Array | None, Array]:
        """Return the gradients of the weighted input and of the weight; see `fused/conv_pool.py`."""
        constants = window, self.groups, response, spiking, pooling
        return conv_pool.conv_pool_adjoint(x, steps, g, u, pooled_u, *constants, keep)


def conv_kernels(
    x: SpikeList | Array, window: Window, groups: int, exact: bool, spiking: Spiking | StepSpiking
) -> OnePass | None:
    """Return the passes of a convolution and its neurons; None if two are needed.

    `exact` gradients of spike response neurons, with the path through refraction, need two.
    """
    two = exact and not isinstance(spiking, StepSpiking)
    return OnePass(groups) if isinstance(x, SpikeList) and not two else None


def conv_pool_kernels(
    x: SpikeList | Array, window: Window, groups: int, pooling: Pooling, exact: bool, spiking: Spiking | StepSpiking
) -> OnePass | None:
    """Return the passes of a convolution, its neurons, pooling and its neurons; None without one."""
    after = conv_kernels(x, window, groups, exact, pooling.spiking)
    return conv_kernels(x, window, groups, exact, spiking) if pooling.window.tiles and after else None


def dense_kernels(x: SpikeList | Array) -> ModuleType | None:
    """Return the module that runs a dense layer of spikes and its neurons; None for numbers."""
    return dense_neuron if isinstance(x, SpikeList) else None


def pool_kernels(x: Array) -> None:
    """Return None: pooling and its neurons are two passes."""
