"""Preparation of a forward pass: the graph of a network, the plan of its steps with their observers, and its input.

The graph has the stages in the order in which they run, each with its address and its inputs, including nested networks
and branches. All code that visits the stages of a network visits `Graph.nodes`.

The plan says which layers and neurons run as one fused operation. `FUSIONS` has all patterns; the first that fits is
used, and a stage that fits none runs by itself. With and without fusion a network computes the same bits.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial, reduce
from typing import Any, NamedTuple, TypeAlias, TypeVar, cast

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._still import repeat_step, still_step
from cuslayer._tape import Tensor, as_tensor, grad_enabled
from cuslayer.backend import Setting
from cuslayer.data.events import Events
from cuslayer.kernels.constants import Pooling
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.layers.base import form_of
from cuslayer.layers.fused import conv_neuron, conv_pool, dense_neuron, pool_neuron
from cuslayer.neurons.base import OnePass, is_neuron

# Messages omit longer descriptions of stages.
_LONGEST_TEXT = 60
# The number that stands for the network's input among the inputs of a node.
INPUT = -1

# A position in a network, or positions from the outermost network inward.
Address: TypeAlias = "int | tuple[int, ...]"


def as_address(path: tuple[int, ...]) -> Address:
    """Return a path as an address: a position for a stage of the network itself, else the tuple."""
    return path[0] if len(path) == 1 else path


@dataclass(frozen=True)
class GraphNode:
    """A stage of a network: a layer, neurons, a function, or the join of branches."""

    number: int  # its place in the order in which stages run
    path: tuple[int, ...]  # its positions, from the outermost network inward
    stage: Any = field(compare=False)  # takes one tensor for each input
    inputs: tuple[int, ...]  # the numbers of the nodes whose outputs it takes; INPUT is the network's input

    @property
    def address(self) -> Address:
        """The position of a stage of the network itself; for a nested stage, the tuple of its positions."""
        return as_address(self.path)

    @property
    def described(self) -> str:
        """The stage in messages: its repr, or only its class if the repr is long or missing."""
        text = check.one_line(self.stage)
        return type(self.stage).__name__ if len(text) > _LONGEST_TEXT or text.startswith("<") else text

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the output of the stage."""
        return as_tensor(self.stage(*inputs))

    def __str__(self) -> str:
        return ".".join(map(str, self.path))


class GraphPart(NamedTuple):
    """A nested network, or parallel branches, in a graph: the nodes from `first` to before `stop`."""

    container: Any
    path: tuple[int, ...]
    first: int
    stop: int
    output: int  # the number of the output node


@dataclass
class Graph:
    """The nodes of a network, in the order in which they run, with nested networks and branches as parts."""

    nodes: list[GraphNode] = field(default_factory=list)
    parts: list[GraphPart] = field(default_factory=list)
    output: int = INPUT  # the number of the output node

    def add(self, stage: object, path: tuple[int, ...], inputs: tuple[int, ...]) -> int:
        """Add a node and return its number."""
        self.nodes.append(GraphNode(len(self.nodes), path, stage, inputs))
        return len(self.nodes) - 1

    def uses(self) -> Counter[int]:
        """Return how often the output of each node is used, as the input of a node or as the network's output."""
        return Counter([self.output, *(number for node in self.nodes for number in node.inputs)])


def output_neurons(graph: Graph) -> set[int]:
    """Return the numbers of the neurons without other neurons after them."""
    outputs: set[int] = set()
    before_others: set[int] = set()  # the nodes whose output reaches neurons
    for node in reversed(graph.nodes):
        neurons = is_neuron(node.stage)
        if neurons and node.number not in before_others:
            outputs.add(node.number)
        if neurons or node.number in before_others:
            before_others.update(node.inputs)
    return outputs


def feeds(nodes: Sequence[GraphNode], numbers: Iterable[int]) -> tuple[set[int], set[int]]:
    """Return the neurons, or INPUT, whose output reaches nodes through other stages, and these stages; by number.

    A node of `numbers` itself counts among the neurons or the stages.
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
    """Yield items in order and their inputs; the loop sets the values of their last nodes.

    Values are deleted after their last use, except for the output.
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


