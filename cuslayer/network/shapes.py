"""The shape and the memory of each stage's output, and the time step of a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from cuslayer import backend
from cuslayer._base import check
from cuslayer._tape import grad_enabled
from cuslayer.kernels.host.memory import available_memory, held_memory, in_words
from cuslayer.layers import Layer
from cuslayer.layers.base import FRAME, PLACES, Shape, as_layer
from cuslayer.network.graph import INPUT, Graph
from cuslayer.neurons.base import is_neuron


def shape_after(stage: object, shapes: Sequence[Shape | None]) -> Shape | None:
    """Return the shape of a stage's output after T and N, for the shapes of its inputs; None if it is unknown."""
    if is_neuron(stage) and not isinstance(stage, Layer):
        return shapes[0]
    # A layer of one's own need not tell its output without its input.
    return None if shapes[0] is None and not _shape_is_ours(stage) else as_layer(stage).joined_shape(shapes)


def _shape_is_ours(stage: object) -> bool:
    """Return whether a class of the library tells the output shape of a stage."""
    owner = next((c for c in type(stage).__mro__ if "output_shape" in vars(c)), Layer)
    return owner.__module__.startswith("cuslayer.")


def shapes_of(graph: Graph, shape: Shape | None, after: Callable[..., object] = shape_after) -> dict[int, Any]:
    """Return the shape of each node's output by its number, in order, with the input's shape as INPUT."""
    found: dict[int, Any] = {INPUT: shape}
    for node in graph.nodes:
        found[node.number] = after(node.stage, [found[number] for number in node.inputs])
    return found


def known_shapes(graph: Graph, shape: Shape | None) -> dict[int, Shape | None]:
    """Return `shapes_of` a graph; where shapes do not match, the shape from the stage alone: the call will raise."""

    def after(stage: object, shapes: Sequence[Shape | None]) -> Shape | None:
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


def _known_after(stage: object, shapes: Sequence[Any]) -> Shape | None:
    """Return the known part of the shape of a stage's output.

    As `shape_after`, or ("H", "W", channels), or ("...", features), or None.
    """
    shape = shapes[0]
    partial = any(before is not None and before[:1] in (FRAME[:1], PLACES) for before in shapes)
    if isinstance(stage, Layer) and not _describes_itself(stage):
        return None
    if partial and not type(stage).__module__.startswith("cuslayer."):
        return None
    if len(shapes) > 1:
        return as_layer(stage).joined_shape(_with_places(shapes))
    if isinstance(stage, Layer) and (partial or (shape is None and _shape_is_ours(stage))):
        return stage.partial_shape(shape)
    return shape_after(stage, shapes)


def _with_places(shapes: Sequence[Any]) -> list[Shape | None]:
    """Return the shapes of branches, with the places of another branch where they are unknown."""
    places = next((shape[:-1] for shape in shapes if shape and shape[:1] != PLACES), PLACES)
    return [(*places, shape[-1]) if shape and shape[:1] == PLACES else shape for shape in shapes]


def _describes_itself(layer: Layer) -> bool:
    """Return whether a layer's output shape belongs to its `__call__`, not to the `__call__` that it overrides."""
    names = ("output_shape", "joined_shape", "keeps_shape")
    owner = next(c for c in type(layer).__mro__ if "__call__" in vars(c) or any(name in vars(c) for name in names))
    return any(name in vars(owner) for name in names)


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
    joined = any(len(node.inputs) > 1 for node in graph.nodes)
    everywhere = set[float]()
    for node in graph.nodes:
        neurons = is_neuron(node.stage)
        layer = as_layer(node.stage)
        own = getattr(node.stage, "dt", None) if neurons else layer.own_dt if delays else None
        if joined and neurons and own is not None:
            everywhere.add(own)
        steps = sorted({dt for dt in (own, *(of_output[number] for number in node.inputs)) if dt is not None})
        _check_one(steps)
        of_output[node.number] = steps[0] if (neurons or layer.keeps_steps) and steps else None
    _check_one(sorted(everywhere))
    return of_output[graph.output]


def same_step(graph: Graph) -> set[int]:
    """Return the nodes whose input has the step of the network's input."""
    kept = {INPUT}
    found = set[int]()
    for node in graph.nodes:
        if kept.issuperset(node.inputs):
            found.add(node.number)
            if is_neuron(node.stage) or as_layer(node.stage).keeps_steps:
                kept.add(node.number)
    return found


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
