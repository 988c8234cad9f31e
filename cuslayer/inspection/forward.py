"""Run the stages of a network one by one with their potentials; the default loss of inspection."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from cuslayer.backend import Array
from cuslayer.inspection.walk import check_loss, default_loss
from cuslayer.network.graph import INPUT, Node, flow
from cuslayer.neurons.base import is_neuron
from cuslayer.neurons.potential import Potentials, on_potential
from cuslayer.tape import Tensor

# Called after each stage with its node, its output and its potentials (T, N, ...), None if it saves none; returns the
# output for the stages after it.
__all__ = ["After", "check_loss", "default_loss", "run_nodes"]
After: TypeAlias = "Callable[[Node, Tensor, Array | None], Tensor]"


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
