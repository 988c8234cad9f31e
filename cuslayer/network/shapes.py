"""The shape and the memory of each stage's output, and the time step of a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

from cuslayer import backend
from cuslayer._base import check
from cuslayer._tape import grad_enabled
from cuslayer.kernels.host.memory import available_memory, held_memory, in_words
from cuslayer.layers import Conv, Delay, Dense, GlobalAvgPool, Layer, ReadOut, Recurrent, SynapticDelays
from cuslayer.layers.base import Shape, Sliding, Synapse, check_frame
from cuslayer.layers.conv import Convolution
from cuslayer.layers.delay import Shift
from cuslayer.layers.filter_bank import TemporalFilter
from cuslayer.network.graph import INPUT, Graph
from cuslayer.network.join import Join
from cuslayer.neurons.base import is_neuron

# Frames with unknown rows and columns; the number of channels follows.
_FRAME = ("H", "W")
# Places of unknown number and axes, which may be none; the number of features follows.
_PLACES = ("...",)


def shape_after(stage: Any, shapes: Sequence[Shape | None]) -> Shape | None:
    """Return the shape of a stage's output after T and N, for the shapes of its inputs; None if it is unknown."""
    if isinstance(stage, Join):
        return stage.joined_shape(shapes)
    if is_neuron(stage) and not isinstance(stage, Layer):
        return shapes[0]
    if not isinstance(stage, Layer):
        return None
    # A layer of one's own need not tell its output without its input.
    owner = next(c for c in type(stage).__mro__ if "output_shape" in vars(c))
    unknown = shapes[0] is None and not owner.__module__.startswith("cuslayer.")
    return None if unknown else stage.output_shape(shapes[0])


def shapes_of(graph: Graph, shape: Shape | None, after: Callable[..., Any] = shape_after) -> dict[int, Any]:
    """Return the shape of each node's output by its number, in order, with the input's shape as INPUT."""
    found: dict[int, Any] = {INPUT: shape}
    for node in graph.nodes:
        found[node.number] = after(node.stage, [found[number] for number in node.inputs])
    return found


def known_shapes(graph: Graph, shape: Shape | None) -> dict[int, Any]:
    """Return `shapes_of` a graph; where shapes do not match, the shape from the stage alone: the call will raise."""

    def after(stage: Any, shapes: Sequence[Any]) -> Any:
        try:
            return shape_after(stage, shapes)
        except ValueError:
            return shape_after(stage, [None for _ in shapes])

    return shapes_of(graph, shape, after)


def check_shapes(graph: Graph, shape: Shape | None) -> None:
    """Raise ValueError if a stage of a graph cannot take the output of the stages before it."""
    shapes: dict[int, Any] = {INPUT: shape}
    for node in graph.nodes:
        try:
            shapes[node.number] = _known_after(node.stage, [shapes[number] for number in node.inputs])
        except ValueError as problem:
            # The join of the container itself has no path.
            where = f"layer {node}, {node.described}, does not fit what is before it: " if node.path else ""
            raise ValueError(f"{where}{problem}".replace("'", "")) from None


def _known_after(stage: Any, shapes: Sequence[Any]) -> Any:
    """Return the known part of the shape of a stage's output.

    As `shape_after`, or ("H", "W", channels), or ("...", features), or None.
    """
    shape = shapes[0]
    partial = any(before is not None and before[:1] in (_FRAME[:1], _PLACES) for before in shapes)
    if isinstance(stage, Layer) and not _describes_itself(stage):
        return None
    if partial and not type(stage).__module__.startswith("cuslayer."):
        return None
    if isinstance(stage, Join):
        return stage.joined_shape(_with_places(shapes))
    if isinstance(stage, Recurrent) and partial:
        _known_after(stage.layer, shapes)
        return shape
    if isinstance(stage, Convolution) and (shape is None or partial):
        if partial:
            with check.about("conv" if isinstance(stage, Conv) else "conv_transpose"):
                check_frame(cast(Any, (*_FRAME, shape[-1])), stage.in_channels)
        return (*_FRAME, stage.out_channels)
    if isinstance(stage, (Dense, ReadOut)) and (shape is None or partial):
        inputs = math.prod(stage.in_features)
        # The size of flattened places is a multiple of their features.
        if partial and inputs % shape[-1]:
            with check.about("dense"):
                raise ValueError(f"x has {shape[-1]} features, weight expects {inputs}")
        return (*(() if partial and inputs != shape[-1] else _PLACES), stage.out_features)
    if isinstance(stage, Sliding) and partial:
        return (*_FRAME, shape[-1])
    if isinstance(stage, GlobalAvgPool) and partial:
        return (shape[-1],)
    return shape_after(stage, shapes)


