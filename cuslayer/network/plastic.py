"""Layers of a stream whose weights a local rule changes while it runs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array
from cuslayer.layers.base import Layer, form_of
from cuslayer.network.graph import Graph
from cuslayer.neurons.base import as_neuron, is_neuron


class Learning(NamedTuple):
    """A layer that learns: the numbers of its node and of the neurons after it, and its synapses."""

    first: int
    last: int
    layer: Any
    synapses: Any

    def run(self, runs: Sequence[Callable[..., Any]]) -> Callable[[Array], Array]:
        """Return the stages from the layer to its neurons as one, which learns after each step."""

        def step(x: Array) -> Array:
            y = x
            for run in runs:
                y = run(y)
            if len(x):
                self.synapses(x, y)
            return y

        return lambda x: np.concatenate([step(x[t : t + 1]) for t in range(len(x))] or [step(x)])


def learning_layers(net: Any, graph: Graph, rules: Mapping[Any, Any]) -> list[Learning]:
    """Return the layers of a network that learn by rules, before any spike."""
    uses = graph.uses()
    layers = []
    for where, rule in rules.items():
        layer: Any = where if isinstance(where, Layer) else net[where]
        first = next((node for node in graph.nodes if node.stage is layer), None)
        if first is None:
            raise ValueError(f"plasticity must name layers of the network, got {check.one_line(where)}")
        if not hasattr(rule, "begin"):
            raise check.mistyped("plasticity", "must map layers to rules, such as cs.plasticity.STDP()", rule)
        last = first
        for node in graph.nodes[first.number + 1 :]:
            if is_neuron(last.stage) or node.inputs != (last.number,) or uses[last.number] > 1:
                break
            last = node
        if not is_neuron(last.stage):
            raise ValueError(f"layer {first} must have neurons after it to learn, got {check.one_line(last.stage)}")
        form = form_of(layer)
        if form not in ("dense", "conv"):
            raise ValueError(f"layer {first} must be Dense or Conv to learn, got {check.one_line(layer)}")
        if layer.weight_hook or layer.delays is not None or getattr(layer, "groups", 1) != 1:
            raise ValueError(f"layer {first} must have no weight_hook, delays and groups to learn, got {layer!r}")
        if not isinstance(layer.weight.data, np.ndarray):
            raise ValueError("net must be on the CPU with plasticity, got one on a GPU")
        synapses = rule.begin(layer.weight, as_neuron(last.stage).dt, layer.window if form == "conv" else None)
        layers.append(Learning(first.number, last.number, layer, synapses))
    return layers
