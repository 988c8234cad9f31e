"""snnTorch: `Leaky`, a membrane with one decay, minus the threshold after each spike."""

from __future__ import annotations

import math
from typing import Any

import snntorch
import torch
from comparison.models import stages
from comparison.models.torch_network import SteppedNetwork

PACKAGES = ("snntorch", "torch")
FORMS = {
    "hoisted": "Leaky, products of all steps hoisted",
    "once": "Leaky, products hoisted, that of the first convolution at one step",
    "plain": "Leaky, step by step",
    "adaptive hoisted": "RSynaptic, which does not adapt, products of all steps hoisted",
}


class Network(SteppedNetwork):
    def neuron(self, threshold: float) -> torch.nn.Module:
        return snntorch.Leaky(beta=1 - 1 / self.tau, threshold=threshold)

    def recurrent_neuron(self, threshold: float, shape: stages.Shape, kind: str, size: int) -> torch.nn.Module:
        options = {"beta": 1 - 1 / self.tau, "threshold": threshold, "linear_features": size}
        if kind == "recurrent":
            return snntorch.RLeaky(**options)
        neurons = snntorch.RSynaptic(alpha=math.exp(-1 / stages.TAU_CURRENT), **options)
        torch.nn.init.normal_(neurons.recurrent.weight, std=stages.OWN_DEVIATION)
        return neurons

    def cell(self, k: int, current: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        state = self.neurons[k].reset_mem() if state is None else state
        if not isinstance(state, tuple):
            return self.neurons[k](current, state)
        found = self.neurons[k](current, *state)
        return found[0], found
