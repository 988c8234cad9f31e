"""Launchers of `srm.cu`: neurons of the spike response model, their gradients, and their response as a filter."""

from __future__ import annotations

from typing import Any

from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Spiking
from cuslayer.kernels.cuda.launch import contiguous, empty, neurons_over_time, numbers, over_time, recurrence, surrogate

__all__ = ["neuron", "neuron_adjoint", "psp", "psp_adjoint", "spike"]


def psp(x: Array, response: Alpha) -> Array:
    """Filter each column of x (T, ...): ``a[t] = sum_k eps[k] x[t-k]``, with two states a column for any tau."""
    x = numbers(x)
    return over_time("psp", x, "a", x=x, response=recurrence(response, x.dtype, len(x)))


def psp_adjoint(g: Array, response: Alpha) -> Array:
    """Correlate each column of g (T, ...) with the response: ``y[t] = sum_k eps[k] g[t+k]``."""
    return over_time("psp_adjoint", g, g=contiguous(g), response=recurrence(response, g.dtype, len(g)))


def spike(a: Array, spiking: Spiking) -> tuple[Array, Array]:
    """Return the potential u and the spikes s of the filtered input a, (T, ...); see the twin in `cpu.py`."""
    theta, refractory = surrogate(spiking, a.dtype)["theta"], recurrence(spiking.refractory, a.dtype, len(a))
    return neurons_over_time("spike", a, a=contiguous(a), theta=theta, refractory=refractory)


def neuron(x: Array, response: Alpha, spiking: Spiking, overwrite: bool = False) -> tuple[Array, Array]:
    """Return the potential u and the spikes s, both (T, ...), of the input x (T, ...), which it never overwrites."""
    theta, filters = surrogate(spiking, x.dtype)["theta"], _filters(x, response, spiking)
    return neurons_over_time("neuron", x, x=contiguous(x), theta=theta, **filters)


def neuron_adjoint(
    g: Array, u: Array, response: Alpha, spiking: Spiking, exact: bool = False, overwrite: bool = False
) -> Array:
    """Return the gradient of the input of `neuron`; see the twin in `cpu.py`, but it never overwrites u."""
    given: dict[str, Any] = {"g": contiguous(g), "u": contiguous(u), **surrogate(spiking, g.dtype)}
    filters = _filters(g, response, spiking)
    if exact:
        return over_time("neuron_adjoint_exact", g, g_u=empty(g, g.shape, g.dtype), **given, **filters)
    return over_time("neuron_adjoint", g, **given, response=filters["response"])


def _filters(x: Array, response: Alpha, spiking: Spiking) -> dict[str, Any]:
    """Return the arguments of both filters for x (T, ...)."""
    given = {"response": response, "refractory": spiking.refractory}
    return {name: recurrence(each, x.dtype, len(x)) for name, each in given.items()}
