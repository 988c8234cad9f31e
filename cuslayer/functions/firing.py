"""Neurons behind a synapse, whose weighted input nobody else has seen: what the operations of both share."""

from __future__ import annotations

from typing import Any

from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Spiking


def fire(k: Any, weighted: Array, steps: int, response: Alpha, spiking: Spiking) -> tuple[Array, Array]:
    """Return the potentials and the spikes of neurons whose weighted input is (frames, ...), and is given up.

    The potentials may take its place.
    """
    u, s = k.neuron(weighted.reshape(_by_steps(weighted, steps)), response, spiking, overwrite=True)
    return u.reshape(weighted.shape), s.reshape(weighted.shape)


def fire_adjoint(k: Any, g: Array, u: Array, steps: int, response: Alpha, spiking: Spiking, exact: bool) -> Array:
    """Return the gradient of the weighted input of those neurons, of g and u (frames, ...); u is given up for it."""
    flat = _by_steps(u, steps)
    adjoint = k.neuron_adjoint_exact if exact else k.neuron_adjoint
    g = g.astype(u.dtype, copy=False).reshape(flat)
    return adjoint(g, u.reshape(flat), response, spiking, overwrite=True).reshape(u.shape)


def _by_steps(x: Array, steps: int) -> tuple[int, int]:
    return steps, x.size // max(steps, 1)
