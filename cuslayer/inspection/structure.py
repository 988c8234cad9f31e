"""Layers of a network by address, and their shapes; the default loss of inspection, and noted firing rates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from cuslayer._base import check
from cuslayer._tape import Tensor
from cuslayer.backend import to_numpy
from cuslayer.layers import Layer
from cuslayer.layers.base import Shape
from cuslayer.loss import CrossEntropyLoss, SpikeCountLoss, SpikeTimeLoss
from cuslayer.network.graph import INPUT, Address, as_address
from cuslayer.network.network import Container, Where
from cuslayer.network.shapes import known_shapes
from cuslayer.network.walk import Unit, ends_in_read_out, units
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron


def find_unit(net: Container, layer: Where) -> Unit:
    """Return the unit of a layer, given by its address (negative positions from the end), its name, or as the object.

    A nested network stands for its last stage, and parallel branches for their join.
    """
    layer = net.path_of(layer) if isinstance(layer, str) else layer
    graph = net.graph
    # By path: a join has the path of its branches, and so counts once.
    places: dict[tuple[int, ...], tuple[int, list[Any]]] = {n.path: (n.number, [n.stage]) for n in graph.nodes}
    for part in graph.parts:
        places.setdefault(part.path, (part.output, []))[1].append(part.container)
    path = _path(net, layer)
    if path is None:
        found = [at for at, (_, stages) in places.items() if any(stage is layer for stage in stages)]
    else:
        found = [path] if path in places else []
    if not found:
        raise ValueError(f"layer {check.one_line(layer)} is none of the network's{_listed(net)}")
    if len(found) > 1:
        positions = ", ".join(str(as_address(at)) for at in found)
        raise ValueError(f"layer {type(layer).__name__} stands at {positions}: name a position")
    number = places[found[0]][0]
    if number == INPUT:
        raise ValueError(f"layer {as_address(found[0])} is empty: it passes the network's input on")
    return next(unit for unit in units(graph) if number in (node.number for node in unit if node is not None))


# The longest list of layers in a message.
_MOST = 300
_POSITION = (int, np.integer)


def _listed(inside: object) -> str:
    """Return the stages of a network with their positions, for messages; none for anything else."""
    if not isinstance(inside, Container) or not len(inside):
        return ""
    named = ", ".join(f"{position} {_described(stage)}" for position, stage in enumerate(inside))
    return f"; its layers are {named if len(named) <= _MOST else named[: named.rindex(', ', 0, _MOST)] + ', ...'}"


def _described(stage: object) -> str:
    if isinstance(stage, Layer) and not isinstance(stage, (Container, Neuron)):
        return check.one_line(stage, 60)
    return getattr(stage, "__name__", type(stage).__name__)


def _path(net: Container, layer: object) -> tuple[int, ...] | None:
    """Return an address as a path without negative positions; None for anything else."""
    positions = layer if isinstance(layer, tuple) else (layer,)
    if not positions or not all(isinstance(at, _POSITION) and not isinstance(at, bool) for at in positions):
        return None
    path, inside = list[int](), net
    for at in positions:
        size = len(inside) if isinstance(inside, Container) else 0
        if not -size <= at < size:
            nested = f" in layer {as_address(tuple(path))}" if path else ""
            raise IndexError(f"layer{nested} must be under {size}, got {at}{_listed(inside)}")
        path.append(int(at) % size)
        inside = inside[path[-1]]
    return tuple(path)


def is_path(net: Container, value: Any) -> bool:
    """Return whether a value is the address of a layer in a nested network: a tuple that begins with its position."""
    positions = isinstance(value, tuple) and len(value) > 1 and all(isinstance(at, _POSITION) for at in value)
    return positions and -len(net) <= value[0] < len(net) and isinstance(net[value[0]], Container)


def dt_at(net: Container, number: int) -> float:
    """Return the time step in ms at a node: of the next neurons, or of the nearest before; 1 without neurons."""
    stages = [node.stage for node in net.graph.nodes]
    around = (*stages[number:], *reversed(stages[:number]))
    return float(next((as_neuron(stage).dt for stage in around if is_neuron(stage)), 1.0))


def output_shapes(net: Container) -> list[Shape | None]:
    """Return the output shape (without T and N) of each stage in the order in which they run; None if unknown.

    A `Network` has its input shape. Other networks have shapes from the first layer on whose output shape does not
    depend on its input, such as a dense layer.

    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import SRM
    >>> output_shapes(Network("34x34x2-16c5-2a-10", SRM()))
    [(34, 34, 16), (34, 34, 16), (17, 17, 16), (17, 17, 16), (10,), (10,)]
    """
    return list(known_shapes(net.graph, getattr(net, "input_shape", None)).values())[1:]


def check_loss(loss: Callable[..., Tensor] | None) -> None:
    """Raise TypeError unless loss is a function or None, for the default."""
    if loss is not None and not callable(loss):
        raise TypeError(f"loss must be a function of spikes and target, got {type(loss).__name__}")


# The desired counts of the default loss for the labelled class and the others; at most a spike a step.
_COUNTS = (60, 10)


def default_loss(net: Container, out: Tensor, target: object) -> Callable[..., Tensor]:
    """Return `SpikeTimeLoss` for a target of the output's shape, else `SpikeCountLoss`, with the last neurons.

    With fewer than 60 steps, or a recording of fewer, the labelled class should fire in each. For a read-out without
    spikes, return `CrossEntropyLoss`.
    """
    if ends_in_read_out(net):
        return CrossEntropyLoss()
    last = [node.stage for node in net.graph.nodes if is_neuron(node.stage)][-1]
    given = target.data if isinstance(target, Tensor) else np.asarray(to_numpy(target))
    if given.shape == out.shape:
        return SpikeTimeLoss(last)
    steps = len(out) if out.lengths is None else int(out.lengths.min())
    true, false = (min(count, steps) for count in _COUNTS)
    return SpikeCountLoss(last, true, false)


_rates: WeakKeyDictionary[Any, dict[Address, float]] = WeakKeyDictionary()


def note_rates(net: Container, rates: Mapping[Address, float]) -> None:
    """Note the mean firing rates of layers in Hz, by address; they replace the rates noted before."""
    _rates[net] = dict(rates)


def rates_of(net: Container) -> dict[Address, float]:
    """Return the noted firing rates in Hz by address; empty if none are noted."""
    return dict(_rates.get(net, {}))
