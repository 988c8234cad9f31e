"""Walk through a network stage by stage, in evaluation mode or on a copy.

All inspection of a network uses this loop::

    steps = Walk(net, x)
    for at in steps:
        at.node, at.name, at.inputs  # before the stage runs
        at.output, at.potentials  # the first use of one of them runs the stage
        at.output = ...  # replaces the output for later stages
    y = steps.output
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from typing import Any, NamedTuple

from cuslayer._base import check
from cuslayer._tape import Potentials, Tensor, on_potential
from cuslayer.backend import Array, preserved_generator
from cuslayer.layers.base import Layer, as_layer, form_of
from cuslayer.network.graph import INPUT, Address, Graph, GraphNode, flow
from cuslayer.network.network import Container, Sequential
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron
from cuslayer.neurons.states import Carried

# Advice for layers that a graph does not show.
VISIBLE = "build it of Sequential and Parallel, or as a subclass of Sequential"
_UNSET: Any = object()


class Unit(NamedTuple):
    """A layer and the neurons after it, or only one of the two."""

    layer: GraphNode | None  # also a join of branches, or a function
    neurons: GraphNode | None

    @property
    def last(self) -> GraphNode:
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
        return None if self.neurons is None else as_neuron(self.neurons.stage)


class Visit:
    """A stage of a network with its inputs, one for each of `node.inputs`, and its output, which `call` computes."""

    def __init__(
        self, node: GraphNode, inputs: tuple[Any, ...], unit: Unit, call: Callable[..., object] | None = None
    ) -> None:
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
        """The stage as a `Neuron`; None for other stages. Its weighted input is ``inputs[0]``."""
        return as_neuron(self.stage) if is_neuron(self.stage) else None

    @property
    def output(self) -> Any:
        """The output; the first use runs the stage. It may be set, before or after, for later stages."""
        if self._output is _UNSET:
            found: list[Potentials] = []
            with on_potential(found.append) if is_neuron(self.stage) else nullcontext():
                self._output = self.call(*self.inputs)
            self._potentials = found[0].values if found else None
        return self._output

    @output.setter
    def output(self, value: object) -> None:
        self._output = value

    @property
    def potentials(self) -> Array | None:
        """The membrane potentials (T, N, ...) of neurons that save them; None for any other stage.

        Copy them to keep them: backward may overwrite them.
        """
        y, u = self.output, self._potentials
        return u.reshape(y.shape) if u is not None and u.size == y.size else u


class Walk:
    """Visits the stages of a network in the order in which they run, without fusion: an iterator of `Visit`.

    x is the input, or known outputs by the number of their node, with INPUT for the input. They may be anything that
    `Visit.call` or the loop can process. After the loop, `output` is the output of the node `last`.
    """

    def __init__(
        self, net: Container | Graph, x: object, nodes: Sequence[GraphNode] | None = None, last: int | None = None
    ) -> None:
        graph = net if isinstance(net, Graph) else net.graph
        self.nodes, self.last = graph.nodes if nodes is None else nodes, graph.output if last is None else last
        self.units = {node.number: unit for unit in units(graph) for node in unit if node is not None}
        self._values: dict[int, Any] = dict(x) if isinstance(x, dict) else {INPUT: x}

    def __iter__(self) -> Iterator[Visit]:
        for node, inputs in flow(self.nodes, self.last, self._values):
            visit = Visit(node, tuple(inputs), self.units[node.number])
            yield visit
            self._values[node.number] = visit.output

    @property
    def output(self) -> Any:
        return self._values[self.last]

    def run(self) -> Any:
        """Run all stages and return the result."""
        for _ in self:
            pass
        return self.output


def units(net: Container | Graph) -> list[Unit]:
    """Return the units of a network or a graph, including branches and nested networks, in order."""
    graph = net if isinstance(net, Graph) else net.graph
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


def check_network(net: Container) -> None:
    """Raise TypeError unless net is a network."""
    if not isinstance(net, Sequential):
        hint = ""
        if isinstance(net, Container):
            hint = f"; write Sequential({type(net).__name__}(...))"
        elif isinstance(net, Layer):
            hint = f"; {VISIBLE}"
        raise TypeError(f"net must be a Network or Sequential, got {type(net).__name__}{hint}")


def check_neurons(net: Container) -> None:
    """Raise TypeError unless a network has neurons in its graph."""
    nodes = net.graph.nodes
    if any(is_neuron(node.stage) for node in nodes):
        return
    holding = [node for node in nodes if isinstance(node.stage, Layer) and _holds(node.stage)]
    which = f"layer {holding[0]} ({type(holding[0].stage).__name__})" if holding else ""
    raise TypeError(f"net has no neurons{which and f': those within {which} are not seen; {VISIBLE}'}")


def _holds(layer: Layer) -> bool:
    """Return whether a layer, or a layer within it, has neurons among its attributes."""
    # A filter uses only the response of its neuron.
    layers = (each for each in layer.layers_within() if form_of(each) != "filter")
    return any(is_neuron(value) for each in layers for value in values_within(vars(each)))


def ends_in_read_out(net: Container) -> bool:
    """Return whether a network ends in a read-out: its output is numbers, not spikes."""
    graph = net.graph
    return bool(graph.nodes) and as_layer(graph.nodes[graph.output].stage).is_read_out


@contextmanager
def eval_mode(net: Container, *, spread: bool = False) -> Iterator[None]:
    """Inspect a network within the block: its layers are in evaluation mode, and its tensors need no gradients.

    The block leaves the network, the states of stateful neurons, and the random generator unchanged. With `spread`,
    trained delays of synapses are spread over lags, as in the next step of training.
    """
    layers: list[Any] = net.layers_within()
    delays = [each for each in layers if spread and hasattr(each, "over_lags") and each.delay.requires_grad]
    training = [layer.training for layer in layers]
    own = [child for layer in layers for _, child in layer.children() if isinstance(child, Tensor)]
    required = [(p, p.requires_grad) for p in {id(p): p for p in (*net.parameters(), *own)}.values()]
    held = [(states, copy.deepcopy(vars(states))) for states in _states(net)]
    try:
        for layer in layers:
            layer.training = False
        for p, _ in required:
            p.requires_grad = False
        for layer in delays:
            layer.training = layer.delay.requires_grad = True
        with preserved_generator():
            yield
    finally:
        for layer, was in zip(layers, training, strict=True):
            layer.training = was
        for p, requires in required:
            p.requires_grad = requires
        for states, before in held:
            vars(states).update(before)


def depends_on_batch(net: Container) -> bool:
    """Return whether a sample's output may depend on its batch: a layer is in training, or neurons have a state."""
    return any(layer.training for layer in net.layers_within()) or any(s.values is not None for s in _states(net))


