"""Run the stages of a network with functions in place of a loop; for the pages, until they use `Walk`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from cuslayer.backend import Array
from cuslayer.inspection.structure import check_loss, default_loss
from cuslayer.network.graph import Graph, Node
from cuslayer.network.walk import Walk
from cuslayer.tape import Tensor

# Called after each stage with its node, its output and its potentials (T, N, ...), None if it saves none; returns the
# output for the stages after it.
After: TypeAlias = "Callable[[Node, Tensor, Array | None], Tensor]"
__all__ = ["After", "check_loss", "default_loss", "run_nodes"]


def run_nodes(
    nodes: Sequence[Node], output: int, x: Tensor, after: After, *, run: Callable[..., Tensor] | None = None
) -> Tensor:
    """Run the nodes of a graph in order, without fusion, and return the output of one of them."""
    steps = Walk(Graph(list(nodes), [], output), x)
    for at in steps:
        if run is not None:
            at.call = lambda *inputs, node=at.node: run(node, *inputs)
        at.output = after(at.node, at.output, at.potentials)
    found: Tensor = steps.output
    return found
