"""The kernel for a kind of neurons and its constants, for launchers of fused passes.

Their arguments: ``x`` packed spikes, the frames of all samples at a step one after the other, ``steps`` of them; ``w``
the weight; ``g`` the gradient of the spikes, an array or a `Product`; ``u`` the potential, in the number type or
float16. ``response`` is the spike response and ``spiking`` has the other constants; for neurons written as a step
``spiking`` is the step, and ``response`` the constants of each neuron, (constants, K), on the device. ``keep`` is the
type in which potentials are saved, None for none; backward, whether the gradient of the weighted input is wanted.
``exact``: whether the gradient includes the path through refraction, or through all changes by a spike.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Alpha, Spiking, surrogate_numbers
from cuslayer.kernels.cuda import launch
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import empty
from cuslayer.kernels.neuron.derive import StepSpiking
from cuslayer.kernels.neuron.gpu import kernel_of, numbers_of


def kernel_for(name: str, dtype: np.dtype[Any], spiking: Spiking | StepSpiking) -> Any:
    """Return a kernel, named like its source, for a kind of neurons."""
    return kernel_of(name, name, spiking.kind) if isinstance(spiking, StepSpiking) else kernel(name, dtype)


def same_kind(one: Spiking | StepSpiking, other: Spiking | StepSpiking) -> bool:
    """Return whether one kernel can run both layers of neurons."""
    kinds = [spiking.kind if isinstance(spiking, StepSpiking) else None for spiking in (one, other)]
    return kinds[0] is kinds[1]


def cut_of(response: Any, dtype: np.dtype[Any], steps: int) -> int:
    """Return the steps until an input leaves the response; `steps` if none does."""
    return int(response.recurrence(dtype, steps).cut or steps) if isinstance(response, Alpha) else steps


def forward_constants(
    response: Any, spiking: Spiking | StepSpiking, dtype: np.dtype[Any], steps: int, beside: Array
) -> dict[str, Any]:
    """Return the constants of neurons by the names of the kernels' parameters, `Neurons` among them."""
    if isinstance(spiking, StepSpiking):
        period = {"period": max(response.shape[1], 1)}
        return {"numbers": numbers_of(spiking, response), "constants": response, "neurons": period}
    nothing = empty(beside, (0,), dtype)
    neurons = launch.neuron_constants(dtype, steps, response, spiking)
    return {"numbers": nothing, "constants": nothing, "neurons": neurons}


def adjoint_constants(
    response: Any, spiking: Spiking | StepSpiking, dtype: np.dtype[Any], steps: int, beside: Array
) -> dict[str, Any]:
    """Return the same for a gradient, with the surrogate: `NeuronsBack`."""
    found = forward_constants(response, spiking, dtype, steps, beside)
    if isinstance(spiking, StepSpiking):
        found["neurons"] |= surrogate_numbers(spiking, dtype)._asdict()
    else:
        found["neurons"] = launch.adjoint_constants(dtype, steps, response, spiking)
    return found
