"""lava-dl: the blocks `slayer.block.cuba`, time last; neurons that filter the current and the voltage."""

from __future__ import annotations

import math
from typing import Any

import torch
from comparison.models import stages
from comparison.models.torch_network import TorchNetwork
from lava.lib.dl import slayer

PACKAGES = ("lava-dl", "torch")
FORMS = {"multi-step": "block.cuba, multi-step"}

_NEURON = {"threshold": stages.THRESHOLD, "current_decay": 1 / stages.TAU, "voltage_decay": 1 / stages.TAU}
# Weights in 8 bits and delays are for a chip; here they would only cost time.
_BLOCK: dict[str, Any] = {"pre_hook_fx": None, "delay": False, "delay_shift": False}


class Network(TorchNetwork):
    time_axis, batch_axis = -1, 0

    def synapse(self, shape: stages.Shape, kind: str, size: int, *rest: int) -> torch.nn.Module:
        cuba = slayer.block.cuba
        if kind == "conv":
            window, padding = rest
            return cuba.Conv(_NEURON, shape[-1], size, window, padding=padding, **_BLOCK)
        if kind == "dense":
            return cuba.Dense(_NEURON, math.prod(shape), size, **_BLOCK)
        pool = cuba.Pool(_NEURON, size, **_BLOCK)
        pool.synapse.weight.requires_grad_(False).fill_(stages.POOL_GAIN)
        return pool

    def neuron(self, threshold: float) -> torch.nn.Module:
        """Return nothing: a block has its neurons."""
        return torch.nn.Identity()

    def layout(self, x: torch.Tensor) -> torch.Tensor:
        return super().layout(x.movedim(0, -1))

    def weight(self, k: int) -> torch.Tensor:
        return self.synapses[k].synapse.weight

    def scale(self, k: int, factor: float) -> None:
        self.weight(k).mul_(factor)

    def fire(self, k: int, x: torch.Tensor) -> torch.Tensor:
        return self.synapses[k](x.flatten(1, -2) if self.layers[k][0] == "dense" else x)