def _with_places(shapes: Sequence[Any]) -> list[Any]:
    """Return the shapes of branches, with the places of another branch where they are unknown."""
    places = next((shape[:-1] for shape in shapes if shape and shape[:1] != _PLACES), _PLACES)
    return [(*places, shape[-1]) if shape and shape[:1] == _PLACES else shape for shape in shapes]


def _describes_itself(layer: Layer) -> bool:
    """Return whether a layer's output shape belongs to its `__call__`, not to the `__call__` that it overrides."""
    names = ("output_shape", "joined_shape", "keeps_shape")
    owner = next(c for c in type(layer).__mro__ if "__call__" in vars(c) or any(name in vars(c) for name in names))
    return any(name in vars(owner) for name in names)


# Layers with a dt, besides neurons.
_TIMED = Delay, Shift, SynapticDelays, ReadOut, TemporalFilter


def warn_of_delays(graph: Graph) -> None:
    """Warn if delays, filters or read-outs have another dt than the neurons around them."""
    try:
        output_step(graph, delays=True)
    except ValueError as problem:
        check.warn(str(problem).replace("neurons", "neurons, delays and read-outs", 1))


def output_step(graph: Graph, *, delays: bool = False) -> float | None:
    """Return the step in ms of a network's output; None if no neurons, or with `delays` other layers, determine it.

    A function, or a layer without `keeps_steps`, may change the step.
    """
    of_output: dict[int, float | None] = {INPUT: None}
    joined = any(isinstance(node.stage, Join) for node in graph.nodes)
    everywhere = set[float]()
    for node in graph.nodes:
        neurons = is_neuron(node.stage)
        of_delays = isinstance(node.stage, Synapse) and not isinstance(node.stage, ReadOut)
        timed = node.stage.delays if of_delays else node.stage
        may_be = neurons or (delays and isinstance(timed, _TIMED))
        own: float | None = getattr(getattr(timed, "neuron", None) or timed, "dt", None) if may_be else None
        if joined and neurons and own is not None:
            everywhere.add(own)
        steps = sorted({dt for dt in (own, *(of_output[number] for number in node.inputs)) if dt is not None})
        _check_one(steps)
        keeps = neurons or (isinstance(node.stage, Layer) and node.stage.keeps_steps)
        of_output[node.number] = steps[0] if keeps and steps else None
    _check_one(sorted(everywhere))
    return of_output[graph.output]


def _check_one(steps: list[float]) -> None:
    if len(steps) > 1:
        raise ValueError(f"neurons must have one dt, got {' and '.join(f'{dt:g}' for dt in steps)}")


# The bytes of a neuron's potential and spike at a step, and of a gradient.
_EACH, _GRADIENT = 5, 4
# The usable fraction of the free memory: there are gaps between blocks.
_SHARE = 0.9


class LayerMemoryError(MemoryError):
    """There is not enough memory for a layer of a network, or for a step of training."""


def layer_error(graph: Graph, number: int, shape: tuple[int, ...]) -> LayerMemoryError:
    """Return the error for a layer whose arrays did not fit."""
    node = graph.nodes[number]
    sizes = _sizes(graph, shape)
    needs = f" needs {in_words(_EACH * sizes[number] * shape[1])} for potentials and spikes" if sizes[number] else ""
    return LayerMemoryError(
        f"layer {node}, {node.described},{needs or ' does not fit into memory'}; {_advice(graph, shape)}"
    )


def step_error(graph: Graph, shape: tuple[int, ...]) -> LayerMemoryError:
    """Return the error for a training step on an input shape (T, N, ...) whose gradients did not fit."""
    return LayerMemoryError(f"the gradients of a batch of {shape[1]} do not fit into memory; {_advice(graph, shape)}")


def _sizes(graph: Graph, shape: tuple[int, ...]) -> list[int]:
    """Return the number of elements of each node's output for one sample at all steps; 0 if it is unknown."""
    _, *known = known_shapes(graph, shape[2:]).values()
    return [0 if each is None else shape[0] * math.prod(each) for each in known]


def _advice(graph: Graph, shape: tuple[int, ...]) -> str:
    """Return the free memory, and the largest batch that would fit, as text."""
    sizes, samples = _sizes(graph, shape), shape[1]
    kept = _EACH * sum(sizes) if grad_enabled() else _EACH * max(sizes, default=0)
    each = kept + 2 * _GRADIENT * max(sizes, default=0)
    free = backend.free_memory() if backend.device() == "cuda" else available_memory()
    if free is None:
        return "a smaller batch needs less"
    total = free + (0 if backend.device() == "cuda" else held_memory())
    fits = min(int(_SHARE * total / each), samples - 1) if each else 0
    if fits >= 1:
        return f"{in_words(total)} are free: a batch of {fits} would fit"
    return f"{in_words(total)} are free: a batch of 1 needs about {in_words(each)}; take fewer steps or smaller layers"
