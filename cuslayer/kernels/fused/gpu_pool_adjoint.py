"""Launcher of `pool_neuron_adjoint.cu`: the gradient of a pooling layer's input and its neurons."""

from __future__ import annotations

from typing import Any

from cuslayer import kernels
from cuslayer.backend import Array
from cuslayer.kernels.constants import Spiking, Window
from cuslayer.kernels.cuda.images import stored_potential
from cuslayer.kernels.cuda.launch import contiguous, empty
from cuslayer.kernels.float16 import gpu as float16
from cuslayer.kernels.fused.neurons import adjoint_constants, kernel_for
from cuslayer.kernels.neuron.columns import fire_adjoint
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.pool import gpu as pool

__all__ = ["pool_neuron_adjoint"]


def pool_neuron_adjoint(
    g: Array,
    u: Array,
    steps: int,
    window: Window,
    gain: Any,
    image: tuple[int, int],
    response: Any,
    spiking: Spiking | StepSpiking,
    exact: bool,
) -> Array:
    """Return the gradient (frames, H, W, C) of the input of a pooling layer; one pass if the windows tile the image."""
    channels, dtype = g.shape[-1], g.dtype
    frames = g.shape[0]
    if not window.tiles:
        by_steps = (steps, g.size // max(steps, 1))
        potential = u if u.dtype == dtype else float16.load(u, dtype)
        given = g.reshape(by_steps), potential.reshape(by_steps), response, spiking, exact
        errors = fire_adjoint(kernels.gpu, *given, overwrite=False)
        return pool.adjoint(errors.reshape(g.shape), image, window, gain)
    x = empty(g, (frames, *image, channels), dtype)
    kernel_for("pool_neuron_adjoint", dtype, spiking)(
        g.size // max(steps, 1),
        g=contiguous(g),
        **stored_potential(u, dtype),
        g_u=empty(g, g.shape if exact and isinstance(spiking, Spiking) else (0,), dtype),
        x=x,
        steps=steps,
        samples=frames // max(steps, 1),
        height=image[0],
        columns=image[1],
        channels=channels,
        tile_h=window.kernel[0],
        tile_w=window.kernel[1],
        pool_gain=dtype.type(gain),
        exact=exact,
        **adjoint_constants(response, spiking, dtype, steps, g),
    )
    return x