class Fusion(NamedTuple):
    """A pattern of stages that run as one operation."""

    # The forms of its layers, and None for neurons. Pooling with a weight hook does not fit, nor a layer with delays.
    pattern: tuple[str | None, ...]
    # The fused operation: a function of the input, the layers and the `OnePass` of their neurons.
    operation: Callable[..., Tensor]

    def fits(self, stages: Sequence[object]) -> bool:
        """Return whether the first stages are the pattern's, and all neurons have one mode of the gradient."""
        if len(stages) < len(self.pattern):
            return False
        layers, neurons = self.split(stages)
        forms = [form for form in self.pattern if form is not None]
        if None in neurons or forms != [_plain_form(layer) for layer in layers]:
            return False
        return len({neuron.spiking.exact for neuron in cast("list[OnePass]", neurons)}) == 1

    def split(self, stages: Sequence[object]) -> tuple[list[object], list[OnePass | None]]:
        """Return the layers among the first stages, and the `OnePass` of the neurons."""
        placed = list(zip(self.pattern, stages, strict=False))
        layers = [stage for form, stage in placed if form is not None]
        return layers, [one_pass(stage) for form, stage in placed if form is None]


def one_pass(stage: object) -> OnePass | None:
    """Return the `OnePass` of a stage of neurons that fused operations support; None for any other stage."""
    return getattr(stage, "one_pass", None)


def _plain_form(layer: Any) -> str | None:
    """Return the form of a layer that fused passes know: without delays, and in pooling with one gain for all taps."""
    form = form_of(layer)
    hooked_pool = form == "pool" and bool(layer.weight_hook)
    return None if hooked_pool or getattr(layer, "delays", None) is not None else form


def _parameters(layer: Any) -> list[Tensor]:
    """Return the weight of a layer, and its bias if it has one."""
    weight = layer.effective_weight()
    return [weight] if layer.bias is None else [weight, layer.bias]


def _conv_pool(x: Tensor, layers: list[Any], neurons: list[OnePass]) -> Tensor:
    conv, pool = layers
    pooling = Pooling(pool.window, pool.gain, neurons[1].constants, neurons[1].spiking)
    options = neurons[0]._asdict() | conv.geometry()
    return conv_pool(x, *_parameters(conv), pooling=pooling, **options)


def _conv(x: Tensor, layers: list[Any], neurons: list[OnePass]) -> Tensor:
    return conv_neuron(x, *_parameters(layers[0]), **neurons[0]._asdict(), **layers[0].geometry())


def _dense(x: Tensor, layers: list[object], neurons: list[OnePass]) -> Tensor:
    return dense_neuron(x, *_parameters(layers[0]), **neurons[0]._asdict())


def _pool(x: Tensor, layers: list[Any], neurons: list[OnePass]) -> Tensor:
    pool = layers[0]
    return pool_neuron(x, kernel_size=pool.kernel_size, gain=pool.gain, **neurons[0]._asdict(), **pool.geometry())


def _norm(x: Tensor, layers: list[Any], neurons: list[OnePass]) -> Tensor:
    spikes: Tensor = layers[0].fire(x, neurons[0])
    return spikes


def _normalized(x: Tensor, layers: list[Any], neurons: list[OnePass]) -> Tensor:
    synapse, norm = layers
    # On a GPU spikes are packed, and passes have no normalization.
    if not (norm.training or grad_enabled()) and x.dtype == bool and isinstance(x.stored, np.ndarray):
        parameters = _parameters(synapse)
        normalization = norm.fixed_map(parameters[0].data)
        if normalization is not None:
            options = neurons[0]._asdict() | {"normalization": normalization}
            if form_of(synapse) == "conv":
                return conv_neuron(x, *parameters, **options, **synapse.geometry())
            return dense_neuron(x, *parameters, **options)
    spikes: Tensor = norm.fire(synapse(x), neurons[0])
    return spikes


