"""EventProp in Norse: a membrane with a synaptic current, whose backward pass is the adjoint of its dynamics.

`lif_feed_forward_adjoint_step` has gradients at spikes alone, exact ones in the limit of small steps, where the other
libraries have surrogate gradients at all steps.
"""

from __future__ import annotations

from typing import Any

import torch
from comparison.models import stages
from comparison.models.torch_network import SteppedNetwork
from norse.torch import LIFParameters
from norse.torch.functional.adjoint.lif_adjoint import lif_feed_forward_adjoint_step
from norse.torch.functional.lif import LIFFeedForwardState

PACKAGES = ("norse", "torch")
FORMS = {"hoisted": "LIF adjoint, products of all steps hoisted", "plain": "LIF adjoint, step by step"}

_DT = 0.001


class Neurons(torch.nn.Module):
    """The constants of a layer's neurons."""

    def __init__(self, threshold: float) -> None:
        super().__init__()
        rate = torch.as_tensor(1 / (stages.TAU * _DT))
        # As in Norse's LIFBox, an input counts for a TAUth of itself.
        self.constants = LIFParameters(tau_syn_inv=rate, tau_mem_inv=rate, v_th=torch.as_tensor(threshold / stages.TAU))


class Network(SteppedNetwork):
    def neuron(self, threshold: float) -> torch.nn.Module:
        return Neurons(threshold)

    def cell(self, k: int, current: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        if state is None:
            rest = torch.zeros_like(current)
            state = LIFFeedForwardState(rest, rest)
        return lif_feed_forward_adjoint_step(current, state, self.neurons[k].constants, _DT)
