"""Launchers of `surrogate.cu`: surrogate gradients of every shape."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.constants import ScaledShape, Spiking, surrogate_numbers
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, over_time, recurrence

__all__ = ["adjoint", "adjoint_exact"]


def adjoint(g: Array, u: Array, spiking: ScaledShape) -> Array:
    """Return the gradient of the potential, ``g_u[t] = dt rho(u[t]) g[t]``, of g and u (T, ...)."""
    y, numbers = empty(g, g.shape, g.dtype), surrogate_numbers(spiking, g.dtype)._asdict()
    kernel("surrogate_adjoint", g.dtype)(g.size, g=contiguous(g), u=contiguous(u), y=y, size=g.size, of=numbers)
    return y


def adjoint_exact(g: Array, u: Array, spiking: Spiking) -> Array:
    """Return the exact gradient, ``g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])``, of g and u (T, ...)."""
    numbers = surrogate_numbers(spiking, g.dtype)._asdict()
    refractory = recurrence(spiking.refractory, g.dtype, len(g), "ref_")
    return over_time("surrogate_adjoint_exact", g, g=contiguous(g), u=contiguous(u), of=numbers, **refractory)
