"""Compute the arrays that a record does not store, from potentials, spikes and errors of the spikes."""

from __future__ import annotations

from typing import Any

from cuslayer import kernels
from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Sampled
from cuslayer.neurons.base import Neuron, OnePass


def spikes(srm: OnePass, u: Array) -> Array:
    """Return the spikes of potentials: ``u >= theta``, compared in u's dtype as in the kernels."""
    return u >= srm.spiking.surrogate(u.dtype)[0]


def refractory(response: Alpha | Sampled, spikes: Array, dtype: Any) -> Array:
    """Return the refractory part of the potential, ``sum_{k>=1} nu[k] s[t-k]``, for spikes (T, ...)."""
    return response.apply(kernels.of(spikes), spikes.astype(dtype))


def refractory_response(neurons: Neuron) -> Alpha | Sampled:
    """Return the refractory response of neurons as an argument of operations."""
    if neurons.one_pass is None:
        return Sampled(neurons.refractory, neurons.dt)
    return neurons.one_pass.spiking.refractory


def saved_potential(u: Array, float16: bool) -> Array:
    """Return potentials as backward reads them: rounded to float16 if they are saved in it."""
    k = kernels.of(u)
    return k.float16.load(k.float16.store(u), u.dtype) if float16 else u


def potential_error(srm: OnePass, g: Array, u: Array, float16: bool) -> Array:
    """Return the error on the potentials u (T, ...) for the error g of the spikes."""
    k = kernels.of(u)
    adjoint = k.srm.spike_adjoint_exact if srm.exact else k.srm.spike_adjoint
    return adjoint(g.astype(u.dtype, copy=False), saved_potential(u, float16), srm.spiking)


def weighted_error(srm: OnePass, g: Array) -> Array:
    """Return the error on the weighted input for the error g (T, ...) on the potential."""
    return kernels.of(g).response.psp_adjoint(g, srm.response)
