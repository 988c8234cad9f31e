"""Launcher of `norm_neuron.cu`: batch normalization and its neurons in one pass."""

from __future__ import annotations

from typing import Any

from cuslayer.backend import Array
from cuslayer.kernels.cuda.launch import contiguous, empty, sizes
from cuslayer.kernels.norm.gpu import Subtracted, scale_arguments
from cuslayer.kernels.norm.scaling import Scale
from cuslayer.kernels.scan.gpu import forward_constants, kernel_for
from cuslayer.kernels.step.derive import StepSpiking

__all__ = ["norm_neuron"]


def norm_neuron(
    x: Array, scale: Scale, constants: Array, spiking: StepSpiking, keep: Any
) -> tuple[tuple[Array, Array], Subtracted]:
    """Return the potentials and the spikes of neurons for x (T, ..., channels), normalized, and values for backward.

    The potentials are there, and in the type of x, whatever `keep` says.
    """
    u = empty(x, x.shape, x.dtype)
    s = empty(x, x.shape, bool)
    steps, columns = sizes(x)
    arguments, subtracted = scale_arguments(scale, x.dtype)
    kernel_for("norm_neuron", x.dtype, spiking)(
        columns,
        x=contiguous(x),
        u=u,
        s=s,
        steps=steps,
        columns=columns,
        channels=x.shape[-1],
        **arguments,
        **forward_constants(constants, spiking, x.dtype, steps),
    )
    return (u, s), subtracted
