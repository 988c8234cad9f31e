"""Inference in chunks of time, in memory that does not grow with the number of steps."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer.layers import BatchNorm, Dropout
from cuslayer.network.fusion import is_observed, plan
from cuslayer.network.graph import INPUT, Graph
from cuslayer.network.shapes import shape_after
from cuslayer.network.stream import Stream
from cuslayer.neurons.base import is_neuron
from cuslayer.neurons.potential import potentials_are_observed
from cuslayer.tape import Tensor, grad_enabled

# Bytes of the inputs and outputs of all stages for a chunk.
_BYTES = 32 << 20
# Of fewer chunks, the whole needs about as little memory as the states of the neurons.
_LEAST_CHUNKS = 4
# A chunk has a multiple of so many rows (steps times samples), which products of matrices take at once: numbers are
# then multiplied in the same blocks as in the whole, with the same rounding.
_ROWS = 256
# A chunk has a multiple of so many steps if that fits: ring buffers of usual filters are then written in place.
_STEPS = 128


def in_chunks(net: Any, graph: Graph, x: Tensor) -> Tensor | None:
    """Return the output of a network for x (T, N, ...), computed chunk by chunk in time; None where it runs as a whole.

    It runs in chunks without gradients, on the CPU, if the whole would need several times the memory of a chunk,
    nobody observes its steps or potentials, every stage can keep a state (`Layer.streamed`, `Neuron.streamed`), and
    none draws random numbers. The output is the same, to the bit.
    """
    if grad_enabled() or x.shape[0] < _LEAST_CHUNKS or not x.size or not isinstance(x.stored, np.ndarray):
        return None
    try:
        chunk = chunk_steps(graph, x.shape)
        if x.shape[0] < _LEAST_CHUNKS * chunk or is_observed(net, graph.parts) or potentials_are_observed():
            return None
        if any(_needs_batch(node.stage) for node in graph.nodes):
            return None
        stream = Stream(net, graph)
    except ValueError:  # x does not fit, which the whole pass says; a stage keeps no state, or a weight is on a GPU
        return None
    out: Any = None
    for first in range(0, len(x), chunk):
        given = x.stored[first : first + chunk]
        y = stream.advance(given)
        if len(y) != len(given):  # a layer of one's own may change the number of steps
            return None
        out = np.empty((len(x), *y.shape[1:]), y.dtype) if out is None else out
        out[first : first + chunk] = y
    return Tensor(out)


def chunk_steps(graph: Graph, shape: tuple[int, ...]) -> int:
    """Return the number of steps of a chunk, which follows from the sizes of the stages and of the batch."""
    shapes: dict[int, Any] = {INPUT: shape[2:]}
    for node in graph.nodes:
        inputs = [shapes[number] for number in node.inputs]
        shapes[node.number] = shape_after(node.stage, inputs) or inputs[0]
    sizes = {number: math.prod(each) for number, each in shapes.items()}
    # A spike has one byte; a number has four, and a spike that a layer takes may be listed in four.
    each = sum(
        sum(sizes[number] for number in step.inputs) + sizes[step.last] * (1 if is_neuron(step.stages[-1]) else 4)
        for step in plan(graph)
    )
    steps, multiple = _BYTES // max(each * shape[1], 1), _ROWS // math.gcd(_ROWS, shape[1])
    multiple = _STEPS if multiple < _STEPS <= steps else multiple
    return max(1, steps // multiple) * multiple


def _needs_batch(stage: Any) -> bool:
    """Return whether a stage needs the whole input now, to draw random numbers or for a mean over the batch.

    These are dropout, batch normalization and layers of one's own, in training mode.
    """
    own = not type(stage).__module__.startswith("cuslayer.")
    return bool(getattr(stage, "training", False)) and (own or isinstance(stage, (Dropout, BatchNorm)))
