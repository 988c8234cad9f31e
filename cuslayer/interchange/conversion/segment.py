"""The stages between spikes and the neurons, or the output, that they reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from cuslayer._tape import Tensor
from cuslayer.backend import Array, to_device, to_numpy
from cuslayer.network.graph import GraphNode, feeds, flow


@dataclass(frozen=True)
class Segment:
    """Stages without neurons: those that lead to a node's output.

    Attributes:
        sources: the numbers of the neurons, or INPUT, before the stages.
        stages: the nodes of the stages, in order.
        output: the number of the last one, or of a source if there are none.
    """

    sources: tuple[int, ...]
    stages: tuple[GraphNode, ...]
    output: int

    @staticmethod
    def of(nodes: list[GraphNode], output: int) -> Segment:
        """Return the segment that leads to a node."""
        sources, between = feeds(nodes, [output])
        return Segment(tuple(sorted(sources)), tuple(nodes[number] for number in sorted(between)), output)

    def run(self, values: Mapping[int, Array]) -> Tensor:
        """Return the output of the stages for the outputs (T, N, ...) of the sources."""
        known: dict[int, Any] = {number: Tensor(to_device(values[number])) for number in self.sources}
        for node, inputs in flow(self.stages, self.output, known):
            known[node.number] = node(*inputs)
        output: Tensor = known[self.output]
        return output

    def at_rest(self, shapes: Mapping[int, Any], dtype: Any) -> Array:
        """Return the output for one sample without any input, from biases alone; one number a channel if all agree."""
        zeros = {number: np.zeros((1, 1, *shapes[number]), dtype) for number in self.sources}
        output = to_numpy(self.run(zeros).data)[0, 0]
        places = output.reshape(-1, output.shape[-1])
        return places[0] if (places == places[0]).all() else output
