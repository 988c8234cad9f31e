"""snnTorch: `Leaky`, a membrane with one decay, minus the threshold after each spike."""

from __future__ import annotations

import math
from typing import Any

import snntorch
import torch
from comparison.models import stages
from comparison.models.torch_network import SteppedNetwork

PACKAGES = ("snntorch", "torch")
FORMS = {"hoisted": "Leaky, products of all steps hoisted", "plain": "Leaky, step by step"}


class Network(SteppedNetwork):
    def neuron(self, threshold: float) -> torch.nn.Module:
        return snntorch.Leaky(beta=math.exp(-1 / stages.TAU), threshold=threshold)

    def recurrent_neuron(self, threshold: float, size: int) -> torch.nn.Module:
        return snntorch.RLeaky(beta=math.exp(-1 / stages.TAU), threshold=threshold, linear_features=size)

    def cell(self, k: int, current: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        if self.layers[k][0] == "recurrent":
            s, membrane = self.neurons[k](current, *(self.neurons[k].reset_mem() if state is None else state))
            return s, (s, membrane)
        return self.neurons[k](current, self.neurons[k].reset_mem() if state is None else state)
