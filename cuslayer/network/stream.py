"""Networks that take one chunk of steps at a time and keep their state: `Stream`, long inputs, and training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._base.sequences import ended
from cuslayer._tape import POTENTIAL_FORMATS, Tensor, as_tensor, no_grad, potential_format, potentials_are_observed
from cuslayer.backend import Array, generator_state, load_generator_state, namespace
from cuslayer.kernels.constants import Pooling, Window
from cuslayer.kernels.spikes.packed import PackedSpikes
from cuslayer.layers.base import as_layer
from cuslayer.layers.fused import shift_of
from cuslayer.network.graph import (
    INPUT,
    Fusion,
    Graph,
    GraphNode,
    Step,
    as_input,
    finite_input,
    flow,
    is_observed,
    one_pass,
    plan,
)
from cuslayer.network.plastic import learning_layers
from cuslayer.network.shapes import shape_after, shapes_of
from cuslayer.neurons.base import is_neuron, is_stateful
from cuslayer.neurons.states import carried

# Runs a stage on chunks (T, N, ...) in order.
Run: TypeAlias = "Callable[..., Array | PackedSpikes]"


class _Item(NamedTuple):
    """A stage, or several that run as one, with the numbers of its inputs and its output."""

    run: Run
    inputs: tuple[int, ...]
    last: int
    done: tuple[int, ...] = ()  # the inputs that no later item takes


# What an error about a chunk has for the axes of time and samples, and what is right for a step.
_IN_A_STEP = {
    "(T, N, ": "(N, ",
    "x[:, None]": "x[None]",
    "x.shape[:2]": "x.shape[:1]",
    "np.moveaxis(x, 2, -1)": "np.moveaxis(x, 1, -1)",
}


class Stream:
    """A network in evaluation that takes one step, or one chunk of steps, at a time; made by ``net.stream()``.

    The spikes equal ``net(x)`` for the whole input: to the bit if layers take spikes, and up to rounding if they take
    numbers. Memory does not grow with the number of steps. Reset the stream after the network has changed. The output
    is 0 after the end of a recording, by its length.

    Args:
        net: a network of layers and neurons that can keep a state. The library's layers and neurons can, except for
            `Decimate`, and a `Shift` or `Delay` with a delay below 0.
            Users' layers, and subclasses with their own ``__call__``, need the attribute `memory` or the method
            `continued`; users' neurons need the method `continued`.
        lengths: the number of steps of each recording in a padded batch, (N,); None for no end.
        plasticity: the local rules of layers; see `Sequential.stream`.

    Attributes:
        steps: the number of steps since the start.

    >>> import numpy as np
    >>> from cuslayer.layers import Dense
    >>> from cuslayer.network import Sequential
    >>> from cuslayer.neurons import SRM
    >>> net = Sequential(Dense(4, 3, weight_scale=60.0), SRM())
    >>> x = np.random.default_rng(0).random((50, 1, 4)) < 0.3
    >>> stream = net.stream()
    >>> found = [stream.step(frame) for frame in x]
    >>> found[0].shape, np.array_equal(found, net(x).data), stream.steps
    ((1, 3), True, 50)
    """

    def __init__(
        self,
        net: Any,
        graph: Graph,
        lengths: npt.ArrayLike | None = None,
        plasticity: Mapping[Any, Any] | None = None,
    ) -> None:
        self._net, self._graph = net, graph
        self._lengths = None if lengths is None else np.asarray(lengths)
        self._plasticity = plasticity or {}
        self.reset()

    @check.operation("stream")
    def reset(self) -> None:
        """Reset the stream to the state before any input, with the network's current weights."""
        # A network without parameters is on the device in use.
        first = next(iter(self._net.parameters()), as_tensor(np.empty(0)))
        self.on_cpu = isinstance(first.stored, np.ndarray)
        self._learning = learning_layers(self._net, self._graph, self._plasticity)
        items = list[_Item]()
        for step in plan(self._graph):
            learns = any(layer.first <= step.last and step.start <= layer.last for layer in self._learning)
            items += _items(self._graph, step, self.on_cpu, alone=learns)
        for layer in self._learning:
            own = [item for item in items if layer.first <= item.last <= layer.last]
            at = items.index(own[0])
            run = layer.run([item.run for item in own])
            items[at : at + len(own)] = [_Item(run, own[0].inputs, layer.last)]
        self._items, taken = list[_Item](), {self._graph.output}
        for item in reversed(items):
            self._items.insert(0, item._replace(done=tuple({*item.inputs} - taken)))
            taken |= {*item.inputs}
        self._shape: tuple[int, ...] | None = None
        self.steps = 0

    @check.operation("stream")
    def reward(self, reward: npt.ArrayLike) -> None:
        """Give layers with a reward-modulated rule a reward: a number, or one for each sample, (N,).

        Raises:
            ValueError: no rule has an eligibility, or reward has another shape.
        """
        waiting = [layer for layer in self._learning if layer.synapses.rule.eligibility is not None]
        if not waiting:
            raise ValueError("reward needs a rule with an eligibility, such as STDP(eligibility=500.0), got none")
        for layer in waiting:
            layer.synapses.reward(reward)

    @property
    def learned(self) -> list[Tensor]:
        """The weights that local rules change."""
        return [layer.layer.weight for layer in self._learning]

    def step(self, x: TensorLike) -> Array:
        """Return the output (N, ...) for one step of the input, (N, ...); see `__call__`."""
        frame = as_input(x).data
        try:
            return self(frame[None])[0]
        except ValueError as problem:
            text = str(problem).replace(f"shape {(1, *frame.shape)}", f"shape {frame.shape}")
            for of_chunk, of_step in _IN_A_STEP.items():
                text = text.replace(of_chunk, of_step)
                vars(problem)["rule"] = vars(problem).get("rule", "").replace(of_chunk, of_step)
            if "x[None]" not in text and self._takes(frame.shape):
                text += "; one sample needs a batch axis, x[None]"
            problem.args = (text,)
            raise

    def _takes(self, sample: tuple[int, ...]) -> bool:
        """Return whether samples of a shape fit the network."""
        try:
            return bool(sample) and self._net.output_shape(sample) is not None
        except (TypeError, ValueError):
            return False

    @check.operation("stream")
    def __call__(self, x: TensorLike) -> Array:
        """Return the output (T, N, ...) for the next T steps of the input."""
        given = as_input(x)
        check.time_first("x", given)
        if isinstance(given.stored, np.ndarray) != self.on_cpu:
            places = ("the CPU", "a GPU") if self.on_cpu else ("a GPU", "the CPU")
            raise ValueError("x must be on {} like the network, got an array on {}".format(*places))
        if self._shape is None:
            self._net.check_input(given)
            if self._lengths is not None:
                check.lengths(self._lengths, (max(int(self._lengths.max(initial=0)), 1), *given.shape[1:]))
        elif given.shape[1:] != self._shape:
            raise ValueError(f"x must be (T, {', '.join(map(str, self._shape))}), got shape {given.shape}")
        if given.dtype != bool:
            finite_input("x", given)
        before = self.steps
        y = self.advance(given.stored)
        self._shape = given.shape[1:]  # of the first input that fits
        return y if self._lengths is None else ended(y, lengths=self._lengths - before).data

    def advance(self, x: Array | PackedSpikes) -> Array:
        """Return the output for the next steps of an array that fits the network and the earlier calls."""
        values: dict[int, Array | PackedSpikes] = {INPUT: x}
        with no_grad():
            for run, inputs, number, done in self._items:
                values[number] = run(*(values[each] for each in inputs))
                for each in done:
                    del values[each]
        self.steps += len(x)
        y = values[self._graph.output]
        return y.unpack() if isinstance(y, PackedSpikes) else y

    def __repr__(self) -> str:
        return f"Stream(after {self.steps} steps, {self._net!r})"


