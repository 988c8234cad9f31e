"""Properties of a kind of neuron that launchers of fused passes read.

The launchers' arguments: ``x`` packed spikes, the frames of all samples at a step one after the other, for ``steps``
steps; ``w`` the weight; ``g`` the gradient of the spikes, an array or a `Product`; ``u`` the potential, in the number
type or float16. ``constants``, (constants, K), on the device, differ between neurons; ``spiking`` has the other
constants. Forward, ``keep`` is the type in which potentials are saved, None for none; backward, whether to return the
gradient of the weighted input.
"""

from __future__ import annotations

from cuslayer.kernels.scan.gpu import stored_values
from cuslayer.kernels.step.derive import StepSpiking
from cuslayer.kernels.step.print_cuda import back, past_of


def in_one_pass(spiking: StepSpiking) -> bool:
    """Return whether fused kernels have the kind: one input, one spike and one value of backward are used again."""
    inputs, spikes = past_of(spiking.kind)
    backward = back(spiking.kind, spiking.exact)
    once = len(backward.whole.past) <= 1 or not backward.recomputed
    return len(inputs) <= 1 and len(spikes) <= 1 and len(backward.kept) <= 1 and once


def terms(spiking: StepSpiking) -> int:
    """Return how many terms of backward need no other step."""
    return len(back(spiking.kind, spiking.exact).terms)


def in_one_sweep(spiking: StepSpiking, pooled: StepSpiking) -> bool:
    """Return whether one kernel runs backward of two layers of neurons: of one kind, with nothing stored."""
    return spiking.kind is pooled.kind and not (spiking.exact or pooled.exact or stored_values(spiking))
