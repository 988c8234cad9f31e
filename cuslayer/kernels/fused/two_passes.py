"""The neurons behind a layer as a pass of their own, of any kind, where one pass does not take both."""

from __future__ import annotations

from typing import Any

from cuslayer.backend import Array
from cuslayer.kernels.neuron.derive import StepSpiking


def fire(k: Any, x: Array, response: Any, spiking: Any) -> tuple[Array, Array]:
    """Return the potentials and spikes of neurons for a weighted input (T, columns), which may be overwritten.

    Args:
        k: the kernels of the device.
        x: the weighted input.
        response: the spike response; of neurons that are written as a step, their constants (constants, K).
        spiking: the neurons' other constants.
    """
    if isinstance(spiking, StepSpiking):
        u, s, _ = k.neuron.forward(x[None], response, spiking)
    else:
        u, s = k.srm.neuron(x, response, spiking, overwrite=True)
    return u, s


def fire_adjoint(
    k: Any, g: Array, u: Array, response: Any, spiking: Any, exact: bool, *, overwrite: bool = True
) -> Array:
    """Return the gradient of the weighted input in `fire`, for g and u (T, columns).

    With `overwrite`, it may take the place of u.
    """
    if isinstance(spiking, StepSpiking):
        found: Array = k.neuron.adjoint(g, u, u[None][:0], response, spiking)[0][0]
    else:
        adjoint = k.srm.neuron_adjoint_exact if exact else k.srm.neuron_adjoint
        found = adjoint(g, u, response, spiking, overwrite=overwrite)
    return found
