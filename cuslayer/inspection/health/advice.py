"""Advice: a setting to change, and a way to change it."""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from cuslayer.backend import Array, to_numpy
from cuslayer.inspection.structure import check_network
from cuslayer.layers.base import Layer, Synapse
from cuslayer.network.container import graph_of
from cuslayer.network.graph import Address, Node
from cuslayer.neurons.base import is_neuron
from cuslayer.optim import Group, Optimizer
from cuslayer.optim.schedules import Constant, Rate
from cuslayer.tape import no_grad

# The settings of layers, which scale their output.
SCALES = ("weight_scale", "gain", "scale")


@dataclass(frozen=True)
class Advice:
    """A setting to change; `apply` changes it.

    The settings:

    - ``weight_scale`` of a layer with weights: they are multiplied by ``value / now``. `now` is the weight_scale of
      uniform weights with the present root mean square. A new layer gets it as an argument.
    - ``gain`` of a pooling layer.
    - ``scale`` of any other layer with one parameter: the parameter is multiplied by `value`.
    - ``tau_rho`` of the neurons of a layer.
    - ``scale_rho`` of all neurons.
    - ``lr`` of the optimizer or of a group with a rate of its own.

    Attributes:
        layer: the address of the neurons: their position, or a tuple of positions in nested networks; for lr the number
            of the optimizer's group, None for the optimizer itself.
        name: the name of the layer, or the optimizer.
        setting: one of the names above.
        now: the present value.
        value: the advised value.
        reason: why to change it.
        at: the address of the layer whose weights or gain to scale; for other settings None.
    """

    layer: Address | None
    name: str
    setting: str
    now: float
    value: float
    reason: str
    at: Address | None = None

    @property
    def change(self) -> str:
        """The change and its reason as text."""
        return f"{self.setting} {self.value:g} instead of {self.now:.3g}: {self.reason}"

    def __str__(self) -> str:
        return f"{self.name}: {self.change}"

    def apply(self, net: Any, optimizer: Any = None) -> None:
        """Change the setting.

        Weights and gains change in place. Neurons are exchanged for ones with the new value, in this network only. A
        schedule of the learning rate is multiplied by ``value / now``.

        Args:
            net: the network that `health` was given, or one of the same layers.
            optimizer: its optimizer; only lr needs it.

        Raises:
            TypeError: net is not a network, or the advice is of lr and optimizer is not an optimizer.

        >>> import numpy as np
        >>> from cuslayer import SRM, Dense, Sequential, health
        >>> x = np.random.default_rng(0).random((100, 4, 20)) < 0.1
        >>> net = Sequential(Dense(20, 8, weight_scale=0.1), SRM(), Dense(8, 2, weight_scale=20), SRM())
        >>> for advice in health(net, [(x, [0, 1, 0, 1])]).advice:
        ...     advice.apply(net)
        >>> health(net, [(x, [0, 1, 0, 1])]).advice
        ()
        """
        check_network("apply", net)
        if self.setting == "lr":
            self._set_rate(optimizer)
        elif self.setting in SCALES:
            layer: Layer = net[self.at]
            layer.scale_output(self.value / self.now)
        elif self.setting == "scale_rho":
            for node in neurons_with(net, "scale_rho"):
                exchange(net, node, "scale_rho", node.stage.scale_rho * self.value / self.now)
        else:
            for node in neurons_with(net, self.setting):
                if node.address == self.layer:
                    exchange(net, node, self.setting, self.value)

    def _set_rate(self, optimizer: Any) -> None:
        if not isinstance(optimizer, Optimizer):
            raise TypeError(
                f"apply: lr needs the optimizer, got {type(optimizer).__name__}; pass apply(net, optimizer)"
            )
        owner: Optimizer | Group = optimizer
        schedule = optimizer.schedule
        if isinstance(self.layer, int):
            owner = optimizer.groups[self.layer]
            schedule = owner.options["lr"]
        factor = self.value / self.now if self.now else 1.0
        constant = isinstance(schedule, Constant) or not self.now
        rate: Rate = self.value if constant else lambda epoch: factor * schedule(epoch)
        owner.lr = rate


def neurons_with(net: Any, setting: str) -> Iterator[Node]:
    """Yield the nodes of neurons with a setting."""
    for node in graph_of(net).nodes:
        if is_neuron(node.stage) and hasattr(node.stage, setting):
            yield node


def exchange(net: Any, node: Node, setting: str, value: float) -> None:
    """Put neurons with another value of a setting in the place of the present ones."""
    neuron = node.stage
    if dataclasses.is_dataclass(neuron) and setting in {field.name for field in dataclasses.fields(neuron)}:
        changed: Any = dataclasses.replace(neuron, **{setting: value})  # type: ignore[type-var]
    else:
        changed = copy.copy(neuron)
        setattr(changed, setting, value)
    net[node.path[:-1]].stages[node.path[-1]] = changed


def weight_scale(layer: Synapse) -> float:
    """Return the weight_scale of uniform weights with the root mean square of the present ones, as hooks leave them.

    If a hook rounds all of them to zero, those before the hook count.
    """
    with no_grad():
        weight: Array = to_numpy(layer.effective_weight().data)
    if not weight.any():
        weight = to_numpy(layer.weight.data)
    return math.sqrt(3.0 * inputs(layer, weight) * float(np.mean(np.square(weight, dtype=np.float64))))


def inputs(layer: Synapse, weight: Array) -> int:
    """Return the number of inputs of a neuron."""
    fan_in = getattr(layer, "fan_in", None)
    return fan_in() if callable(fan_in) else len(weight)


def rounded(value: float) -> float:
    """Return a number rounded to three digits."""
    return float(f"{value:.2e}")
