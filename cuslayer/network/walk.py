"""Look at a network from outside: its units, its stages one by one, in evaluation mode, or on a copy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, TypeAlias

from cuslayer.backend import Array, preserved_generator
from cuslayer.layers import Affine, Layer, TemporalFilter
from cuslayer.layers.recurrent import RecurrentStates
from cuslayer.network.container import Container, graph_of
from cuslayer.network.graph import INPUT, Address, Node, flow
from cuslayer.network.network import Sequential
from cuslayer.neurons.base import is_neuron
from cuslayer.neurons.dynamics import States
from cuslayer.neurons.potential import Potentials, on_potential
from cuslayer.tape import Tensor

# Called after each stage with its node, its output and its potentials (T, N, ...), None if it saves none; returns the
# output for the stages after it.
After: TypeAlias = "Callable[[Node, Tensor, Array | None], Tensor]"
# What to do with layers that a graph does not show.
VISIBLE = "build it of Sequential and Parallel, or as a subclass of Sequential"


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


def units(net: Any) -> list[Unit]:
    """Return the units of a network, also those in branches and nested networks, in the order in which they run."""
    graph = graph_of(net)
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


def check_network(op: str, net: Any) -> None:
    """Raise TypeError unless net is a network."""
    if not isinstance(net, Sequential):
        hint = ""
        if isinstance(net, Container):
            hint = f"; write Sequential({type(net).__name__}(...))"
        elif isinstance(net, Layer):
            hint = f"; {VISIBLE}"
        raise TypeError(f"{op}: net must be a Network or Sequential, got {type(net).__name__}{hint}")


def check_neurons(op: str, net: Any) -> None:
    """Raise TypeError unless a network has neurons in its graph."""
    nodes = graph_of(net).nodes
    if any(is_neuron(node.stage) for node in nodes):
        return
    holding = [node for node in nodes if isinstance(node.stage, Layer) and _holds(node.stage)]
    which = f"layer {holding[0]} ({type(holding[0].stage).__name__})" if holding else ""
    raise TypeError(f"{op}: net has no neurons{which and f': those within {which} are not seen; {VISIBLE}'}")


def _holds(layer: Layer) -> bool:
    """Return whether a layer, or one within it, has neurons among its attributes."""
    # A filter has a neuron for its response alone.
    layers = (each for each in layer.layers_within() if not isinstance(each, TemporalFilter))
    return any(is_neuron(value) for each in layers for value in values_within(vars(each)))


def ends_in_read_out(net: Any) -> bool:
    """Return whether the output of a network is that of a read-out, numbers and not spikes."""
    graph = graph_of(net)
    return bool(graph.nodes) and isinstance(graph.nodes[graph.output].stage, Affine)


def run_nodes(
    nodes: Sequence[Node], output: int, x: Tensor, after: After, *, run: Callable[..., Tensor] | None = None
) -> Tensor:
    """Run the nodes of a graph in order, without fusion, and return the output of one of them.

    By default a node's stage is called; `run`, if given, gets the node and its inputs instead.
    """

    def run_node(node: Node, *inputs: Tensor) -> Tensor:
        found: list[Potentials] = []
        with on_potential(found.append):
            y = run(node, *inputs) if run else node(*inputs)
        u = found[0].values if found and is_neuron(node.stage) else None
        return after(node, y, u)

    return flow(nodes, output, {INPUT: x}, run_node)


@contextmanager
def eval_mode(net: Any) -> Iterator[None]:
    """Look at a network within the block: layers are in evaluation mode, and no tensor of it requires a gradient.

    After the block the network is as before, also the states of stateful neurons, and so is the random generator.
    """
    layers = net.layers_within()
    training = [layer.training for layer in layers]
    own = [child for layer in layers for _, child in layer.children() if isinstance(child, Tensor)]
    required = [(p, p.requires_grad) for p in {id(p): p for p in (*net.parameters(), *own)}.values()]
    held = [(states, copy.deepcopy(vars(states))) for states in _states(net)]
    try:
        for layer in layers:
            layer.training = False
        for p, _ in required:
            p.requires_grad = False
        with preserved_generator():
            yield
    finally:
        for layer, was in zip(layers, training, strict=True):
            layer.training = was
        for p, requires in required:
            p.requires_grad = requires
        for states, before in held:
            vars(states).update(before)


def _states(net: Any) -> list[Any]:
    """Return the states that neurons keep between calls, each once; neurons within layers have them, too."""
    stages = [*(node.stage for node in graph_of(net).nodes), *net.layers_within()]
    held = [value for stage in stages for value in values_within(getattr(stage, "__dict__", {}))]
    values = [*held, *(value for neuron in held if is_neuron(neuron) for value in values_within(vars(neuron)))]
    return list({id(each): each for each in values if isinstance(each, (States, RecurrentStates))}.values())


@contextmanager
def copied(op: str, net: Any, *others: Any) -> Iterator[tuple[Any, ...]]:
    """Give a copy of a network, and of an optimizer, that can be changed; nothing of it reaches the network.

    The random generator is as before after the block.

    Raises:
        TypeError: something in them cannot be copied.
    """
    try:
        found = copy.deepcopy((net, *others))
    except MemoryError:
        raise
    except Exception as problem:
        raise TypeError(f"{op}: net must be one that copy.deepcopy copies, which said: {problem}") from None
    with preserved_generator():
        yield found


def values_within(held: Any) -> Iterator[Any]:
    """Yield the values of a dictionary or a sequence, and those within them."""
    for value in held.values() if isinstance(held, dict) else held:
        if isinstance(value, (list, tuple, dict)):
            yield from values_within(value)
        else:
            yield value
