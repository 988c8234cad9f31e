"""SpikingJelly: `LIFNode`, multi-step, which has its own backward pass, or step by step.

On a GPU multi-step is one kernel: version 2 takes it by itself, earlier ones by ``backend="cupy"``.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from comparison.models import stages
from comparison.models.torch_network import SteppedNetwork
from spikingjelly.activation_based import functional, layer, neuron

PACKAGES = ("spikingjelly", "torch")
FORMS = {
    "multi-step": "LIFNode, multi-step",
    "once": "LIFNode, multi-step, the first convolution at one step",
    "plain": "LIFNode, step by step",
}


class WithOwnSpikes(torch.nn.Module):
    """The weighted input of a recurrent layer: that from other layers, and the weighted spikes of the step before."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.synapse = torch.nn.Linear(size, size, bias=False)

    def forward(self, spikes: torch.Tensor, current: torch.Tensor) -> torch.Tensor:
        return current + self.synapse(spikes)


class Network(SteppedNetwork):
    def recurrent_neuron(self, threshold: float, shape: stages.Shape, kind: str, size: int) -> torch.nn.Module:
        cell = neuron.LIFNode(tau=self.tau, decay_input=False, v_threshold=threshold, detach_reset=True)
        mode = "s" if self.form == "plain" else "m"
        return layer.ElementWiseRecurrentContainer(cell, WithOwnSpikes(size), step_mode=mode)

    def neuron(self, threshold: float) -> torch.nn.Module:
        mode = "s" if self.form == "plain" else "m"
        named = "backend" in inspect.signature(neuron.LIFNode.__init__).parameters
        fused = {"backend": "cupy"} if named and mode == "m" and self.device.type == "cuda" else {}
        return neuron.LIFNode(
            tau=self.tau, decay_input=False, v_threshold=threshold, detach_reset=True, step_mode=mode, **fused
        )

    def start(self) -> None:
        functional.reset_net(self.neurons)

    def run(self, k: int, current: torch.Tensor) -> torch.Tensor:
        return super().run(k, current) if self.form == "plain" else self.neurons[k](current)

    def cell(self, k: int, current: torch.Tensor, state: Any) -> tuple[torch.Tensor, Any]:
        return self.neurons[k](current), None