FUSIONS = (
    Fusion(("conv", None, "pool", None), _conv_pool),
    Fusion(("conv", None), _conv),
    Fusion(("conv", "norm", None), _normalized),
    Fusion(("dense", None), _dense),
    Fusion(("dense", "norm", None), _normalized),
    Fusion(("pool", None), _pool),
    Fusion(("norm", None), _norm),
)
# The maximum number of stages that run as one.
_LONGEST = max(len(fusion.pattern) for fusion in FUSIONS)


@dataclass(frozen=True)
class Step:
    """Stages of a network that run as one."""

    start: int  # the number of the first node in the network's graph
    stages: tuple[Any, ...]
    fusion: Fusion | None = None  # their pattern; None for a single stage
    inputs: tuple[int, ...] = (INPUT,)  # the numbers of the nodes whose outputs the first stage takes

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the output of the stages for the input (T, N, ...), or for several inputs of a join."""
        if self.fusion is None:
            return as_tensor(self.stages[0](*inputs))
        step = still_step(inputs[0])
        if step is not None:
            # The first layer maps one step of it, which a pass over all steps does not.
            still = repeat_step(step, len(inputs[0]))
            return reduce(lambda x, stage: as_tensor(stage(x)), self.stages, still)
        return self.fusion.operation(*inputs, *self.fusion.split(self.stages))

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the step and of its stages: steps of one name call the same kernels."""
        forms = ["neuron" if one_pass(stage) else form_of(stage) or type(stage).__name__ for stage in self.stages]
        return ("-".join(forms), *(type(stage).__name__ for stage in self.stages))

    @property
    def last(self) -> int:
        """The number of the last node."""
        return self.start + len(self.stages) - 1

    def parts(self) -> list[Step]:
        """Return one step per stage."""
        found = []
        for number, stage in enumerate(self.stages):
            at = self.start + number
            found.append(Step(at, (stage,), inputs=(at - 1,) if number else self.inputs))
        return found

    def numbered_from(self, start: int) -> Step:
        """Return the step with another number of its first node."""
        return replace(self, start=start)


def plan(graph: Graph) -> list[Step]:
    """Return the steps of a forward pass through a graph.

    Stages run as one only if each takes nothing but the output of the stage before it, and no other stage takes this
    output. A step does not cross the edge of a nested network that has an observer.

    >>> from cuslayer.layers import Conv, Dense, SumPool
    >>> from cuslayer.network import Sequential
    >>> from cuslayer.neurons import SRM
    >>> srm = SRM()
    >>> net = Sequential(Conv(2, 4, 3), srm, Sequential(SumPool(2, gain=11.0), srm, Dense(16, 2)), srm)
    >>> [len(step.stages) for step in plan(net.graph)]
    [4, 2]
    """
    uses, starts = graph.uses(), {edge for part, _ in _observed_parts(graph.parts) for edge in (part.first, part.stop)}
    steps, at = [], 0
    while at < len(graph.nodes):
        chain = [graph.nodes[at]]
        for node in graph.nodes[at + 1 : at + _LONGEST]:
            if node.inputs != (node.number - 1,) or uses[node.number - 1] > 1 or node.number in starts:
                break
            chain.append(node)
        stages = [node.stage for node in chain]
        fusion = next((fusion for fusion in FUSIONS if fusion.fits(stages)), None)
        count = 1 if fusion is None else len(fusion.pattern)
        steps.append(Step(at, tuple(stages[:count]), fusion, chain[0].inputs))
        at += count
    return steps


# Runs a step of a plan on its inputs.
Run: TypeAlias = "Callable[..., Tensor]"
# Runs a step in place of a `Run`: takes this `Run`, the step and its inputs; returns the output.
Observer: TypeAlias = "Callable[..., Tensor]"

_observers: Setting[tuple[tuple[Any, Observer], ...]] = Setting(())


@contextmanager
def observe(net: object, observer: Observer) -> Iterator[None]:
    """Let an observer run every step of a network's forward passes, within the block and this thread.

    The observer may run the stages of a step one by one; it must return the output of the step. If a network has
    several observers, the last one runs first. A nested network is observed inside other networks too.
    """
    with _observers.set((*_observers.get(), (net, observer))):
        yield


