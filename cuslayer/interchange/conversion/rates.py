"""Conversion by rates: spike rates of integrate-and-fire neurons stand for the numbers of rectifiers."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from cuslayer._base import check
from cuslayer._tape import Tensor, no_grad
from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.interchange.conversion.rebuild import RECTIFIERS, WEIGHTED, Path, effective, rebuilt
from cuslayer.interchange.conversion.segment import Segment
from cuslayer.layers.base import form_of
from cuslayer.layers.count_pool import CountMaxPool
from cuslayer.network.graph import INPUT, GraphNode
from cuslayer.network.network import Sequential, replace_stage
from cuslayer.network.shapes import shapes_of
from cuslayer.network.walk import Walk
from cuslayer.neurons.base import is_neuron
from cuslayer.neurons.integrate_and_fire import IF

# The steps of samples that run at a time.
_RUN = 1600
# How often biases move by the mean error of a channel.
_CORRECTIONS = 2

# Returns units (C,) for the mean input and the numbers of a rectifier, (M, C) each.
Fit = Callable[[Array, Array], Array]


class ConvertedLayer(NamedTuple):
    """How the spikes of a layer stand for its numbers.

    Attributes:
        layer: the address and the kind of the neurons.
        error: the root mean square of the difference of spike rates and numbers, relative to the numbers.
        rate: the mean number of spikes of a neuron in a step.
        unit: the mean of the numbers for which a spike stands.
    """

    layer: str
    error: float
    rate: float
    unit: float


def name_of(node: GraphNode) -> str:
    """Return the address and the kind of neurons."""
    return f"{node} ({type(node.stage).__name__})"


def targets_of(numbers: Sequential, x: Array) -> dict[int, Array]:
    """Return the output (N, ...) of each rectifier and of the network, by node, for a still input (N, ...)."""
    graph = numbers.graph
    targets = {}
    for visit in Walk(graph, Tensor(to_device(x[None]))):
        if form_of(visit.stage) in RECTIFIERS or visit.number == graph.output:
            targets[visit.number] = to_numpy(visit.output.data[0])
    return targets


def scale_weights(layer: Any, units: Array | None) -> None:
    """Multiply the weights of a layer by what the spikes of each input channel stand for."""
    if units is None:
        return
    weight = to_numpy(layer.weight.data)
    factor = units.astype(weight.dtype)
    form = form_of(layer)
    if form == "dense":
        scaled = weight.reshape(-1, len(units), weight.shape[-1]) * factor[:, None]
    elif form == "conv_transpose":
        scaled = weight * factor
    elif layer.groups == 1:
        scaled = weight * factor[:, None]
    else:
        # The outputs of a group take the channels of the group.
        of_group = factor.reshape(layer.groups, 1, -1).repeat(weight.shape[-1] // layer.groups, axis=1)
        scaled = weight * of_group.reshape(weight.shape[-1], -1).T
    layer.weight.data = to_device(scaled.reshape(weight.shape).astype(weight.dtype))


def units_after(node: GraphNode, units: dict[int, Array | None], channels: dict[int, int]) -> Array | None:
    """Return what the output spikes of a stage without neurons stand for, by channel; None for numbers."""
    form = form_of(node.stage)
    if form == "join" and node.stage.how == "concatenate":
        of_branches = [units[number] for number in node.inputs]
        if all(unit is None for unit in of_branches):
            return None
        pairs = zip(node.inputs, of_branches, strict=True)
        return np.concatenate([np.ones(channels[number]) if unit is None else unit for number, unit in pairs])
    return None if form in (*WEIGHTED, "join") else units[node.inputs[0]]


@dataclass
class Rates:
    """The conversion of a plain network, layer by layer, with the spikes of earlier layers.

    Attributes:
        numbers: the plain network of numbers.
        x: (N, ...), the recordings.
        encoded: (T, N, ...), the same as the spiking network gets them.
        fit: returns the units of a layer.
    """

    numbers: Sequential
    x: Array
    encoded: Array
    fit: Fit

    def convert(self) -> tuple[Sequential, list[ConvertedLayer]]:
        """Return the spiking network, and a row for each layer of neurons."""
        with no_grad():
            return self._convert()

    def _convert(self) -> tuple[Sequential, list[ConvertedLayer]]:
        self.targets = targets_of(self.numbers, self.x)
        shapes = shapes_of(self.numbers.graph, self.x.shape[1:])
        self.channels = {number: shape[-1] for number, shape in shapes.items()}
        self.net = self._with_neurons()
        # The spikes (T, N, ...) of neurons, and their mean over time.
        self.spikes: dict[int, Array] = {INPUT: self.encoded}
        self.means: dict[int, Array] = {INPUT: self.encoded[:1].astype(np.float32)}
        if self.encoded.dtype == bool:
            self.means[INPUT] = self.encoded.mean(axis=0, dtype=np.float32)[None]
        self.units: dict[int, Array | None] = {INPUT: None}
        # The stages before neurons whose spikes are known: their biases stay.
        self.settled = set[int]()
        rows = []
        last_use = self._last_use()
        for node in self.net.graph.nodes:
            form = form_of(node.stage)
            if is_neuron(node.stage):
                rows.append(self._neurons(node))
                for source in [number for number, user in last_use.items() if user == node.number]:
                    del self.spikes[source]
                continue
            if form in WEIGHTED:
                scale_weights(node.stage, self.units[node.inputs[0]])
            self.units[node.number] = units_after(node, self.units, self.channels)
        self._correct_output()
        return self.net, rows

    def _with_neurons(self) -> Sequential:
        """Return the network with neurons for rectifiers, and weights of its own."""
        replaced: dict[Path, list[Any]] = {}
        # The nodes whose output changes in time.
        changing = {INPUT} if self.encoded.dtype == bool else set()
        for node in self.numbers.graph.nodes:
            stage: Any = node.stage
            form = form_of(stage)
            if form in RECTIFIERS or not changing.isdisjoint(node.inputs):
                changing.add(node.number)
            if form in RECTIFIERS:
                replaced[node.path] = [IF(unit=np.ones(self.channels[node.number]))]
            elif form == "max" and node.number in changing:
                replaced[node.path] = [CountMaxPool(stage.kernel_size, **stage.geometry())]
            elif form in WEIGHTED:
                replaced[node.path] = [effective(stage)]
        return rebuilt(self.numbers, replaced, {})

    def _last_use(self) -> dict[int, int]:
        """Return the last neurons that take the spikes of each neurons or of the input."""
        nodes = self.net.graph.nodes
        neurons = [node for node in nodes if is_neuron(node.stage)]
        return {source: node.number for node in neurons for source in Segment.of(nodes, node.inputs[0]).sources}

    def _run(self, node: GraphNode) -> Array:
        """Return the spikes (T, N, ...) of a node from the spikes before it."""
        segment = Segment.of(self.net.graph.nodes, node.inputs[0])
        steps, recordings = self.encoded.shape[:2]
        shape = (steps, *self.targets[node.number].shape)
        check.memory(f"the spikes of layer {node}", shape)
        spikes = np.empty(shape, bool)
        chunk = max(1, _RUN // steps)
        for start in range(0, recordings, chunk):
            samples = slice(start, start + chunk)
            before = segment.run({number: self.spikes[number][:, samples] for number in segment.sources})
            spikes[:, samples] = to_numpy(node(before).data)
        return spikes

    def _keep(self, number: int, spikes: Array) -> None:
        self.spikes[number] = spikes
        self.means[number] = spikes.mean(axis=0, dtype=np.float32)[None]

    def _neurons(self, node: GraphNode) -> ConvertedLayer:
        """Set the units of neurons and the bias before them; keep their spikes."""
        target = self.targets[node.number]
        segment = Segment.of(self.net.graph.nodes, node.inputs[0])
        current = to_numpy(segment.run(self.means).data[0])
        units = self.fit(by_channel(current), by_channel(target))
        replace_stage(self.net, node.path, IF(unit=units))
        node = self.net.graph.nodes[node.number]
        biased = biased_layer(segment, self.settled)
        for remaining in range(_CORRECTIONS, -1, -1):
            self._keep(node.number, self._run(node))
            difference = target - units * self.means[node.number][0]
            if biased is None or not remaining:
                break
            move_bias(biased, by_channel(difference).mean(axis=0))
        self.settled.update(stage.number for stage in segment.stages)
        self.units[node.number] = units
        size = float(np.sqrt(np.square(target, dtype=np.float64).mean())) or 1.0
        return ConvertedLayer(
            layer=name_of(node),
            error=float(np.sqrt(np.square(difference, dtype=np.float64).mean())) / size,
            rate=float(self.means[node.number].mean()),
            unit=float(units.mean()),
        )

    def _correct_output(self) -> None:
        """Move the last bias by the mean error of each output."""
        graph = self.net.graph
        segment = Segment.of(graph.nodes, graph.output)
        biased = biased_layer(segment, self.settled)
        if biased is not None:
            mean = to_numpy(segment.run(self.means).data[0])
            move_bias(biased, by_channel(self.targets[graph.output] - mean).mean(axis=0))


def by_channel(values: Array) -> Array:
    """Return values (N, ..., C) as (M, C)."""
    return values.reshape(-1, values.shape[-1])


def biased_layer(segment: Segment, settled: Collection[int]) -> Any:
    """Return a weighted layer whose bias moves all outputs of a segment alike; None if there is none.

    Args:
        segment: the segment.
        settled: the stages that must not change.
    """
    stages = {node.number: node for node in segment.stages if node.number not in settled}
    waiting = [segment.output]
    while waiting:
        node = stages.get(waiting.pop())
        if node is None:
            continue
        form = form_of(node.stage)
        if form in ("dense", "conv"):
            return node.stage
        if form in ("mean", "global_mean", "max") or (form == "join" and node.stage.how == "add"):
            waiting += reversed(node.inputs)
    return None


def move_bias(layer: Any, change: Array) -> None:
    """Add a number for each output to the bias of a layer, which may have none yet."""
    dtype = layer.weight.dtype
    if layer.bias is None:
        vars(layer).update(bias=Tensor(to_device(change.astype(dtype)), requires_grad=True))
    else:
        layer.bias.data = layer.bias.data + to_device(change.astype(dtype))
