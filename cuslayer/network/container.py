"""What `Sequential` and `Parallel` share: their stages by position, their graph, and the forward pass."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.layers.base import Layer, Shape, lists_parameters, names_in, tensors_and_layers
from cuslayer.network.fusion import Run, observed, plan
from cuslayer.network.graph import INPUT, Graph, Node, Part, flow
from cuslayer.network.input import as_input, check_stage, checked_input
from cuslayer.network.join import Join
from cuslayer.network.memory import with_memory_errors
from cuslayer.network.shapes import check_shapes, output_step, shapes_of
from cuslayer.network.stream import Stream, in_chunks
from cuslayer.neurons.potential import potential_format
from cuslayer.tape import Tensor, keep_unpacked

_DEEPEST = 50
# Networks that hold one another twice have exponentially many stages.
_MOST = 100_000


class Container(Layer):
    """Base class of `Sequential` and `Parallel`.

    Attributes:
        stages: the layers or branches in order.
        potentials: how potentials are saved for backward; None to leave it to the network around.
    """

    potentials: str | None = None
    _what = "layer"

    @property
    def stages(self) -> list[Any]:
        raise TypeError("a container must define stages")

    def _check_stages(self) -> None:
        """Raise TypeError unless each stage can be called, ValueError if neurons differ in dt or sizes do not fit."""
        for position, stage in enumerate(self.stages):
            check_stage(type(self).__name__, f"{self._what} {position}", stage)
        graph = graph_of(self)
        output_step(graph)
        check_shapes(graph, getattr(self, "input_shape", None))

    def expand(self, graph: Graph, path: tuple[int, ...], source: int) -> int:
        """Add the stages to a graph at a path, and return the number of the node whose output is the container's."""
        raise TypeError("a container must define expand")

    @check.operation("network")
    def __call__(self, x: Any) -> Tensor:
        """Return the output for the input x (T, N, ...).

        Without gradients, on the CPU, a long input runs in chunks of time, so that the memory besides input and output
        does not grow with T; the output is the same to the bit. See `in_chunks`.

        Raises:
            TypeError: x is not made of numbers or booleans.
            ValueError: x does not fit the first layer, or holds NaN or an infinity.
            MemoryError: there is not enough memory; the message names the layer and a batch that would fit.

        Warns:
            UserWarning: x looks like pixels from 0 to 255; once for a network.
        """
        x = as_input(x)
        self.check_input(x)
        check.time_first("x", x)
        graph = graph_of(self)
        observed_run = with_memory_errors(observed(self, graph.parts), graph, x.shape)
        saved = nullcontext() if self.potentials is None else potential_format(self.potentials)
        with checked_input(self, x), saved, _unpacked_once(observed_run, graph, x) as run:
            y = in_chunks(self, graph, x)
            if y is None:
                values = {INPUT: x}
                for step, inputs in flow(plan(graph), graph.output, values):
                    values[step.last] = run(step, *inputs)
                y = values[graph.output]
        keep_unpacked(y, False)
        return y

    def check_input(self, x: Tensor) -> None:
        """Raise ValueError unless x fits the network, for networks that know the shape of their input."""

    def stream(self) -> Stream:
        """Return the network with a state, for one step or one chunk of steps at a time; see `Stream`.

        Raises:
            ValueError: the network is on a GPU, or a stage cannot keep a state.
        """
        return Stream(self, graph_of(self))

    def output_shape(self, shape: Shape | None) -> Shape | None:
        graph = graph_of(self)
        found: Shape | None = shapes_of(graph, shape)[graph.output]
        return found

    def children(self) -> Iterator[tuple[str, Any]]:
        """Yield the position of each stage that is a layer, and the layer; then other attributes as `Layer` does."""
        stages = self.stages
        yield from ((str(position), stage) for position, stage in enumerate(stages) if isinstance(stage, Layer))
        yield from self._other_children()

    def _other_children(self) -> Iterator[tuple[str, Any]]:
        stages = self.stages
        for name, value in vars(self).items():
            if value is not stages:
                yield from tensors_and_layers(name, value)

    def parameter_names(self, above: tuple[int, ...] = ()) -> Iterator[tuple[str, Tensor]]:
        """Yield ``<position>.<name>`` for each parameter; those of the library's layers have numbers.

        Args:
            above: the identities of the layers whose names are being collected, which hold this one.
        """
        above = (*above, id(self))
        for position, stage in enumerate(self.stages):
            if isinstance(stage, Layer):
                if id(stage) not in above:
                    yield from ((f"{position}.{name}", p) for name, p in stage.names_in_network(above))
            elif lists_parameters(stage):
                yield from ((f"{position}.{number}", p) for number, p in enumerate(stage.parameters()))
        for name, child in self._other_children():
            if id(child) not in above:
                yield from names_in(name, child, above)

    def _names_found(self, above: tuple[int, ...]) -> Iterator[tuple[str, Tensor]]:
        return self.parameter_names(above)

    def state(self) -> dict[str, Array]:
        """Return copies of the parameters by name, and of the gains of pooling layers, on the CPU."""
        return super().state() | {name: np.array(getattr(layer, key)) for name, (layer, key) in self._numbers().items()}

    @check.operation
    def load_state(self, state: Mapping[str, Array]) -> None:
        """Set the parameters and gains from arrays by name, as `state` returns them. Missing gains do not change.

        Raises:
            ValueError: a name is missing or unknown, or a shape differs; nothing changes then.
        """
        numbers = self._numbers()
        given = {name: check.number(name, state[name]) for name in numbers if name in state}
        super().load_state(state)
        for name, value in given.items():
            setattr(*numbers[name], value)

    @check.operation("load_state")
    def check_state(self, state: Mapping[str, Any]) -> None:
        numbers = self._numbers()
        for name in state.keys() & numbers.keys():
            if state[name].shape:
                raise ValueError(f"{name} has shape {tuple(state[name].shape)}, it must be a number")
        super().check_state({name: a for name, a in state.items() if name not in numbers})

    def _numbers(self) -> dict[str, tuple[Layer, str]]:
        """Return the layer and attribute of each number that belongs to the state, by name."""
        stages = ((node, node.stage) for node in graph_of(self).nodes if isinstance(node.stage, Layer))
        return {f"{node}.{key}": (stage, key) for node, stage in stages for key in stage.state_numbers}

    def __getitem__(self, key: Any) -> Any:
        """Return the layer at a position; layers of a slice as a network; the layer of a path; or a given layer.

        Raises:
            IndexError: the position is out of range.
            ValueError: the given layer is not in the network.
        """
        if isinstance(key, tuple):
            found: Any = self
            for position in key:
                if not isinstance(found, Container):
                    raise IndexError(f"no layer {key}: {type(found).__name__} is no network")
                found = found[position]
            return found
        if isinstance(key, slice):
            return self._with_stages(self.stages[key])
        if isinstance(key, (int, np.integer)):
            if not -len(self.stages) <= key < len(self.stages):
                raise IndexError(f"no {self._what} {key} in {len(self.stages)}")
            return self.stages[key]
        graph = graph_of(self)
        if any(key is each for each in (*(node.stage for node in graph.nodes), *(part[0] for part in graph.parts))):
            return key
        raise ValueError(f"{check.one_line(key)} is none of its layers")

    def _with_stages(self, stages: list[Any]) -> Container:
        raise TypeError("a container must define _with_stages")

    def __iter__(self) -> Iterator[Any]:
        return iter(self.stages)

    def __len__(self) -> int:
        return len(self.stages)

    def __bool__(self) -> bool:
        return True

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._rows()})"

    def _rows(self) -> str:
        """Return a line for each stage, the lines of nested networks indented."""
        lines = "".join(f"\n{position}: {stage!r}" for position, stage in enumerate(self.stages))
        return lines.replace("\n", "\n  ") + "\n" if lines else ""