def observed(net: object, parts: Sequence[GraphPart] = ()) -> Run:
    """Return the function that runs a network's steps, through its observers and the observers of nested networks."""

    def run(step: Step, *inputs: Tensor) -> Tensor:
        return step(*inputs)

    nested = _observed_parts(parts)
    for other, observer in _observers.get():
        if other is net:
            run = partial(observer, run)
        for part, of_part in nested:
            if of_part is observer:
                run = partial(_within, part, observer, run)
    return run


def is_observed(net: object, parts: Sequence[GraphPart]) -> bool:
    """Return whether a network or one of its nested networks has an observer in this thread."""
    return any(other is net for other, _ in _observers.get()) or bool(_observed_parts(parts))


def _observed_parts(parts: Sequence[GraphPart]) -> list[tuple[GraphPart, Observer]]:
    """Return the parts that have observers, with each of them."""
    return [(part, observer) for net, observer in _observers.get() for part in parts if part.container is net]


def _within(part: GraphPart, observer: Observer, run: Run, step: Step, *inputs: Tensor) -> Tensor:
    """Run a step through the observer of a nested network if it lies in this network, with its numbers there."""
    if not part.first <= step.start < part.stop:
        return run(step, *inputs)

    def numbered_back(inner: Step, *inputs: Tensor) -> Tensor:
        return run(inner.numbered_from(inner.start + part.first), *inputs)

    return observer(numbered_back, step.numbered_from(step.start - part.first), *inputs)


# Advice for an input without spikes.
SILENT_INPUT = "check the recordings, and the duration, the window and the time step with which they are read"


@check.operation("network")
def as_input(x: TensorLike) -> Tensor:
    """Return the input of a network as a tensor."""
    if isinstance(x, (Tensor, np.ndarray, PackedSpikes)) and x.dtype.kind in "biuf":
        return as_tensor(x)
    got = _not_an_array(x)
    if got:
        raise TypeError(f"x must be an array (T, N, ...), got {got}")
    try:
        return as_tensor(x)
    except ValueError:
        raise ValueError("x must be an array (T, N, ...), got rows of unequal length") from None


def _not_an_array(x: object) -> str:
    """Return what x is instead of an array, and advice; '' if it may become one."""
    if isinstance(x, (str, os.PathLike)):
        return f"the path {os.fspath(x)!r}; read the file first"
    if isinstance(x, Events) or (isinstance(x, (list, tuple)) and len(x) and isinstance(x[0], Events)):
        return "Events; events.to_spikes(shape, steps)[:, None] is a batch of one"
    if isinstance(x, tuple) and len(x) == 2 and len({getattr(each, "ndim", 0) for each in x}) == 2:
        return "a pair; a batch of a Loader is unpacked, as in for x, labels in loader"
    if isinstance(x, (list, tuple, int, float)) or hasattr(x, "dtype") or hasattr(x, "__array__"):
        return ""
    more = "; iterate over its batches, as in for x, labels in loader" if hasattr(x, "__iter__") else ""
    return f"{'None' if x is None else type(x).__name__}{more}"


def finite_input(name: str, x: TensorLike) -> Tensor:
    """Return the input of an inspection as a tensor; errors name the operation."""
    x = as_tensor(x)
    number_range(name, x)
    return x


def whole_input(name: str, x: TensorLike) -> Tensor:
    """Return the input of an inspection that counts all steps, as a tensor; refuse a padded batch."""
    x = finite_input(name, x)
    if x.lengths is not None:
        raise ValueError(f"{name} must not be padded, since all steps count; give recordings of one length")
    return x


def number_range(name: str, x: Tensor) -> tuple[float, float] | None:
    """Return the smallest and the largest number of x; None for spikes, and for an array without elements."""
    if x.dtype == bool or not x.size:
        return None
    low, high = float(x.data.min()), float(x.data.max())
    check.finite_range(name, low, high)
    return low, high
