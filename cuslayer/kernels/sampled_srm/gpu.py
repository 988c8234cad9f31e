"""Launchers of `sampled_srm.cu`: spike response neurons with a sampled refractory response, and their gradient."""

from __future__ import annotations

from typing import Any

from cuslayer.backend import Array
from cuslayer.kernels.constants import surrogate_numbers
from cuslayer.kernels.cuda.launch import contiguous, neurons_over_time, over_time, samples, surrogate
from cuslayer.kernels.sampled_srm.constants import SampledSpiking

__all__ = ["sampled_spike", "sampled_spike_adjoint_exact"]


def sampled_spike(a: Array, spiking: SampledSpiking) -> tuple[Array, Array]:
    """Return the potential u and the spikes s of the filtered input a, (T, ...); see the twin in `cpu.py`."""
    taps, theta = samples(spiking.refractory, a), surrogate(spiking, a.dtype)["theta"]
    return neurons_over_time("sampled_spike", a, a=contiguous(a), taps=taps, count=len(taps), theta=theta)


def sampled_spike_adjoint_exact(g: Array, u: Array, spiking: SampledSpiking) -> Array:
    """Return the exact gradient, ``g_u[t] = dt rho(u[t]) (g[t] + sum_{k>=1} nu[k] g_u[t+k])``, of g and u (T, ...)."""
    taps, numbers = samples(spiking.refractory, g), surrogate_numbers(spiking, g.dtype)._asdict()
    arrays: dict[str, Any] = {"g": contiguous(g), "u": contiguous(u), "taps": taps}
    return over_time("sampled_spike_adjoint_exact", g, **arrays, count=len(taps), **numbers)
