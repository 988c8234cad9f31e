"""Rebuild a network with other stages: the plain network of numbers that conversion starts from."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from cuslayer._tape import Tensor
from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.layers import BatchNorm, Conv, Dense
from cuslayer.layers.base import Shape, form_of
from cuslayer.network.graph import INPUT, Graph, GraphNode
from cuslayer.network.network import Container, Parallel, Sequential
from cuslayer.network.shapes import shapes_of
from cuslayer.neurons.base import is_neuron

WEIGHTED = ("dense", "conv", "conv_transpose")
RECTIFIERS = ("relu", "quantized_relu")
# The output at each place follows from the inputs of its channel, in proportion.
CHANNELWISE = ("pool", "unpool", "mean", "global_mean", "max")
_KNOWN = (*WEIGHTED, *RECTIFIERS, *CHANNELWISE, "norm", "same", "join")

Path = tuple[int, ...]


def rebuilt(net: Container, replaced: Mapping[Path, Sequence[Any]], appended: Mapping[Path, Any]) -> Sequential:
    """Return a network of the same stages; nested networks without branches become part of the network around them.

    Args:
        net: the network.
        replaced: the stages in place of a stage, by its path.
        appended: the last stage of a branch, or with the path () of the network.
    """
    return Sequential(*_stages(net, replaced, appended, ()))


def _stages(stage: Any, replaced: Mapping[Path, Sequence[Any]], appended: Mapping[Path, Any], path: Path) -> list[Any]:
    if isinstance(stage, Parallel):
        branches = []
        for number, branch in enumerate(stage.branches):
            inner = _stages(branch, replaced, appended, (*path, number))
            branches.append(Sequential(*inner))
        stages: list[Any] = [Parallel(*branches, join=stage.join)]
    elif isinstance(stage, Container):
        inside = enumerate(stage.stages)
        stages = [new for number, inner in inside for new in _stages(inner, replaced, appended, (*path, number))]
    else:
        stages = list(replaced.get(path, [stage]))
    return [*stages, appended[path]] if path in appended else stages


def plain(net: Sequential, shape: Shape, dtype: Any = np.float32) -> Sequential:
    """Return an equal network in which only weights, rectifiers, pooling and joins are left.

    Normalization is folded into weights, or becomes weights; a rectifier stands before the maximum of a window. Where
    a rectified value would reach a rectifier, a sum or the output without weights, it passes weights of 1.

    Args:
        net: a network of numbers, in evaluation.
        shape: the shape of its input after T and N.
        dtype: the type of its weights.

    Raises:
        ValueError: a stage is none of a network of numbers, or net has a `__call__` of its own.
    """
    if type(net).__call__ is not Container.__call__:
        raise ValueError(f"net must be called as a Sequential is, {type(net).__name__} has a __call__ of its own")
    _check(net.graph)
    replaced: dict[Path, list[Any]] = {}
    for node in net.graph.nodes:
        if form_of(node.stage) == "same":
            replaced[node.path] = []
        elif form_of(node.stage) in WEIGHTED:
            replaced[node.path] = [effective(node.stage, dtype)]
    net = rebuilt(net, replaced, {})
    net = _without_norms(net, shape, dtype)
    net = _rectified_first(net)
    return _with_weights(net, shape, dtype)


def _check(graph: Graph) -> None:
    for node in graph.nodes:
        stage: Any = node.stage
        form = form_of(stage)
        if is_neuron(stage) or form == "recurrent":
            raise ValueError(f"net must be a network of numbers, layer {node} ({type(stage).__name__}) has neurons")
        if form not in _KNOWN or getattr(stage, "delays", None) is not None:
            kinds = "Dense, Conv, pooling, BatchNorm, Dropout, ReLU, QuantizedReLU and branches"
            raise ValueError(f"net must be of {kinds}, layer {node} is {node.described}")
        if form == "join" and stage.how not in ("add", "concatenate"):
            raise ValueError(f"branches must be added or concatenated, layer {node} joins by {stage.how!r}")
    if not any(form_of(node.stage) in RECTIFIERS for node in graph.nodes):
        raise ValueError("net must have a rectifier, ReLU or QuantizedReLU, that neurons can replace, it has none")


def effective(layer: Any, dtype: Any = None) -> Any:
    """Return a copy of a layer whose weight is the weight after its hooks; of another type, if one is named."""
    layer = copy.copy(layer)
    weight = layer.effective_weight().data
    weight = weight.astype(weight.dtype if dtype is None else dtype)
    bias = None
    if layer.bias is not None:
        bias = Tensor(layer.bias.data.astype(weight.dtype), requires_grad=layer.bias.requires_grad)
    # Neither neurons that come after it nor calibration scale its weight.
    tensors = {"weight": Tensor(weight, requires_grad=layer.weight.requires_grad), "bias": bias}
    vars(layer).update(tensors, weight_hook=None, own_scale=True)
    return layer


def channel_weights(shape: Shape, factor: Array, addend: Array | None = None, dtype: Any = np.float32) -> Conv | Dense:
    """Return weights that multiply each channel of an input (H, W, C) or (C,) by a factor, and add a number."""
    channels = shape[-1]
    layer: Any
    if len(shape) == 3:
        layer = Conv(channels, channels, 1, groups=channels, bias=addend is not None, weight_scale=1.0)
        weight = factor.reshape(1, 1, 1, channels)
    else:
        layer = Dense(channels, channels, bias=addend is not None, weight_scale=1.0)
        weight = np.diag(factor)
    layer.weight.data = to_device(weight.astype(dtype))
    if addend is not None:
        layer.bias.data = to_device(addend.astype(dtype))
    return layer


def _without_norms(net: Sequential, shape: Shape, dtype: Any) -> Sequential:
    graph = net.graph
    uses = graph.uses()
    shapes = shapes_of(graph, shape)
    replaced: dict[Path, list[Any]] = {}
    for node in graph.nodes:
        if form_of(node.stage) != "norm":
            continue
        factor, addend = affine(node.stage)
        before = None if node.inputs[0] == INPUT else graph.nodes[node.inputs[0]]
        if before is None or form_of(before.stage) not in ("dense", "conv") or uses[before.number] > 1:
            replaced[node.path] = [channel_weights(shapes[node.number], factor, addend, dtype)]
            continue
        layer = effective(before.stage)
        weight = to_numpy(layer.weight.data)
        bias = 0.0 if layer.bias is None else to_numpy(layer.bias.data).astype(np.float64)
        layer.weight.data = to_device((weight * factor).astype(weight.dtype))
        total = to_device((bias * factor + addend).astype(weight.dtype))
        vars(layer).update(bias=Tensor(total, requires_grad=layer.weight.requires_grad))
        replaced[before.path] = [layer]
        replaced[node.path] = []
    return rebuilt(net, replaced, {})


def affine(norm: BatchNorm) -> tuple[Array, Array]:
    """Return the factor and the addend (C,) of a normalization in evaluation, float64."""
    centre, factor, addend = np.asarray(norm.fixed_map(norm.var.data), np.float64)
    return factor, addend - centre * factor


def _rectified_first(net: Sequential) -> Sequential:
    """Return the network with rectifiers before the maximum that they follow: both orders give the same numbers."""
    graph = net.graph
    uses = graph.uses()
    replaced: dict[Path, list[Any]] = {}
    for node in graph.nodes:
        before = node.inputs[0]
        if form_of(node.stage) not in RECTIFIERS or before == INPUT:
            continue
        pool = graph.nodes[before]
        if form_of(pool.stage) == "max" and uses[before] == 1:
            replaced[pool.path] = [node.stage, pool.stage]
            replaced[node.path] = []
    return rebuilt(net, replaced, {})


def spiking_nodes(graph: Graph) -> set[int]:
    """Return the nodes whose output will be spikes, or sums of spikes of one channel."""
    spiking = set[int]()
    for node in graph.nodes:
        form = form_of(node.stage)
        from_spikes = any(number in spiking for number in node.inputs)
        if form in RECTIFIERS or (from_spikes and (form in CHANNELWISE or _concatenates(node))):
            spiking.add(node.number)
    return spiking


def _concatenates(node: GraphNode) -> bool:
    return form_of(node.stage) == "join" and node.stage.how == "concatenate"


def _with_weights(net: Sequential, shape: Shape, dtype: Any) -> Sequential:
    """Return the network with weights of 1 where spikes would reach neurons, a sum or the output without any."""
    graph = net.graph
    shapes = shapes_of(graph, shape)
    spiking = spiking_nodes(graph)
    replaced: dict[Path, list[Any]] = {}
    appended: dict[Path, Any] = {}

    def ones(number: int) -> Any:
        return channel_weights(shapes[number], np.ones(shapes[number][-1]), None, dtype)

    for node in graph.nodes:
        if form_of(node.stage) in RECTIFIERS and node.inputs[0] in spiking:
            replaced[node.path] = [ones(node.inputs[0]), node.stage]
        if form_of(node.stage) == "join" and not _concatenates(node):
            for branch, number in enumerate(node.inputs):
                if number in spiking:
                    appended[(*node.path, branch)] = ones(number)
    if graph.output in spiking:
        appended[()] = ones(graph.output)
    return rebuilt(net, replaced, appended)
