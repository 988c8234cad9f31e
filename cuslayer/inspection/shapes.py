"""What each stage of a network makes of a shape, known without running it."""

from __future__ import annotations

from typing import Any, TypeAlias

from cuslayer.inspection.stages import is_neuron
from cuslayer.layers import (
    Average,
    Conv,
    ConvTranspose,
    Delay,
    Dense,
    Dropout,
    FilterBank,
    Pool,
    Shift,
    TemporalFilter,
    Unpool,
)

Shape: TypeAlias = "tuple[int, ...]"


def output_shapes(net: Any) -> list[Shape | None]:
    """Return the shape (after T and N) of each stage's output; None from the first stage on that cannot say.

    A network from words knows its input. Another one is known from the first layer on whose output does not depend on
    its input, as a dense layer's does not.

    >>> from cuslayer.network import Network
    >>> from cuslayer.neuron import SRM
    >>> output_shapes(Network("34x34x2-16c5-2a-10", SRM()))
    [(34, 34, 16), (34, 34, 16), (17, 17, 16), (17, 17, 16), (10,), (10,)]
    """
    shape: Shape | None = getattr(net, "input_shape", None)
    found = []
    for stage in net.layers:
        shape = _after(stage, shape)
        found.append(shape)
    return found


def _after(stage: Any, shape: Shape | None) -> Shape | None:
    if isinstance(stage, Dense):
        return (stage.out_features,)
    if isinstance(stage, Average):
        return (stage.groups,)
    if is_neuron(stage) or isinstance(stage, (Dropout, Shift, Delay, TemporalFilter)):
        return shape
    if isinstance(stage, FilterBank) and shape:
        return (*shape[:-1], stage.count * shape[-1])
    if shape is None or len(shape) != 3 or not isinstance(stage, (Conv, ConvTranspose, Pool, Unpool)):
        return None
    op, window = type(stage).__name__, stage.window
    try:
        if isinstance(stage, ConvTranspose):
            return (*window.image(op, shape[:2], stage.output_padding), stage.out_channels)
        if isinstance(stage, Unpool):
            return (*window.image(op, shape[:2]), shape[2])
        outputs = window.outputs(op, shape[:2], ceil=isinstance(stage, Pool))
    except ValueError:  # the layers do not fit one another, which a call will say and a table need not
        return None
    return (*outputs, stage.out_channels if isinstance(stage, Conv) else shape[2])
