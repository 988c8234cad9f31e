"""Exact conversion of quantized rectifiers: neurons take all their input, then fire as often as it says."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer._tape import Tensor, no_grad
from cuslayer.backend import to_device, to_numpy
from cuslayer.interchange.conversion.rates import scale_weights, units_after
from cuslayer.interchange.conversion.rebuild import RECTIFIERS, WEIGHTED, Path, channel_weights, effective, rebuilt
from cuslayer.interchange.conversion.segment import Segment
from cuslayer.layers.base import Shape, form_of
from cuslayer.layers.count_pool import CountMaxPool
from cuslayer.layers.first_step import FirstStep
from cuslayer.network.graph import INPUT
from cuslayer.network.network import Sequential
from cuslayer.network.shapes import shapes_of
from cuslayer.neurons.integrate_and_fire import WaitingIF


def exact(numbers: Sequential, shape: Shape) -> tuple[Sequential, int]:
    """Return the spiking network of a plain network with quantized rectifiers, and its number of steps.

    The neurons of a layer wait until the last neurons before them have fired. Their potential then is, in any order of
    the spikes, the input of the rectifier. Weights are float64, so that rounding does not depend on the order either.

    Args:
        numbers: the plain network, float64, whose rectifiers are quantized.
        shape: the shape of its input after T and N.

    Raises:
        ValueError: biases before a maximum, or of the output, differ between places.
    """
    graph = numbers.graph
    shapes = shapes_of(graph, shape)
    channels = {number: of_node[-1] for number, of_node in shapes.items()}
    units: dict[int, Any] = {INPUT: None}
    # The last step at which the output of a node may differ from 0.
    last = {INPUT: 0}
    replaced: dict[Path, list[Any]] = {}
    for node in graph.nodes:
        stage: Any = node.stage
        form = form_of(stage)
        last[node.number] = max(last[number] for number in node.inputs)
        if form in RECTIFIERS:
            unit = float(to_numpy(stage.limit.data)) / stage.levels
            units[node.number] = np.full(channels[node.number], unit)
            neurons = WaitingIF(unit=unit, wait=last[node.number], levels=stage.levels)
            last[node.number] = neurons.last
            replaced[node.path] = [neurons]
            continue
        units[node.number] = units_after(node, units, channels)
        if form in WEIGHTED:
            layer = effective(stage)
            scale_weights(layer, units[node.inputs[0]])
            replaced[node.path] = [layer]
        elif form == "max":
            replaced[node.path] = [CountMaxPool(stage.kernel_size, **stage.geometry())]
    steps = last[graph.output] + 1
    net = rebuilt(numbers, replaced, {})
    with no_grad():
        return _with_offsets(net, shapes, steps), steps


def _with_offsets(net: Sequential, shapes: dict[int, Any], steps: int) -> Sequential:
    """Return the network with an input of one step, and biases as the potential at the start."""
    graph = net.graph
    replaced: dict[Path, list[Any]] = {}
    for node in graph.nodes:
        neurons = node.stage
        if form_of(neurons) == "count_max":
            bias = Segment.of(graph.nodes, node.inputs[0]).at_rest(shapes, np.float64)
            if bias.ndim > 1:
                raise ValueError(
                    "biases before a maximum must be the same at all places for method 'qcfs', they differ; "
                    "put the rectifier next to MaxPool"
                )
        if isinstance(neurons, WaitingIF):
            offset = Segment.of(graph.nodes, node.inputs[0]).at_rest(shapes, np.float64)
            constants = {"unit": neurons.unit, "wait": neurons.wait, "levels": neurons.levels}
            replaced[node.path] = [WaitingIF(**constants, offset=offset)]
    # The output has no potential that could start with it: each step adds its share.
    share = Segment.of(graph.nodes, graph.output).at_rest(shapes, np.float64) / steps
    if share.ndim > 1:
        raise ValueError("the bias of the output must be the same at all places, it differs; end the network in Dense")
    for node in graph.nodes:
        if form_of(node.stage) in WEIGHTED:
            vars(node.stage).update(bias=None)
    last: Any = graph.nodes[graph.output].stage
    appended: dict[Path, Any] = {}
    if form_of(last) in ("dense", "conv"):
        vars(last).update(bias=Tensor(to_device(share), requires_grad=True))
    elif share.any():
        appended[()] = channel_weights(shapes[graph.output], np.ones(share.shape), share, np.float64)
    return Sequential(FirstStep(), *rebuilt(net, replaced, appended).stages)
