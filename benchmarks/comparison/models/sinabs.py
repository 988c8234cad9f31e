"""sinabs: `LIF` over all steps, batch first."""

from __future__ import annotations

import sinabs.layers
import torch
from comparison.models import stages
from comparison.models.torch_network import TorchNetwork, product_of_all
from sinabs.activation import SingleSpike

PACKAGES = ("sinabs", "torch")
FORMS = {"multi-step": "LIF, multi-step"}


class Network(TorchNetwork):
    time_axis, batch_axis = 1, 0

    def neuron(self, threshold: float) -> torch.nn.Module:
        return sinabs.layers.LIF(
            tau_mem=stages.TAU, spike_threshold=torch.tensor(threshold), spike_fn=SingleSpike, norm_input=False
        )

    def layout(self, x: torch.Tensor) -> torch.Tensor:
        return super().layout(x.transpose(0, 1))

    def fire(self, k: int, x: torch.Tensor) -> torch.Tensor:
        self.neurons[k].reset_states()
        return self.neurons[k](product_of_all(self.synapses[k], x))
