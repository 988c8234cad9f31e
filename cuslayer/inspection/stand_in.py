"""A network's stand-in, in float64: what is moved to be measured is not the network's own."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import numpy as np

from cuslayer.layers import Delay, Layer
from cuslayer.layers.base import Synapse
from cuslayer.neuron import SRM
from cuslayer.tape import Tensor, no_grad


def stand_ins(net: Any, gradient: str) -> list[Any]:
    """Return stages that do what those of a network do out of training, with weights of their own.

    Weights are float64, and what the hooks make of them now. Delays stay in their type, by which it is told whether one
    is a multiple of the step.

    Args:
        net: the network.
        gradient: that of the SRM neurons.
    """
    return [_stand_in(stage, gradient) for stage in net.layers]


def _stand_in(stage: Any, gradient: str) -> Any:
    if isinstance(stage, SRM):
        return dataclasses.replace(stage, gradient=gradient)
    if not isinstance(stage, Layer):
        return stage
    twin = copy.copy(stage)
    twin.training = False
    if isinstance(twin, Synapse):
        with no_grad():
            twin.weight, twin.weight_hook = twin.effective_weight(), None
    for name, p in trained(twin).items():
        data = p.data.copy() if isinstance(twin, Delay) else p.data.astype(np.float64)
        setattr(twin, name, Tensor(data, requires_grad=True))
    return twin


def trained(stage: Any) -> dict[str, Tensor]:
    """Return what is trained of a layer and is an attribute of its own, by name."""
    if not isinstance(stage, Layer):
        return {}
    mine = {id(p) for p in stage.parameters()}
    return {name: value for name, value in vars(stage).items() if isinstance(value, Tensor) and id(value) in mine}
