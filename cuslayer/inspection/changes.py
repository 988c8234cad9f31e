"""What a counterfactual leaves out of a network's run: spikes of a layer, inputs, or weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cuslayer._base import check
from cuslayer.backend import Array
from cuslayer.inspection.decomposition import Index


class Changes:
    """Spikes, inputs and weights to leave out.

    Args:
        source: the number of the node that sends the spikes.
        sent: its output (T, ...).
        layer: the layer of the weights.
        spikes: (step, index) of each spike.
        inputs: the index of each neuron or pixel that sends nothing.
        weights: the index of each weight that becomes 0.
    """

    def __init__(
        self,
        source: int,
        sent: Array,
        layer: object,
        spikes: Sequence[tuple[int, Index]],
        inputs: Sequence[int | Index],
        weights: Sequence[Index],
    ) -> None:
        self.source = source
        # Indices into (T, ...) whose values become 0.
        self.places: list[tuple[Any, ...]] = []
        self.weights: list[Index] = []
        counts = {"spike": 0, "input": 0, "weight": 0}
        for time, sender, *_ in check.sequence("spikes", spikes):
            step = check.index("the step of a spike", time, len(sent), "steps")
            place = (step, *check.neuron_index(sent.shape[1:], sender, "the index of a spike"))
            if not sent[place]:
                raise ValueError(f"spikes must be of the source, which has none of {place[1:]} at step {step}")
            self.places.append(place)
            counts["spike"] += 1
        for sender in check.sequence("inputs", inputs):
            place = check.neuron_index(sent.shape[1:], sender, "the index of an input")
            self.places.append((slice(None), *place))
            counts["input"] += 1
        for index in check.sequence("weights", weights):
            weight = getattr(layer, "weight", None)
            if weight is None:
                raise ValueError(f"weights must be of the neurons' layer, got {check.one_line(layer)}, which has none")
            self.weights.append(check.neuron_index(weight.shape, index, "the index of a weight"))
            counts["weight"] += 1
        if not any(counts.values()):
            raise ValueError("spikes, inputs or weights must name what to leave out, got none")
        self._counts = counts

    def of_signal(self, sent: Array) -> None:
        """Leave the spikes and inputs out of one sample's signal (T, 1, ...)."""
        for step, *place in self.places:
            sent[(step, 0, *place)] = 0

    def of_weight(self, layer: Any) -> None:
        """Set the weights of the layer to 0."""
        for index in self.weights:
            layer.weight.data[index] = 0

    def __str__(self) -> str:
        named = [f"{count} {what}{'s' * (count > 1)}" for what, count in self._counts.items() if count]
        return " and ".join(named)