def _items(graph: Graph, step: Step, on_cpu: bool, alone: bool = False) -> list[_Item]:
    """Return a step of a plan with a state: on the CPU, stages that run as one if they can; others one by one."""
    run = _fused(step.fusion, step.stages) if on_cpu and step.fusion is not None and not alone else None
    if run is not None:
        return [_Item(run, step.inputs, step.last)]
    return [_Item(_alone(graph.nodes[part.start], on_cpu), part.inputs, part.last) for part in step.parts()]


def _fused(fusion: Fusion, stages: Sequence[object]) -> Run | None:
    """Return layers and their neurons with a state; None if not fused."""
    from cuslayer.kernels.fused.streams import StreamedConv, StreamedDense  # imports Numba

    layers: Any
    neurons: Any
    layers, neurons = fusion.split(stages)
    layer = layers[0]
    if fusion.pattern[0] not in ("conv", "dense"):
        return None
    weight, first = layer.effective_weight().data, neurons[0]
    normalization = None
    if "norm" in fusion.pattern:
        normalization = layers[-1].fixed_map(weight)
        if normalization is None:
            return None
    shift = shift_of([] if layer.bias is None else [layer.bias.data], weight, normalization)
    if fusion.pattern[0] == "dense":
        return StreamedDense(weight, first.constants, first.spiking, shift)
    options = layer.geometry()
    window = Window.of(weight.shape[:2], options["stride"], options["padding"], options["dilation"])
    if options["groups"] != 1:
        return None
    if "pool" not in fusion.pattern:
        return StreamedConv(weight, window, first.constants, first.spiking, shift=shift)
    pool = layers[1]
    of_pool = neurons[1]
    pooling = Pooling(pool.window, pool.gain, of_pool.constants, of_pool.spiking)
    if not pool.window.tiles or weight.dtype != np.float32:
        return None
    return StreamedConv(weight, window, first.constants, first.spiking, pooling, shift)


