"""Run the stages of a network one by one with their potentials; the default loss of inspection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from cuslayer.backend import Array, to_numpy
from cuslayer.inspection.structure import ends_in_read_out
from cuslayer.loss import CrossEntropyLoss, SpikeCountLoss, SpikeTimeLoss
from cuslayer.network.container import graph_of
from cuslayer.network.graph import INPUT, Node, flow
from cuslayer.neurons.base import is_neuron
from cuslayer.neurons.potential import Potentials, on_potential
from cuslayer.tape import Tensor

# Called after each stage with its node, its output and its potentials (T, N, ...), None if it saves none; returns the
# output for the stages after it.
After: TypeAlias = "Callable[[Node, Tensor, Array | None], Tensor]"


# The desired counts of the default loss, of the labelled class and of the others; at most a spike a step.
_COUNTS = (60, 10)


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


def check_loss(op: str, loss: Any) -> None:
    """Raise TypeError unless loss is a function or None, for the default."""
    if loss is not None and not callable(loss):
        raise TypeError(f"{op}: loss must be a function of spikes and target, got {type(loss).__name__}")


def default_loss(net: Any, out: Tensor, target: Any) -> Any:
    """Return `SpikeTimeLoss` for a target of the output's shape, else `SpikeCountLoss`, with the last neurons.

    Of fewer than 60 steps, the labelled class should fire in each.

    Of a read-out without spikes, it is `CrossEntropyLoss`.
    """
    if ends_in_read_out(net):
        return CrossEntropyLoss()
    last = [node.stage for node in graph_of(net).nodes if is_neuron(node.stage)][-1]
    given = target.data if isinstance(target, Tensor) else np.asarray(to_numpy(target))
    if given.shape == out.shape:
        return SpikeTimeLoss(last)
    true, false = (min(count, len(out)) for count in _COUNTS)
    return SpikeCountLoss(last, true, false)
