"""Norse: `LIFBoxCell`, a membrane without a synaptic current: faster here than its multi-step `LIF`, which has one."""

from __future__ import annotations

import math
from typing import Any

import norse.torch
import torch
from comparison.models import stages
from comparison.models.torch_network import SteppedNetwork

PACKAGES = ("norse", "torch")
FORMS = {
    "hoisted": "LIFBox, products of all steps hoisted",
    "once": "LIFBox, products hoisted, that of the first convolution at one step",
    "plain": "LIFBox, step by step",
    "adaptive hoisted": "LSNNRecurrentCell, the read-out's products of all steps hoisted",
}

_DT = 0.001


class Network(SteppedNetwork):
    def neuron(self, threshold: float) -> torch.nn.Module:
        # An input counts for a part of itself here, and so must the threshold.
        p = norse.torch.LIFBoxParameters(tau_mem_inv=rate(self.tau), v_th=torch.as_tensor(threshold / self.tau))
        return norse.torch.LIFBoxCell(p, dt=_DT)

    def recurrent_neuron(self, threshold: float, shape: stages.Shape, kind: str, size: int) -> torch.nn.Module:
        theta = torch.as_tensor(threshold / stages.TAU)
        taus = {"tau_syn_inv": stages.TAU_CURRENT, "tau_mem_inv": stages.TAU, "tau_adapt_inv": stages.TAU_THRESHOLD}
        rates = {name: rate(tau) for name, tau in taus.items()}
        p = norse.torch.LSNNParameters(v_th=theta, beta=stages.RISE * theta, **rates)
        cell = norse.torch.LSNNRecurrentCell(math.prod(shape), size, p, autapses=True, dt=_DT)
        torch.nn.init.normal_(cell.recurrent_weights, std=stages.OWN_DEVIATION)
        return cell

    def synapse(self, shape: stages.Shape, kind: str, size: int, *rest: int) -> torch.nn.Module:
        """Return nothing before recurrent neurons, which have the weights of their input."""
        return torch.nn.Identity() if kind == "adaptive" else super().synapse(shape, kind, size, *rest)

    def weight(self, k: int) -> torch.Tensor:
        return self.neurons[k].input_weights if self.layers[k][0] == "adaptive" else super().weight(k)

    def cell(self, k: int, current: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        return self.neurons[k](current, state)


def rate(tau: float) -> torch.Tensor:
    """Return the inverse of a time constant in steps."""
    return torch.as_tensor(1 / (tau * _DT))