def _alone(node: GraphNode, on_cpu: bool) -> Run:
    """Return a stage in evaluation with a state."""
    stage = node.stage
    neurons = one_pass(stage)
    if on_cpu and neurons is not None:
        from cuslayer.kernels.fused.streams import StreamedNeurons  # imports Numba

        return StreamedNeurons(neurons.constants, neurons.spiking)
    if getattr(stage, "training", False):
        stage = copy(stage)
        stage.training = False
    run = _with_state(node, stage, "keeps no state")
    return lambda *inputs: as_tensor(run(*map(as_tensor, inputs))).stored


def _with_state(node: GraphNode, stage: object, refusal: str) -> Callable[..., Tensor]:
    """Return a stage with a state as a function of tensors."""
    run: Callable[..., Any] | None = stage.continued() if hasattr(stage, "continued") else None
    if run is None:
        why = "the neurons have no method continued" if is_neuron(stage) else "it may depend on any other step"
        raise _refused(node, refusal, why)
    return run


def _refused(node: GraphNode, refusal: str, why: str) -> ValueError:
    return ValueError(f"layer {node} {check.one_line(node.stage)} {refusal}: {why}")


class Chunked:
    """A pass over x (T, N, ...) in chunks of steps; backward runs each chunk again; for training.

    The states of stages continue from chunk to chunk. Stages run one by one. A chunk draws the same random numbers when
    it runs again.

    Args:
        net: the network.
        graph: its graph.
        x: the input.
        steps: the number of steps of a chunk.
        whole: whether gradients continue, too. The pass then keeps the states before each chunk, and backward runs from
            the last chunk to the first. Else gradients stop at the edges.

    Raises:
        ValueError: a stage cannot keep a state, or x does not fit.
    """

    def __init__(self, net: Any, graph: Graph, x: Tensor, steps: int, *, whole: bool) -> None:
        with carried(whole) as self._states:
            self._runs = [_continued(node, whole) for node in graph.nodes]
        net.check_input(x)
        check.time_first("x", x)
        if x.dtype != bool:
            finite_input("x", x)
        self._graph, self._x, self._whole = graph, x, whole
        self._format = net.potentials or POTENTIAL_FORMATS[0]
        self._places = [slice(first, min(first + steps, len(x))) for first in range(0, len(x), steps)]
        # The states before each chunk, or before the first only, with the state of the random generator.
        self._before = list[tuple[list[Any], Any]]()

    def forward(self) -> Tensor:
        """Return the output, without a graph; a loss has the same gradient as for the network's output."""
        found: Any = None
        with no_grad():
            for place in self._places:
                if self._whole or not self._before:
                    self._before.append(([each.copy() for each in self._states], generator_state()))
                part = self._run(place)
                if found is None:
                    found = namespace(part.data).empty((len(self._x), *part.shape[1:]), part.dtype)
                found[place] = part.data
            found = self._ended(found)
        return Tensor(found, requires_grad=True, lengths=self._x.lengths)

    def backward(self, g: Array) -> None:
        """Add the gradients of the parameters for a gradient g of the output."""
        after, places, g = generator_state(), list(enumerate(self._places)), self._ended(g)
        try:
            for number, place in reversed(places) if self._whole else places:
                if self._whole or number == 0:
                    values, drawn = self._before[number]
                    load_generator_state(drawn)
                    for state, value in zip(self._states, values, strict=True):
                        state.values = value
                self._run(place).backward(g[place])
        finally:
            load_generator_state(after)

    def _ended(self, a: Array) -> Array:
        """Return an array (T, N, ...) with zeros after the end of each recording."""
        return a if self._x.lengths is None else ended(a, lengths=self._x.lengths).data

    def _run(self, place: slice) -> Tensor:
        x = self._x.stored
        values: dict[int, Any] = {INPUT: Tensor(x.steps(place) if isinstance(x, PackedSpikes) else x[place])}
        with potential_format(self._format):
            for node, inputs in flow(self._graph.nodes, self._graph.output, values):
                values[node.number] = as_tensor(self._runs[node.number](*inputs))
        found: Tensor = values[self._graph.output]
        return found


