"""How the page is told what lies between the neurons before and these: linear layers, their windows and weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from cuslayer.backend import to_numpy
from cuslayer.inspection.report.encode import block
from cuslayer.layers import Conv, ConvTranspose, Delay, Dense, Dropout, Pool, Shift, Unpool
from cuslayer.layers.delay import whole_steps

Shape: TypeAlias = "tuple[int, ...]"
Wire: TypeAlias = "dict[str, Any]"


def wired(stages: Sequence[Any], shapes: Sequence[Shape]) -> list[Wire] | None:
    """Return what the page needs to follow each input of some stages to each output; None where it could not.

    Args:
        stages: what lies before the neurons, in its order.
        shapes: the shape (after T and N) of the first's input, and of each stage's output.
    """
    # A subclass may compute something else.
    if not all(type(stage) in _WIRES for stage in stages):
        return None
    lags = [steps for stage in stages if isinstance(stage, (Delay, Shift)) for steps in _steps(stage)[0].flat]
    # What is moved over an end of time and back is lost, which the sum of the moves would not tell.
    if lags and min(lags) < 0 < max(lags):
        return None
    moved = zip(stages, shapes[:-1], shapes[1:], strict=True)
    return [_WIRES[type(stage)](stage, before, after) for stage, before, after in moved if type(stage) is not Dropout]


def _dense(layer: Dense, before: Shape, after: Shape) -> Wire:
    return {"kind": "dense", "outputs": after[0], "weight": block(to_numpy(layer.effective_weight().data), "f4")}


def _conv(layer: Conv | ConvTranspose, before: Shape, after: Shape) -> Wire:
    weight = block(to_numpy(layer.effective_weight().data), "f4")
    return _window(layer, before, after) | {"groups": layer.groups, "weight": weight}


def _pool(layer: Pool | Unpool, before: Shape, after: Shape) -> Wire:
    return _window(layer, before, after) | {"gain": layer.gain}


def _window(layer: Any, before: Shape, after: Shape) -> Wire:
    """Return where the windows lie: those of a transposed layer, on its output."""
    transposed = isinstance(layer, (ConvTranspose, Unpool))
    image, maps = (after, before) if transposed else (before, after)
    sizes = {name: getattr(layer, name) for name in ("kernel_size", "stride", "padding", "dilation")}
    return {"kind": "window", "transposed": transposed, "image": image, "maps": maps} | sizes


def _delay(layer: Delay | Shift, before: Shape, after: Shape) -> Wire:
    steps, shares = (np.broadcast_to(x, before).ravel() for x in _steps(layer))
    linear = isinstance(layer, Delay) and layer.mode == "linear"
    return {"kind": "delay", "steps": block(steps, "i4"), "shares": block(shares if linear else 0 * shares, "f8")}


def _steps(layer: Delay | Shift) -> tuple[Any, Any]:
    delay = to_numpy(layer.delay.data) if isinstance(layer, Delay) else layer.delay
    return whole_steps(delay, layer.dt)


_WIRES: dict[type, Callable[[Any, Shape, Shape], Wire]] = {
    Dense: _dense,
    Conv: _conv,
    ConvTranspose: _conv,
    Pool: _pool,
    Unpool: _pool,
    Delay: _delay,
    Shift: _delay,
    Dropout: lambda layer, before, after: {},
}
