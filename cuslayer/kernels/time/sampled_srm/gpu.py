"""Launchers of `sampled_srm.cu`: spike response neurons with a sampled refractory response, and their gradient."""

from __future__ import annotations

from typing import Any

from cuslayer.backend import Array
from cuslayer.kernels.constants import ScaledShape, surrogate_numbers
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, over_time, samples
from cuslayer.kernels.step.print_cuda import surrogate
from cuslayer.kernels.time.sampled_srm.constants import SampledSpiking

__all__ = ["sampled_spike", "sampled_spike_adjoint_exact", "sampled_spike_after", "surrogate_adjoint"]


def surrogate_adjoint(g: Array, u: Array, spiking: ScaledShape) -> Array:
    """Return the gradient of the potential, ``g_u[t] = dt rho(u[t]) g[t]``, of g and u (T, ...)."""
    y = empty(g, g.shape, g.dtype)
    numbers = surrogate_numbers(spiking, g.dtype)
    adjoint = kernel("surrogate_adjoint", g.dtype, surrogate(spiking.shape.curve))
    adjoint(g.size, g=contiguous(g), u=contiguous(u), y=y, size=g.size, of=numbers)
    return y


def sampled_spike(a: Array, spiking: SampledSpiking) -> tuple[Array, Array]:
    """Return the potential u and the spikes s of the filtered input a, (T, ...); see the twin in `cpu.py`."""
    return sampled_spike_after(empty(a, (0, *a.shape[1:]), bool), a, spiking)


def sampled_spike_after(before: Array, a: Array, spiking: SampledSpiking) -> tuple[Array, Array]:
    """Return the potential (T, ...) of the input a after earlier spikes (K, ...), and all spikes (K + T, ...)."""
    taps = samples(spiking.refractory, a)
    past = len(before)
    s = empty(a, (past + len(a), *a.shape[1:]), bool)
    s[:past] = before
    arguments: dict[str, Any] = {"a": contiguous(a), "s": s, "taps": taps, "count": len(taps), "past": past}
    printed = surrogate(spiking.shape.curve)
    return over_time("sampled_spike", a, "u", printed, theta=spiking.surrogate(a.dtype)[0], **arguments), s


def sampled_spike_adjoint_exact(g: Array, u: Array, spiking: SampledSpiking) -> Array:
    """Return the exact gradient, ``g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])``, of g and u (T, ...)."""
    taps = samples(spiking.refractory, g)
    rho = surrogate_numbers(spiking, g.dtype)
    arrays: dict[str, Any] = {"g": contiguous(g), "u": contiguous(u), "taps": taps, "count": len(taps)}
    return over_time("sampled_spike_adjoint_exact", g, "y", surrogate(spiking.shape.curve), rho=rho, **arrays)
