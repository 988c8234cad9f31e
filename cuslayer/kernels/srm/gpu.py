"""Launchers of `srm.cu`: neurons of the spike response model and their gradients."""

from __future__ import annotations

from typing import Any

from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Spiking, Surrogate
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import (
    contiguous,
    empty,
    neuron_constants,
    neurons_over_time,
    over_time,
    recurrence,
    surrogate,
)

__all__ = ["neuron", "neuron_adjoint", "neuron_adjoint_exact", "spike", "spike_adjoint", "spike_adjoint_exact"]


def spike(a: Array, spiking: Spiking) -> tuple[Array, Array]:
    """Return the potential u and the spikes s, both (T, ...), of the filtered input a (T, ...).

    ``u[t] = a[t] + sum over earlier spikes f of nu[t - f]``, ``s[t] = (u[t] >= theta)``.
    """
    theta, refractory = surrogate(spiking, a.dtype)["theta"], recurrence(spiking.refractory, a.dtype, len(a), "ref_")
    return neurons_over_time("spike", a, a=contiguous(a), theta=theta, **refractory)


def neuron(x: Array, response: Alpha, spiking: Spiking, overwrite: bool = False) -> tuple[Array, Array]:
    """Return the potential u and the spikes s, both (T, ...), of the input x (T, ...) in one pass.

    x is never overwritten here.
    """
    return neurons_over_time("neuron", x, x=contiguous(x), **neuron_constants(x.dtype, len(x), response, spiking))


def spike_adjoint(g: Array, u: Array, spiking: Surrogate) -> Array:
    """Return the gradient of the potential as published, ``g_u[t] = dt rho(u[t]) g[t]``, of g and u (T, ...)."""
    y = empty(g, g.shape, g.dtype)
    kernel("spike_adjoint", g.dtype)(
        g.size, g=contiguous(g), u=contiguous(u), y=y, size=g.size, **surrogate(spiking, g.dtype)
    )
    return y


def spike_adjoint_exact(g: Array, u: Array, spiking: Spiking) -> Array:
    """Return the exact gradient, ``g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])``, of g and u (T, ...)."""
    return _adjoint("spike_adjoint_exact", g, u, spiking, **recurrence(spiking.refractory, g.dtype, len(g), "ref_"))


def neuron_adjoint(g: Array, u: Array, response: Alpha, spiking: Spiking, overwrite: bool = False) -> Array:
    """Return psp_adjoint(spike_adjoint(g, u)) in one pass, of g and u (T, ...); u is never overwritten here."""
    return _adjoint("neuron_adjoint", g, u, spiking, **recurrence(response, g.dtype, len(g)))


def neuron_adjoint_exact(g: Array, u: Array, response: Alpha, spiking: Spiking, overwrite: bool = False) -> Array:
    """Return psp_adjoint(spike_adjoint_exact(g, u)) in one pass, of g and u (T, ...); see `neuron_adjoint`."""
    constants, g_u = recurrence(response, g.dtype, len(g)), empty(g, g.shape, g.dtype)
    refractory = recurrence(spiking.refractory, g.dtype, len(g), "ref_")
    return _adjoint("neuron_adjoint_exact", g, u, spiking, g_u=g_u, **constants, **refractory)


def _adjoint(name: str, g: Array, u: Array, spiking: Spiking, **arguments: Any) -> Array:
    return over_time(name, g, g=contiguous(g), u=contiguous(u), **surrogate(spiking, g.dtype), **arguments)