def check_continued(graph: Graph, whole: bool) -> None:
    """Raise ValueError unless each stage can continue from chunk to chunk in training, if `whole` with gradients."""
    for node in graph.nodes:
        _continued(node, whole)


def _continued(node: GraphNode, whole: bool) -> Callable[..., Tensor]:
    """Return a stage that continues from chunk to chunk in training."""
    stage, refusal = node.stage, "cannot be trained in chunks of time"
    if is_stateful(stage):
        raise _refused(node, refusal, "its state goes on from batch to batch")
    if as_layer(stage).normalizes and stage.continued() is None:
        raise _refused(node, refusal, "its mean and variance are those of all steps")
    run = _with_state(node, stage, refusal)
    if whole and not type(stage).continued.__module__.startswith("cuslayer."):
        raise _refused(node, refusal, "your continued() gives no gradient for its state; use truncate")
    return run


# The bytes of the inputs and outputs of all stages for a chunk.
_BYTES = 32 << 20
# With fewer chunks, the whole pass needs about as little memory as the states of the neurons.
_LEAST_CHUNKS = 4
# A chunk has a multiple of this number of rows (steps times samples), the block of matrix products: chunks then
# multiply in the same blocks as the whole pass, with the same rounding.
_ROWS = 256
# A chunk has a multiple of this number of steps if it fits: ring buffers of usual filters then need no copies.
_STEPS = 128


def in_chunks(net: object, graph: Graph, x: Tensor) -> Tensor | None:
    """Return the output of a network for x (T, N, ...), computed in chunks of time; None if it runs as a whole.

    This needs a call without gradients, on the CPU, for which the whole pass would need several times the memory of a
    chunk. Nobody may observe the network's steps or potentials, every stage must be able to keep a state
    (`Layer.continued`, `Neuron.continued`), and none may draw random numbers. The output is the same, to the bit.
    """
    if x.shape[0] < _LEAST_CHUNKS or not x.size or not isinstance(x.stored, np.ndarray):
        return None
    try:
        chunk = chunk_steps(graph, x.shape)
        if x.shape[0] < _LEAST_CHUNKS * chunk or is_observed(net, graph.parts) or potentials_are_observed():
            return None
        if any(_needs_batch(node.stage) for node in graph.nodes):
            return None
        stream = Stream(net, graph)
    except ValueError:  # x does not fit, which the whole pass reports; or a stage keeps no state
        return None
    if not stream.on_cpu:
        return None
    out: Any = None
    for first in range(0, len(x), chunk):
        given = x.stored[first : first + chunk]
        y = stream.advance(given)
        if len(y) != len(given):  # a user's layer may change the number of steps
            return None
        out = np.empty((len(x), *y.shape[1:]), y.dtype) if out is None else out
        out[first : first + chunk] = y
    return Tensor(out)


def chunk_steps(graph: Graph, shape: tuple[int, ...]) -> int:
    """Return the number of steps of a chunk, which depends on the sizes of the stages and of the batch."""
    shapes = shapes_of(graph, shape[2:], lambda stage, inputs: shape_after(stage, inputs) or inputs[0])
    sizes = {number: math.prod(each) for number, each in shapes.items()}
    # A spike has one byte; a number has four, and so may a layer's input spike in a list.
    each = sum(
        sum(sizes[number] for number in step.inputs) + sizes[step.last] * (1 if is_neuron(step.stages[-1]) else 4)
        for step in plan(graph)
    )
    steps, multiple = _BYTES // max(each * shape[1], 1), _ROWS // math.gcd(_ROWS, shape[1])
    multiple = _STEPS if multiple < _STEPS <= steps else multiple
    return max(1, steps // multiple) * multiple


def _needs_batch(stage: object) -> bool:
    """Return whether a stage needs the whole input: it has a state, or it draws or takes means in training."""
    if is_stateful(stage):
        return True  # a call continues after the last, and a stream starts anew
    own = not type(stage).__module__.startswith("cuslayer.")
    return bool(getattr(stage, "training", False)) and (own or as_layer(stage).of_batch)