@contextmanager
def _unpacked_once(run: Run, graph: Graph, x: Tensor) -> Iterator[Run]:
    """Yield a function that runs steps, for a graph with the input x.

    Packed spikes that several steps take are unpacked at the first step that needs booleans, and kept for the others.
    """
    uses = graph.uses()

    def kept(number: int, output: Tensor) -> Tensor:
        if uses[number] > 1:
            keep_unpacked(output)
        return output

    try:
        kept(INPUT, x)
        yield lambda step, *inputs: kept(step.last, run(step, *inputs))
    finally:
        keep_unpacked(x, False)


def graph_of(net: Container) -> Graph:
    """Return the graph of a network, with all nested networks and branches.

    >>> from cuslayer.layers import Dense
    >>> from cuslayer.network import Parallel, Sequential
    >>> net = Sequential(Dense(4, 4), Parallel(Sequential(Dense(4, 3), Dense(3, 4)), Sequential()), Dense(4, 2))
    >>> [(node.address, node.inputs) for node in graph_of(net).nodes]
    [(0, (-1,)), ((1, 0, 0), (0,)), ((1, 0, 1), (1,)), (1, (2, 0)), (2, (3,))]
    """
    graph = Graph()
    graph.output = net.expand(graph, (), INPUT)
    return graph


def chain_of(net: Container) -> list[Node]:
    """Return the nodes of a network that is a chain, also of nested ones; for files that hold nothing else."""
    nodes = graph_of(net).nodes
    for node in nodes:
        if isinstance(node.stage, Join):
            raise ValueError(f"net must be a chain of layers, layer {node} joins branches")
    return nodes


@check.operation("network")
def add_stage(graph: Graph, stage: Any, path: tuple[int, ...], source: int) -> int:
    """Add a stage to a graph, with what is nested in it, and return the number of the node that has its output.

    A container with a `__call__` of its own may compute something else: it is a stage like any function.
    """
    if len(graph.nodes) + len(graph.parts) >= _MOST:
        raise ValueError(f"stages must be at most {_MOST:,}, each counted at all places where it stands")
    if not isinstance(stage, Container) or type(stage).__call__ is not Container.__call__:
        return graph.add(stage, path, (source,))
    if len(path) > _DEEPEST:
        raise ValueError(f"networks must be nested up to {_DEEPEST} deep; is one nested in itself?")
    first = len(graph.nodes)
    output = stage.expand(graph, path, source)
    graph.parts.append(Part(stage, path, first, len(graph.nodes), output))
    return output