def freeze(net: Container) -> None:
    """Let the tensors of a network need no gradients, except for delays of synapses, which then would not spread."""
    layers: list[Any] = net.layers_within()
    delays = {id(layer.delay) for layer in layers if hasattr(layer, "over_lags")}
    own = [child for layer in layers for _, child in layer.children() if isinstance(child, Tensor)]
    for p in (*net.parameters(), *own):
        p.requires_grad = p.requires_grad and id(p) in delays


def _states(net: Container) -> list[Carried]:
    """Return the states of neurons between calls, each once, including neurons within layers."""
    stages = [*(node.stage for node in net.graph.nodes), *net.layers_within()]
    held = [value for stage in stages for value in values_within(getattr(stage, "__dict__", {}))]
    values = [*held, *(value for neuron in held if is_neuron(neuron) for value in values_within(vars(neuron)))]
    return list({id(each): each for each in values if isinstance(each, Carried)}.values())


@contextmanager
def copied(net: Container, *others: object) -> Iterator[tuple[Any, ...]]:
    """Yield copies of a network and of other objects, which may change; restore the random generator afterwards."""
    try:
        found = copy.deepcopy((net, *others))
    except MemoryError:
        raise
    except Exception as problem:
        raise TypeError(f"net must be one that copy.deepcopy copies; it said: {problem}") from None
    with preserved_generator():
        yield found


def values_within(held: dict[str, object] | Iterable[object]) -> Iterator[object]:
    """Yield the values of a dictionary or a sequence, and the values within them."""
    for value in held.values() if isinstance(held, dict) else held:
        if isinstance(value, (list, tuple, dict)):
            yield from values_within(value)
        else:
            yield value
