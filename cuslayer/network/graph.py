"""The graph of a network: its stages in the order in which they run, each with its address and its inputs.

Nested networks and branches are part of the graph. Whatever visits the stages of a network visits `Graph.nodes`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias, TypeVar

from cuslayer import check
from cuslayer.neurons.base import is_neuron
from cuslayer.tape import Tensor, as_tensor

# Longer descriptions of stages are left out of messages.
_LONGEST = 60
# The number of a network's input among the inputs of a node.
INPUT = -1

# A position in a network, or positions from the outermost network inward.
Address: TypeAlias = "int | tuple[int, ...]"


def as_address(path: tuple[int, ...]) -> Address:
    """Return a path as an address: a position for a stage of the network itself, else the tuple."""
    return path[0] if len(path) == 1 else path


@dataclass(frozen=True)
class Node:
    """A stage of a network: a layer, neurons, a function, or the join of branches."""

    number: int  # its place in the order in which stages run
    path: tuple[int, ...]  # its positions, from the outermost network inward
    stage: Any = field(compare=False)  # called with one tensor for each input
    inputs: tuple[int, ...]  # the numbers of the nodes whose outputs it takes; INPUT is the network's input

    @property
    def address(self) -> Address:
        """The position of a stage of the network itself; for a nested one, the tuple of its positions."""
        return as_address(self.path)

    @property
    def described(self) -> str:
        """The stage in messages: as its repr, or only its class where that is long or has no other."""
        text = check.one_line(self.stage)
        return type(self.stage).__name__ if len(text) > _LONGEST or text.startswith("<") else text

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the output of the stage."""
        return as_tensor(self.stage(*inputs))

    def __str__(self) -> str:
        return ".".join(map(str, self.path))


class Part(NamedTuple):
    """A nested network, or parallel branches, in a graph: the nodes from `first` to before `stop`."""

    container: Any
    path: tuple[int, ...]
    first: int
    stop: int
    output: int  # the number of the node whose output it returns


@dataclass
class Graph:
    """The nodes of a network, in the order in which they run, with nested networks and branches as parts."""

    nodes: list[Node] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)
    output: int = INPUT  # the node whose output the network returns

    def add(self, stage: Any, path: tuple[int, ...], inputs: tuple[int, ...]) -> int:
        """Add a node and return its number."""
        self.nodes.append(Node(len(self.nodes), path, stage, inputs))
        return len(self.nodes) - 1

    def uses(self) -> Counter[int]:
        """Return how often the output of each node is used, as the input of a node or as the network's output."""
        return Counter([self.output, *(number for node in self.nodes for number in node.inputs)])


def output_neurons(graph: Graph) -> set[int]:
    """Return the numbers of the neurons after which there are no others."""
    outputs: set[int] = set()
    before_others: set[int] = set()  # the nodes whose output reaches neurons
    for node in reversed(graph.nodes):
        neurons = is_neuron(node.stage)
        if neurons and node.number not in before_others:
            outputs.add(node.number)
        if neurons or node.number in before_others:
            before_others.update(node.inputs)
    return outputs


def feeds(nodes: Sequence[Node], numbers: Iterable[int]) -> tuple[set[int], set[int]]:
    """Return the neurons, or INPUT, whose output reaches nodes through other stages, and these stages; by number.

    A node of `numbers` is itself one of the neurons or of the stages.
    """
    neurons, stages = set[int](), set[int]()
    waiting = list(numbers)
    while waiting:
        number = waiting.pop()
        if number == INPUT or is_neuron(nodes[number].stage):
            neurons.add(number)
        elif number not in stages:
            stages.add(number)
            waiting += nodes[number].inputs
    return neurons, stages


Item = TypeVar("Item")


def flow(items: Iterable[Item], output: int, values: dict[int, Any]) -> Iterator[tuple[Item, list[Any]]]:
    """Yield items, which run one after the other, and their inputs; the loop sets the values of their last nodes.

    Values that nothing needs any more, and that are not the output, are deleted.
    """
    items = list(items)
    left = Counter([output, *(number for item in items for number in item.inputs)])  # type: ignore[attr-defined]
    for item in items:
        numbers = item.inputs  # type: ignore[attr-defined]
        inputs = [values[number] for number in numbers]
        left.subtract(numbers)
        for number in set(numbers):
            if not left[number]:
                del values[number]
        yield item, inputs
