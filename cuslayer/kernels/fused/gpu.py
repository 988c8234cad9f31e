"""Decide which layers, neurons and pooling layers run in one pass on a GPU: they need packed spikes as input."""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

from cuslayer.backend import Array, DType
from cuslayer.kernels.constants import Pooling, Window
from cuslayer.kernels.fused import gpu_conv, gpu_dense, gpu_norm, gpu_pool
from cuslayer.kernels.fused.neurons import in_one_pass
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.synapse.conv.gpu import adjoints
from cuslayer.kernels.synapse.conv.tap_sums import Parts, add_parts

__all__ = ["conv_kernels", "conv_pool_kernels", "dense_kernels", "norm_kernels", "pool_kernels"]

# Potentials are stored in the layout of the spikes.
from_blocks = None


def saved_type(x: PackedSpikes) -> None:
    """Return None: potentials are saved."""


@dataclass(frozen=True)
class GpuPass:
    """The passes of a convolution, its neurons and the next stages, with the CPU's arguments."""

    groups: int
    takes_products: ClassVar[bool] = True  # whether the gradient of the spikes may be a product of matrices

    def conv_neuron(
        self,
        x: PackedSpikes,
        steps: int,
        w: Array,
        window: Window,
        constants: Array,
        spiking: StepSpiking,
        keep: DType | None,
        shift: Array | None = None,
    ) -> tuple[Array, PackedSpikes]:
        """Return the potential and the spikes; see `gpu_conv.conv_neuron`."""
        return gpu_conv.conv_neuron(x, steps, w, window, self.groups, constants, spiking, keep, shift)

    def conv_neuron_adjoint(self, x: PackedSpikes, steps: int, g: Any, u: Array, window: Window, *rest: Any) -> Any:
        """Return the gradients of the weighted input and of the weight; see `gpu_conv.conv_neuron_adjoint`."""
        return gpu_conv.conv_neuron_adjoint(x, steps, g, u, window, self.groups, *rest)

    def input_adjoint(
        self, errors: Array, w: Array, image: tuple[int, int], window: Window, of_weight: Any
    ) -> tuple[Array, Any]:
        """Return the gradients of the input and of the weight from the results of the backward passes."""
        return adjoints(errors, w, image, window, self.groups, of_weight)

    def weight_gradient(self, of_weight: Parts | Array) -> Array:
        """Return the gradient of the weight from the result of a backward pass that keeps the errors."""
        return add_parts(of_weight.parts, of_weight.shape) if isinstance(of_weight, Parts) else of_weight

    def conv_pool(
        self,
        x: PackedSpikes,
        steps: int,
        w: Array,
        window: Window,
        constants: Array,
        spiking: StepSpiking,
        pooling: Pooling,
        keep: DType,
        shift: Array | None = None,
    ) -> tuple[Array, Array, PackedSpikes]:
        """Return both potentials and the spikes after pooling, in two passes; backward is one."""
        u, fired = self.conv_neuron(x, steps, w, window, constants, spiking, keep, shift)
        return u, *gpu_pool.pool_neuron(fired, steps, *pooling, keep)

    def conv_pool_adjoint(
        self,
        x: PackedSpikes,
        steps: int,
        g: Array,
        u: Array,
        pooled_u: Array,
        window: Window,
        *rest: Any,
        shift: Array | None = None,
    ) -> Any:
        """Return the gradients of the weighted input and of the weight, which need no bias `shift`."""
        return gpu_conv.conv_pool_adjoint(x, steps, g, u, pooled_u, window, self.groups, *rest)


def conv_kernels(x: PackedSpikes | Array, window: Window, groups: int, spiking: StepSpiking) -> GpuPass | None:
    """Return the passes of a convolution and its neurons; None if two are needed."""
    return GpuPass(groups) if isinstance(x, PackedSpikes) and in_one_pass(spiking) else None


def conv_pool_kernels(
    x: PackedSpikes | Array, window: Window, groups: int, pooling: Pooling, spiking: StepSpiking
) -> GpuPass | None:
    """Return the passes of a convolution, its neurons, pooling and its neurons; None for numbers."""
    return conv_kernels(x, window, groups, spiking) if in_one_pass(pooling.spiking) else None


def norm_kernels(x: Array) -> ModuleType | None:
    """Return the module that runs batch normalization and its neurons in one pass; None for an empty signal."""
    return gpu_norm if x.size else None


def dense_kernels(x: PackedSpikes | Array, spiking: StepSpiking) -> ModuleType | None:
    """Return the module that runs a dense layer and its neurons in one pass; None if two are needed."""
    return gpu_dense if isinstance(x, PackedSpikes) and in_one_pass(spiking) else None


def pool_kernels(x: PackedSpikes | Array, spiking: StepSpiking) -> ModuleType | None:
    """Return the module that runs pooling of spikes and its neurons in one pass; None if two are needed."""
    return gpu_pool if x.dtype == bool and in_one_pass(spiking) else None
