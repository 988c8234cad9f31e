"""Launchers of `srm.cu`: neurons of the spike response model and their gradients."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, recurrence, sizes, surrogate
from cuslayer.kernels.loihi.constants import FixedPoint

__all__ = ["neuron", "neuron_adjoint", "neuron_adjoint_exact", "spike", "spike_adjoint", "spike_adjoint_exact"]


def spike(a: Array, spiking: Spiking) -> tuple[Array, Array]:
    """Return the potential u and the spikes s, both (T, ...), of the filtered input a (T, ...).

    ``u[t] = a[t] + sum over earlier spikes f of nu[t - f]``, ``s[t] = (u[t] >= theta)``.
    """
    steps, columns = sizes(a)
    u, s = empty(a, a.shape, a.dtype), empty(a, a.shape, bool)
    kernel("spike", a.dtype)(
        columns,
        a=contiguous(a),
        u=u,
        s=s,
        steps=steps,
        columns=columns,
        theta=surrogate(spiking, a.dtype)["theta"],
        **recurrence(spiking.refractory, a.dtype, steps, "ref_"),
    )
    return u, s


def neuron(x: Array, response: Alpha, spiking: Spiking, overwrite: bool = False) -> tuple[Array, Array]:
    """Return the potential u and the spikes s, both (T, ...), of the input x (T, ...) in one pass.

    x is never overwritten here.
    """
    steps, columns = sizes(x)
    u, s = empty(x, x.shape, x.dtype), empty(x, x.shape, bool)
    kernel("neuron", x.dtype)(
        columns,
        x=contiguous(x),
        u=u,
        s=s,
        steps=steps,
        columns=columns,
        theta=surrogate(spiking, x.dtype)["theta"],
        **recurrence(response, x.dtype, steps),
        **recurrence(spiking.refractory, x.dtype, steps, "ref_"),
    )
    return u, s


def spike_adjoint(g: Array, u: Array, spiking: Spiking | FixedPoint) -> Array:
    """Return the gradient of the potential as published, ``g_u[t] = dt rho(u[t]) g[t]``, of g and u (T, ...)."""
    y = empty(g, g.shape, g.dtype)
    kernel("spike_adjoint", g.dtype)(
        g.size, g=contiguous(g), u=contiguous(u), y=y, size=g.size, **surrogate(spiking, g.dtype)
    )
    return y


def spike_adjoint_exact(g: Array, u: Array, spiking: Spiking) -> Array:
    """Return the exact gradient, ``g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])``, of g and u (T, ...)."""
    steps, columns = sizes(g)
    y = empty(g, g.shape, g.dtype)
    kernel("spike_adjoint_exact", g.dtype)(
        columns,
        g=contiguous(g),
        u=contiguous(u),
        y=y,
        steps=steps,
        columns=columns,
        **surrogate(spiking, g.dtype),
        **recurrence(spiking.refractory, g.dtype, steps, "ref_"),
    )
    return y


def neuron_adjoint(g: Array, u: Array, response: Alpha, spiking: Spiking, overwrite: bool = False) -> Array:
    """Return psp_adjoint(spike_adjoint(g, u)) in one pass, of g and u (T, ...); u is never overwritten here."""
    steps, columns = sizes(g)
    y = empty(g, g.shape, g.dtype)
    kernel("neuron_adjoint", g.dtype)(
        columns,
        g=contiguous(g),
        u=contiguous(u),
        y=y,
        steps=steps,
        columns=columns,
        **surrogate(spiking, g.dtype),
        **recurrence(response, g.dtype, steps),
    )
    return y


def neuron_adjoint_exact(g: Array, u: Array, response: Alpha, spiking: Spiking, overwrite: bool = False) -> Array:
    """Return psp_adjoint(spike_adjoint_exact(g, u)) in one pass, of g and u (T, ...); see `neuron_adjoint`."""
    steps, columns = sizes(g)
    y, g_u = empty(g, g.shape, g.dtype), empty(g, g.shape, g.dtype)
    kernel("neuron_adjoint_exact", g.dtype)(
        columns,
        g=contiguous(g),
        u=contiguous(u),
        g_u=g_u,
        y=y,
        steps=steps,
        columns=columns,
        **surrogate(spiking, g.dtype),
        **recurrence(response, g.dtype, steps),
        **recurrence(spiking.refractory, g.dtype, steps, "ref_"),
    )
    return y
