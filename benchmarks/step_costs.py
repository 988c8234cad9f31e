"""The operations of a training step on a GPU, counted on the stand-in for CuPy, by phase and layer.

The step is that of a `Trainer` with a `Loader` of recordings of an event camera: events from the host, forward, loss,
backward, gradient flow, optimizer and score. Nothing is computed, so that a step of any network takes about as long as
its Python code.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import traffic
from example_networks import STEPS, Network, prepared

from cuslayer.data import Loader
from cuslayer.network.container import Container, graph_of
from cuslayer.network.fusion import observe
from cuslayer.tape import Node, Tensor
from cuslayer.training import Trainer
from cuslayer.training.graph import GraphStep
from cuslayer.training.score import Tally
from tools.fake_cupy import Costs, counted, in_use

# The step that is counted: every fourth records gradients; the first of them compiles kernels, the second is captured.
COUNTED = 8

# The arrays that a kernel reads and writes.
UPDATED = {
    name: {x for x, way in ways.items() if {"r", "w"} <= set(way.lower())} for name, ways in traffic.WAYS.items()
}


def count(network: Network, steps: int = STEPS) -> Costs:
    """Return the costs of a training step of a network on a batch of recordings of events, of so many steps."""
    with in_use(compute=False):
        trainer, loader = prepared(network, COUNTED + 1, steps=steps)
        marks = list[int]()
        with counted(updated=UPDATED) as costs, _labelled(trainer, costs):
            trainer.train(_batches(costs, loader, marks))
        return Costs(costs.operations[marks[COUNTED] : marks[COUNTED + 1]])


def _batches(costs: Costs, loader: Loader, marks: list[int]) -> Iterator[Any]:
    """Yield the batches of a loader, and list the numbers of operations before each of them and at the end."""
    batches = iter(loader)
    for _ in range(COUNTED + 1):
        marks.append(len(costs.operations))
        with costs.phase("input"):
            batch = next(batches)
        with costs.phase("trainer"):
            yield batch
    marks.append(len(costs.operations))


@contextmanager
def _labelled(trainer: Trainer, costs: Costs) -> Iterator[None]:
    """Label the operations of a trainer's steps within the block."""
    layers: dict[int, str] = {}
    nodes = graph_of(trainer.net).nodes

    def forward(run: Callable[..., Tensor], step: Any, *inputs: Tensor) -> Tensor:
        layer = f"{nodes[step.start]} {' + '.join(type(stage).__name__ for stage in step.stages)}"
        with costs.phase(layer=layer):
            out = run(step, *inputs)
        _label_nodes(out.node, layer, layers)
        return out

    gradients = Node.input_gradients

    def backward_of_node(self: Node, grad: list[Any]) -> Any:
        with costs.phase(layer=layers.get(self.serial, "loss")):
            return gradients(self, grad)

    def phase(name: str, work: Callable[..., Any], layer: str = "") -> Callable[..., Any]:
        def labelled(*arguments: Any, **options: Any) -> Any:
            with costs.phase(name, layer):
                return work(*arguments, **options)

        return labelled

    with ExitStack() as stack:
        for owner, attribute, name, layer in (
            (GraphStep, "_send", "input", ""),
            (Container, "__call__", "forward", "input"),
            (trainer, "loss", "loss", "loss"),
            (Tensor, "backward", "backward", ""),
            (trainer.gradients, "add", "gradient flow", ""),
            (trainer.optimizer, "step", "optimizer", ""),
            (Tally, "add", "score", ""),
        ):
            labelled = phase(name, getattr(owner, attribute), layer)
            stack.enter_context(mock.patch.object(owner, attribute, labelled))
        stack.enter_context(mock.patch.object(Node, "input_gradients", backward_of_node))
        stack.enter_context(observe(trainer.net, forward))
        yield


def _label_nodes(node: Node | Tensor | None, layer: str, layers: dict[int, str]) -> None:
    """Label the nodes of the graph that a layer made: those behind its output that no layer before has."""
    if isinstance(node, Node) and node.serial not in layers:
        layers[node.serial] = layer
        for other in node.inputs:
            _label_nodes(other, layer, layers)
