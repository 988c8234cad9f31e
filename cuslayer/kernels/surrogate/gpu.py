"""Launchers of `surrogate.cu`: surrogate gradients of every shape."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.constants import ScaledShape, surrogate_numbers
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty
from cuslayer.kernels.neuron import print_cuda

__all__ = ["adjoint"]


def adjoint(g: Array, u: Array, spiking: ScaledShape) -> Array:
    """Return the gradient of the potential, ``g_u[t] = dt rho(u[t]) g[t]``, of g and u (T, ...)."""
    y = empty(g, g.shape, g.dtype)
    numbers = surrogate_numbers(spiking, g.dtype)
    surrogate = kernel("surrogate_adjoint", g.dtype, print_cuda.surrogate(spiking.shape.curve))
    surrogate(g.size, g=contiguous(g), u=contiguous(u), y=y, size=g.size, of=numbers)
    return y
