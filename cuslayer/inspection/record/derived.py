"""What follows from the potential, the spikes and the error that reached them, column by column."""

from __future__ import annotations

from typing import Any

from cuslayer import kernels
from cuslayer.backend import Array
from cuslayer.neurons.base import OnePass


def spikes(srm: OnePass, u: Array) -> Array:
    """Return the spikes of potentials: where they reach the threshold in their number type, as the kernels compare."""
    return u >= srm.spiking.surrogate(u.dtype)[0]


def refractory(srm: OnePass, spikes: Array, dtype: Any) -> Array:
    """Return what earlier spikes (T, ...) add to the potential, in a number type."""
    return kernels.of(spikes).response.psp(spikes.astype(dtype), srm.spiking.refractory)


def restored(u: Array, half: bool) -> Array:
    """Return potentials as backward sees them: as float16 keeps them, if it does."""
    k = kernels.of(u)
    return k.float16.load(k.float16.store(u), u.dtype) if half else u


def potential_error(srm: OnePass, g: Array, u: Array, half: bool) -> Array:
    """Return the error on potentials u (T, ...) of that of the spikes."""
    k = kernels.of(u)
    adjoint = k.srm.spike_adjoint_exact if srm.exact else k.srm.spike_adjoint
    return adjoint(g.astype(u.dtype, copy=False), restored(u, half), srm.spiking)


def weighted_error(srm: OnePass, g: Array) -> Array:
    """Return the error on the weighted input of that on the potential (T, ...)."""
    return kernels.of(g).response.psp_adjoint(g, srm.response)
