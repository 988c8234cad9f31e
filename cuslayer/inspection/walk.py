"""Walk through a network stage by stage; find its layers by address, name them, and tell their output shapes.

Everything that looks into a network does so by this loop::

    steps = Walk(net, x)
    for at in steps:
        at.node, at.name, at.inputs  # before the stage runs
        at.output, at.potentials  # the first use of one of them runs the stage
        at.output = ...  # what the stages after it get instead
    y = steps.output
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from functools import cached_property
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_numpy
from cuslayer.layers import Layer, TemporalFilter
from cuslayer.layers.base import Shape
from cuslayer.loss import CrossEntropyLoss, SpikeCountLoss, SpikeTimeLoss
from cuslayer.network.container import Container, graph_of
from cuslayer.network.graph import INPUT, Address, Graph, Node, as_address
from cuslayer.network.modes import ends_in_read_out, values_within
from cuslayer.network.network import Sequential
from cuslayer.network.shapes import shape_after
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron
from cuslayer.neurons.potential import Potentials, on_potential
from cuslayer.tape import Tensor

_UNSET: Any = object()


class Unit(NamedTuple):
    """A layer and the neurons after it, or one of the two alone.

    Attributes:
        layer: the node of the layer, of a join of branches, or of a function; None if there is none.
        neurons: the node of the neurons; None if there are none.
    """

    layer: Node | None
    neurons: Node | None

    @property
    def last(self) -> Node:
        """The node of its last stage."""
        return self.layer if self.neurons is None else self.neurons  # type: ignore[return-value]

    @property
    def address(self) -> Address:
        """The address of its last stage."""
        return self.last.address

    @property
    def name(self) -> str:
        """Its name in messages and tables: ``layer 1 (Dense(4, 3), SRM)``."""
        layer = "" if self.layer is None else check.one_line(self.layer.stage)
        neurons = "" if self.neurons is None else type(self.neurons.stage).__name__
        return f"layer {self.last} ({', '.join(filter(None, (layer, neurons)))})"

    @property
    def model(self) -> Neuron | None:
        """Its neurons as a `Neuron`; None if it has none."""
        return None if self.neurons is None else as_neuron("network", self.neurons.stage)


class Visit:
    """A stage of a network with its inputs, and what it makes of them.

    Attributes:
        node: the node.
        inputs: the outputs of the stages before it, one for each of `node.inputs`.
        unit: the unit that the node belongs to.
        call: computes the output from the inputs; by default the node.
    """

    def __init__(self, node: Node, inputs: tuple[Any, ...], unit: Unit, call: Callable[..., Any] | None = None) -> None:
        self.node, self.inputs, self.unit, self.call = node, inputs, unit, call or node
        self._output: Any = _UNSET
        self._potentials: Array | None = None

    @property
    def number(self) -> int:
        """The number of the node."""
        return self.node.number

    @property
    def address(self) -> Address:
        """The address of the stage."""
        return self.node.address

    @property
    def stage(self) -> Any:
        """The stage."""
        return self.node.stage

    @property
    def name(self) -> str:
        """The name of its unit."""
        return self.unit.name

    @cached_property
    def neurons(self) -> Neuron | None:
        """The stage as a `Neuron`; None if it is anything else. Their weighted input is ``inputs[0]``."""
        return as_neuron("network", self.stage) if is_neuron(self.stage) else None

    @property
    def output(self) -> Any:
        """The output; the first use runs the stage. It may be set, before or after, for the stages after this one."""
        if self._output is _UNSET:
            found: list[Potentials] = []
            with on_potential(found.append) if is_neuron(self.stage) else nullcontext():
                self._output = self.call(*self.inputs)
            self._potentials = found[0].values if found else None
        return self._output

    @output.setter
    def output(self, value: Any) -> None:
        self._output = value

    @property
    def potentials(self) -> Array | None:
        """The membrane potentials (T, N, ...) of neurons that save them; None of any other stage.

        Whoever keeps them must copy them: backward may overwrite them.
        """
        y, u = self.output, self._potentials
        return u.reshape(y.shape) if u is not None and u.size == y.size else u


class Walk:
    """Visits the stages of a network in the order in which they run, without fusion: an iterator of `Visit`.

    Args:
        net: a network, or its graph.
        x: the input; or known outputs by the number of their node, that of the input being INPUT. They may be anything
            that `Visit.call` takes, or that the loop makes an output of.
        nodes: the nodes to visit; all by default.
        last: the number of the node whose output is the result; by default the network's.

    Attributes:
        output: the result, after the loop.
    """

    def __init__(self, net: Any, x: Any, nodes: Sequence[Node] | None = None, last: int | None = None) -> None:
        graph = net if isinstance(net, Graph) else graph_of(net)
        self.nodes, self.last = graph.nodes if nodes is None else nodes, graph.output if last is None else last
        self.units = {node.number: unit for unit in units(graph) for node in unit if node is not None}
        self._values: dict[int, Any] = dict(x) if isinstance(x, dict) else {INPUT: x}

    def __iter__(self) -> Iterator[Visit]:
        values = self._values
        left = Counter([self.last, *(number for node in self.nodes for number in node.inputs)])
        for node in self.nodes:
            visit = Visit(node, tuple(values[number] for number in node.inputs), self.units[node.number])
            left.subtract(node.inputs)
            for number in set(node.inputs):  # nobody needs them any more
                if not left[number]:
                    del values[number]
            yield visit
            values[node.number] = visit.output

    @property
    def output(self) -> Any:
        return self._values[self.last]

    def run(self) -> Any:
        """Run all stages and return the result."""
        for _ in self:
            pass
        return self.output


def units(net: Any) -> list[Unit]:
    """Return the units of a network or a graph, also those in branches and nested networks, in order."""
    graph = net if isinstance(net, Graph) else graph_of(net)
    uses, found = graph.uses(), dict[int, Unit]()
    for node in graph.nodes:
        if not is_neuron(node.stage):
            found[node.number] = Unit(node, None)
            continue
        before = found.get(node.inputs[0])
        of_layer = before is not None and before.neurons is None and isinstance(before.last.stage, Layer)
        if of_layer and uses[node.inputs[0]] == 1:
            found[node.number] = Unit(found.pop(node.inputs[0]).layer, node)
        else:
            found[node.number] = Unit(None, node)
    return list(found.values())


_VISIBLE = "build it of Sequential and Parallel, or as a subclass of Sequential"


def check_network(op: str, net: Any) -> None:
    """Raise TypeError unless net is a network."""
    if not isinstance(net, Sequential):
        hint = ""
        if isinstance(net, Container):
            hint = f"; write Sequential({type(net).__name__}(...))"
        elif isinstance(net, Layer):
            hint = f"; {_VISIBLE}"
        raise TypeError(f"{op}: net must be a Network or Sequential, got {type(net).__name__}{hint}")


def check_neurons(op: str, net: Any) -> None:
    """Raise TypeError unless a network has neurons in its graph."""
    nodes = graph_of(net).nodes
    if any(is_neuron(node.stage) for node in nodes):
        return
    holding = [node for node in nodes if isinstance(node.stage, Layer) and _holds_neurons(node.stage)]
    which = f"layer {holding[0]} ({type(holding[0].stage).__name__})" if holding else ""
    raise TypeError(f"{op}: net has no neurons{which and f': those within {which} are not seen; {_VISIBLE}'}")


def _holds_neurons(layer: Layer) -> bool:
    # A filter has a neuron for its response alone.
    layers = (each for each in layer.layers_within() if not isinstance(each, TemporalFilter))
    return any(is_neuron(value) for each in layers for value in values_within(vars(each)))


def find_unit(op: str, net: Any, layer: Any) -> Unit:
    """Return the unit of a layer, given by its address, with negative positions from the end, or as the object itself.

    A nested network stands for its last stage, and parallel branches for their join.

    Raises:
        IndexError: the position is out of range.
        ValueError: the layer is not in the network, or is at several positions.
    """
    graph = graph_of(net)
    # By path, so that a join, which has the path of its branches, is counted once.
    places: dict[tuple[int, ...], tuple[int, list[Any]]] = {n.path: (n.number, [n.stage]) for n in graph.nodes}
    for part in graph.parts:
        places.setdefault(part.path, (part.output, []))[1].append(part.container)
    path = _path(op, net, layer)
    if path is None:
        found = [at for at, (_, stages) in places.items() if any(stage is layer for stage in stages)]
    else:
        found = [path] if path in places else []
    if not found:
        raise ValueError(f"{op}: layer {check.one_line(layer)} is none of the network's{_listed(net)}")
    if len(found) > 1:
        positions = ", ".join(str(as_address(at)) for at in found)
        raise ValueError(f"{op}: layer {type(layer).__name__} stands at {positions}: name a position")
    number = places[found[0]][0]
    if number == INPUT:
        raise ValueError(f"{op}: layer {as_address(found[0])} is empty: it passes the network's input on")
    return next(unit for unit in units(graph) if number in (node.number for node in unit if node is not None))


# The longest list of layers in a message.
_MOST = 300
_POSITION = (int, np.integer)


def _listed(inside: Any) -> str:
    """Return the stages of a network with their positions, for messages; none of anything else."""
    if not isinstance(inside, Container) or not len(inside):
        return ""
    named = ", ".join(f"{position} {_described(stage)}" for position, stage in enumerate(inside))
    return f"; its layers are {named if len(named) <= _MOST else named[: named.rindex(', ', 0, _MOST)] + ', ...'}"


def _described(stage: Any) -> str:
    if isinstance(stage, Layer) and not isinstance(stage, (Container, Neuron)):
        return check.one_line(stage, 60)
    return getattr(stage, "__name__", type(stage).__name__)


def _path(op: str, net: Any, layer: Any) -> tuple[int, ...] | None:
    """Return an address as a path without negative positions; None for anything else."""
    positions = layer if isinstance(layer, tuple) else (layer,)
    if not positions or not all(isinstance(at, _POSITION) and not isinstance(at, bool) for at in positions):
        return None
    path, inside = list[int](), net
    for at in positions:
        size = len(inside) if isinstance(inside, Container) else 0
        if not -size <= at < size:
            nested = f" in layer {as_address(tuple(path))}" if path else ""
            raise IndexError(f"{op}: layer{nested} must be under {size}, got {at}{_listed(inside)}")
        path.append(int(at) % size)
        inside = inside[path[-1]]
    return tuple(path)


def is_path(net: Any, value: Any) -> bool:
    """Return whether a value is the address of a layer in a nested network: a tuple that begins with its position."""
    positions = isinstance(value, tuple) and len(value) > 1 and all(isinstance(at, _POSITION) for at in value)
    return positions and -len(net) <= value[0] < len(net) and isinstance(net[value[0]], Container)


def dt_at(net: Any, number: int) -> float:
    """Return the time step in ms at a node: of the next neurons, or of the nearest before; 1 without neurons."""
    stages = [node.stage for node in graph_of(net).nodes]
    around = (*stages[number:], *reversed(stages[:number]))
    return float(next((as_neuron("network", stage).dt for stage in around if is_neuron(stage)), 1.0))


def output_shapes(net: Any) -> list[Shape | None]:
    """Return the output shape (without T and N) of each stage in the order in which they run; None if it is unknown.

    A `Network` knows its input shape. In any other network, shapes are known from the first layer on whose output shape
    does not depend on its input, such as a dense layer.

    >>> from cuslayer.network import Network
    >>> from cuslayer.neurons import SRM
    >>> output_shapes(Network("34x34x2-16c5-2a-10", SRM()))
    [(34, 34, 16), (34, 34, 16), (17, 17, 16), (17, 17, 16), (10,), (10,)]
    """
    shapes: dict[int, Shape | None] = {INPUT: getattr(net, "input_shape", None)}
    for node in graph_of(net).nodes:
        given = [shapes[number] for number in node.inputs]
        try:
            shapes[node.number] = shape_after(node.stage, given)
        except ValueError:  # shapes that do not match: an error of the call, not of this table
            shapes[node.number] = shape_after(node.stage, [None for _ in given])
    del shapes[INPUT]
    return list(shapes.values())


def check_loss(op: str, loss: Any) -> None:
    """Raise TypeError unless loss is a function or None, for the default."""
    if loss is not None and not callable(loss):
        raise TypeError(f"{op}: loss must be a function of spikes and target, got {type(loss).__name__}")


# The desired counts of the default loss, of the labelled class and of the others; at most a spike a step.
_COUNTS = (60, 10)


def default_loss(net: Any, out: Tensor, target: Any) -> Any:
    """Return `SpikeTimeLoss` for a target of the output's shape, else `SpikeCountLoss`, with the last neurons.

    Of fewer than 60 steps, the labelled class should fire in each. Of a read-out without spikes, it is
    `CrossEntropyLoss`.
    """
    if ends_in_read_out(net):
        return CrossEntropyLoss()
    last = [node.stage for node in graph_of(net).nodes if is_neuron(node.stage)][-1]
    given = target.data if isinstance(target, Tensor) else np.asarray(to_numpy(target))
    if given.shape == out.shape:
        return SpikeTimeLoss(last)
    true, false = (min(count, len(out)) for count in _COUNTS)
    return SpikeCountLoss(last, true, false)


_rates: WeakKeyDictionary[Any, dict[Address, float]] = WeakKeyDictionary()


def note_rates(net: Any, rates: Mapping[Address, float]) -> None:
    """Note the mean firing rates of layers in Hz, by address; they replace the rates noted before.

    >>> from cuslayer.network import Sequential
    >>> net = Sequential()
    >>> note_rates(net, {1: 12.5}); rates_of(net)
    {1: 12.5}
    """
    _rates[net] = dict(rates)


def rates_of(net: Any) -> dict[Address, float]:
    """Return the noted firing rates in Hz by address; empty if none are noted."""
    return dict(_rates.get(net, {}))
