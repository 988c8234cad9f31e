"""The time step of a network: neurons that see the same steps must have the same dt."""

from __future__ import annotations

from cuslayer.layers.base import Layer
from cuslayer.network.graph import INPUT, Graph
from cuslayer.network.join import Join
from cuslayer.neurons.base import is_neuron


def output_step(graph: Graph) -> float | None:
    """Return the step in ms of a network's output; None if no neurons determine it.

    A function, or a layer without `keeps_steps`, may change the step.
    """
    of_output: dict[int, float | None] = {INPUT: None}
    joined = any(isinstance(node.stage, Join) for node in graph.nodes)
    everywhere = set[float]()
    for node in graph.nodes:
        neurons = is_neuron(node.stage)
        own: float | None = getattr(node.stage, "dt", None) if neurons else None
        if joined and own is not None:
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
