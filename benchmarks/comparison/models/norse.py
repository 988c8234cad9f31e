"""Norse: `LIFBoxCell`, a membrane without a synaptic current: faster here than its multi-step `LIF`, which has one."""

from __future__ import annotations

from typing import Any

import norse.torch
import torch
from comparison.models import stages
from comparison.models.torch_network import SteppedNetwork

PACKAGES = ("norse", "torch")
FORMS = {"hoisted": "LIFBox, products of all steps hoisted", "plain": "LIFBox, step by step"}

_DT = 0.001


class Network(SteppedNetwork):
    def neuron(self, threshold: float) -> torch.nn.Module:
        rate = torch.as_tensor(1 / (stages.TAU * _DT))
        # An input counts for a TAUth of itself here, and so must the threshold.
        p = norse.torch.LIFBoxParameters(tau_mem_inv=rate, v_th=torch.as_tensor(threshold / stages.TAU))
        return norse.torch.LIFBoxCell(p, dt=_DT)

    def cell(self, k: int, current: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        return self.neurons[k](current, state)
