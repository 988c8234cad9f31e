"""Launcher of `pool_neuron_adjoint.cu`: the gradient of a pooling layer's input and its neurons."""

from __future__ import annotations

from typing import Any

from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Spiking, Window
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.images import stored_potential
from cuslayer.kernels.cuda.launch import adjoint_constants, contiguous, empty
from cuslayer.kernels.float16 import gpu as float16
from cuslayer.kernels.pool import gpu as pool
from cuslayer.kernels.srm import gpu as srm

__all__ = ["pool_neuron_adjoint"]


def pool_neuron_adjoint(
    g: Array,
    u: Array,
    steps: int,
    window: Window,
    gain: Any,
    image: tuple[int, int],
    response: Alpha,
    spiking: Spiking,
    exact: bool,
) -> Array:
    """Return the gradient (frames, H, W, C) of the input of a pooling layer; one pass if the windows tile the image.

    Args:
        g: the gradient of the spikes, (frames, rows, columns, C).
        u: the potential of these neurons, in g's type or float16.
        steps: the number of steps of the frames.
        window: any.
        gain: the weight of each input.
        image: rows and columns of the input.
        response: the spike response.
        spiking: threshold, refractory response and surrogate.
        exact: whether the gradient includes the path through refraction.
    """
    channels, dtype = g.shape[-1], g.dtype
    frames = g.shape[0]
    if not window.tiles:
        by_steps = (steps, g.size // max(steps, 1))
        potential = u if u.dtype == dtype else float16.load(u, dtype)
        adjoint = srm.neuron_adjoint_exact if exact else srm.neuron_adjoint
        errors = adjoint(g.reshape(by_steps), potential.reshape(by_steps), response, spiking)
        return pool.adjoint(errors.reshape(g.shape), image, window, gain)
    x = empty(g, (frames, *image, channels), dtype)
    kernel("pool_neuron_adjoint", dtype)(
        g.size // max(steps, 1),
        g=contiguous(g),
        **stored_potential(u, dtype),
        g_u=empty(g, g.shape if exact else (0,), dtype),
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
        **adjoint_constants(dtype, steps, response, spiking),
    )
    return x
