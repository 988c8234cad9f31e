"""Describe the linear layers between two layers of neurons for the page: kinds, windows, delays and weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, cast

import numpy as np

from cuslayer.backend import to_numpy
from cuslayer.inspection.report.encode import block
from cuslayer.kernels.delay.steps import whole_steps
from cuslayer.kernels.dense import costs
from cuslayer.layers import Conv, ConvTranspose, Delay, Dense, Dropout, Pool, Shift, Unpool
from cuslayer.layers.base import Shape
from cuslayer.network.graph import Node, feeds
from cuslayer.network.join import Join

Connection: TypeAlias = "dict[str, Any]"
Feed: TypeAlias = "dict[str, Any]"
Places: TypeAlias = "Mapping[int, int]"


def describe_feed(nodes: Sequence[Node], number: int, shapes: Mapping[int, Shape], places: Places) -> Feed | None:
    """Return where the output of a node comes from, as model.js reads it; None if it does not know a stage.

    A feed is ``{"source", "connections"}``, the number of a layer on the page and one connection for each stage after
    it; or ``{"branches", "channels", "connections"}`` for stages after a join, with the feed of each branch. A branch
    of a concatenation has ``first`` and ``width``, its place among the channels.

    Args:
        nodes: the nodes of the network's graph.
        number: the number of the node.
        shapes: the shape of each node's output, by number, without T and N.
        places: the number on the page of the input and of each layer of neurons, by the number of its node.
    """
    chain: list[Node] = []
    while number not in places and not isinstance(nodes[number].stage, Join):
        chain.insert(0, nodes[number])
        number = nodes[number].inputs[0]
    of_stages = [shapes[number], *(shapes[node.number] for node in chain)]
    connections = describe_connections([node.stage for node in chain], of_stages)
    if connections is None:
        return None
    if number in places:
        return {"source": places[number], "connections": connections}
    join, inputs = nodes[number].stage, nodes[number].inputs
    branches = [describe_feed(nodes, n, shapes, places) for n in inputs]
    _, between = feeds(nodes, [number])
    stages = [*(nodes[n].stage for n in sorted(between)), *(node.stage for node in chain)]
    if any(branch is None for branch in branches) or _shifts_both_ways(stages):
        return None
    described: Feed = {"branches": branches, "channels": shapes[number][-1], "connections": connections}
    if join.how == "concatenate":
        given = [shapes[n] for n in inputs]
        for branch, shape, first in zip(branches, given, join.offsets(given), strict=True):
            cast(Feed, branch).update(first=first, width=shape[-1])
    return described


def describe_connections(stages: Sequence[Any], shapes: Sequence[Shape]) -> list[Connection] | None:
    """Return one connection per stage, as model.js reads it; None if a stage is of a kind that it does not know.

    The shapes are those of the first stage's input and of each stage's output, without T and N.
    """
    # A subclass may compute something else: the kind must match exactly.
    if not all(type(stage) in _CONNECTIONS and getattr(stage, "bias", None) is None for stage in stages):
        return None
    if _shifts_both_ways(stages):
        return None
    shaped = zip(stages, shapes[:-1], shapes[1:], strict=True)
    return [
        _CONNECTIONS[type(stage)](stage, before, after) for stage, before, after in shaped if type(stage) is not Dropout
    ]


def _shifts_both_ways(stages: Sequence[Any]) -> bool:
    """Return whether stages delay spikes and advance them too.

    A spike shifted beyond an end of time and back is lost, but the sum of the shifts would keep it.
    """
    lags = [steps for stage in stages if isinstance(stage, (Delay, Shift)) for steps in _steps(stage)[0].flat]
    return bool(lags) and min(lags) < 0 < max(lags)


def _dense(layer: Dense, before: Shape, after: Shape) -> Connection:
    w = to_numpy(layer.effective_weight().data)
    summed = {"sixesAbove": costs.busy_above(w), "together": costs.INPUTS}
    return {"kind": "dense", "outputs": after[0], "weight": block(w, "f4")} | summed


def _conv(layer: Conv | ConvTranspose, before: Shape, after: Shape) -> Connection:
    weight = block(to_numpy(layer.effective_weight().data), "f4")
    return _window(layer, before, after) | {"groups": layer.groups, "weight": weight}


def _pool(layer: Pool | Unpool, before: Shape, after: Shape) -> Connection:
    if not layer.weight_hook:
        return _window(layer, before, after) | {"gain": layer.gain}
    # A weight for each tap: a convolution in which each channel is a group.
    weight = np.broadcast_to(to_numpy(layer.effective_weight().data), (*layer.kernel_size, 1, before[2]))
    return _window(layer, before, after) | {"groups": before[2], "weight": block(np.ascontiguousarray(weight), "f4")}


def _window(layer: Any, before: Shape, after: Shape) -> Connection:
    """Return the windows of a layer; those of a transposed layer lie on its output."""
    transposed = isinstance(layer, (ConvTranspose, Unpool))
    image, maps = (after, before) if transposed else (before, after)
    sizes = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation")}
    return {"kind": "window", "transposed": transposed, "image": image, "maps": maps} | sizes


def _delay(layer: Delay | Shift, before: Shape, after: Shape) -> Connection:
    steps, shares = (np.broadcast_to(x, before).ravel() for x in _steps(layer))
    linear = isinstance(layer, Delay) and layer.mode == "linear"
    return {"kind": "delay", "steps": block(steps, "i4"), "shares": block(shares if linear else 0 * shares, "f8")}


def _steps(layer: Delay | Shift) -> tuple[Any, Any]:
    delay = to_numpy(layer.delay.data) if isinstance(layer, Delay) else layer.delay
    return whole_steps(delay, layer.dt)


_CONNECTIONS: dict[type, Callable[[Any, Shape, Shape], Connection]] = {
    Dense: _dense,
    Conv: _conv,
    ConvTranspose: _conv,
    Pool: _pool,
    Unpool: _pool,
    Delay: _delay,
    Shift: _delay,
    Dropout: lambda layer, before, after: {},
}
