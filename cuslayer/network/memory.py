"""Errors of memory that name the layer, what it needs, and the largest batch that would fit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from cuslayer import backend
from cuslayer.kernels.host.memory import available_memory, held_memory, in_words
from cuslayer.network.graph import Graph
from cuslayer.network.shapes import known_shapes
from cuslayer.tape import Tensor, grad_enabled

# A potential and a spike of a neuron at a step, in bytes; and a gradient.
_EACH, _GRADIENT = 5, 4
# The share of the free memory that is counted on: blocks do not fit each other without gaps.
_SHARE = 0.9


class LayerMemoryError(MemoryError):
    """There is not enough memory for a layer of a network, or for a step of training."""


def with_memory_errors(run: Callable[..., Tensor], graph: Graph, shape: tuple[int, ...]) -> Callable[..., Tensor]:
    """Return a function that runs a step of a plan, as `run` does; its errors of memory name the layer."""

    def guarded(step: Any, *inputs: Tensor) -> Tensor:
        try:
            return run(step, *inputs)
        except LayerMemoryError:
            raise
        except MemoryError:
            raise layer_error(graph, step.start, shape) from None

    return guarded


def layer_error(graph: Graph, number: int, shape: tuple[int, ...]) -> LayerMemoryError:
    """Return the error for a layer whose arrays did not fit."""
    node = graph.nodes[number]
    sizes = _sizes(graph, shape)
    needs = (
        f" needs {in_words(_EACH * sizes[number] * shape[1])} for its potentials and spikes" if sizes[number] else ""
    )
    return LayerMemoryError(
        f"layer {node}, {node.described},{needs or ' does not fit into memory'}; {_advice(graph, shape)}"
    )


def step_error(graph: Graph, shape: tuple[int, ...]) -> LayerMemoryError:
    """Return the error for a step of training on an input of a shape (T, N, ...) whose gradients did not fit."""
    return LayerMemoryError(f"the gradients of a batch of {shape[1]} do not fit into memory; {_advice(graph, shape)}")


def _sizes(graph: Graph, shape: tuple[int, ...]) -> list[int]:
    """Return the number of elements of each node's output for one sample at all steps; 0 where it is unknown."""
    _, *known = known_shapes(graph, shape[2:]).values()
    return [0 if each is None else shape[0] * math.prod(each) for each in known]


def _advice(graph: Graph, shape: tuple[int, ...]) -> str:
    """Return how much memory is free, and the largest batch that would fit."""
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
