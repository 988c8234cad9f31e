"""The shape of a stage's output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cuslayer.layers.base import Layer, Shape
from cuslayer.network.join import Join
from cuslayer.neurons.base import is_neuron


def shape_after(stage: Any, shapes: Sequence[Shape | None]) -> Shape | None:
    """Return the shape of a stage's output after T and N, for the shapes of its inputs; None where it is unknown.

    Raises:
        ValueError: the shapes do not fit the stage.
    """
    if isinstance(stage, Join):
        return stage.joined_shape(shapes)
    if is_neuron(stage):
        return shapes[0]
    return stage.output_shape(shapes[0]) if isinstance(stage, Layer) else None
