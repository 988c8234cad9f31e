"""Receptive fields: the weights of a layer's neurons as images."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_numpy
from cuslayer.plot.axes import as_array, color_bar, neuron_positions
from cuslayer.plot.tiles import draw_tiles

_MOST = 64


def receptive_fields(
    of: Any, ax: Any = None, *, shape: Sequence[int] | None = None, neurons: Any = None, columns: int | None = None
) -> Any:
    """Draw the weights of each neuron: a map (H, W) for each input channel, one below the other.

    Red weights are positive, blue ones negative, white is 0; the scale is the same for all neurons.

    Args:
        of: a dense or convolutional layer, or a weight: dense (inputs, outputs), convolution (kh, kw, in_channels /
            groups, out_channels). The maps of a transposed convolution are those of its input channels.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.
        shape: the shape (H, W, C) of the inputs of a dense weight; by default the layer's `in_features`.
        neurons: the outputs, or output channels of a convolution, to draw; by default all, at most 64.
        columns: neurons per row; by default as many as fit well.

    Returns:
        The axes, with a colour bar beside them.

    Raises:
        ValueError: a weight is of another shape, shape does not fit it, or neurons are too many.
        IndexError: a neuron is out of range.
        TypeError: a weight is not floating, or ax is not Axes.

    >>> from cuslayer.layers import Dense
    >>> ax = receptive_fields(Dense((8, 8, 2), 10))
    >>> [text.get_text() for text in ax.texts][:3]
    ['0', '1', '2']
    """
    op = "receptive_fields"
    columns = None if columns is None else check.integer(op, "columns", columns, least=1)
    weight = to_numpy(as_array(of.effective_weight() if hasattr(of, "effective_weight") else of))
    check.floating(op, "the weight", weight)
    maps = _maps(op, weight, shape if shape is not None else getattr(of, "in_features", None))
    which = neuron_positions(op, neurons, maps.shape[-1:], _MOST)
    if not which or 0 in maps.shape:
        raise ValueError(f"{op}: there must be a neuron with inputs, got a weight of shape {weight.shape}")
    tiles = np.stack([_stack(maps[..., neuron]) for neuron in which])
    most = float(np.nanmax(np.abs(tiles))) or 1.0
    image = draw_tiles(
        op, ax, tiles, [str(n) for n in which], columns=columns, fill=np.nan, cmap="RdBu_r", vmin=-most, vmax=most
    )
    color_bar(image, "weight", fraction=0.03, pad=0.02)
    return image.axes


def _maps(op: str, weight: Array, shape: Any) -> Array:
    """Return a weight as (H, W, C, neurons)."""
    if weight.ndim == 4:
        return weight
    if weight.ndim != 2:
        rule = "(inputs, outputs) or (kh, kw, channels, maps)"
        raise ValueError(f"{op}: the weight must be {rule}, got shape {weight.shape}")
    sides = tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    if len(sides) != 3:
        raise ValueError(f"{op}: shape must be (H, W, C) of a dense layer's inputs, got {shape}")
    sides = tuple(check.integer(op, "shape", side, least=1) for side in sides)
    if math.prod(sides) != len(weight):
        raise ValueError(f"{op}: shape {sides} has {math.prod(sides)} inputs, the weight has {len(weight)}")
    return weight.reshape(*sides, weight.shape[1])


def _stack(field: Array) -> Array:
    """Return the maps (H, W, C) of a neuron one below the other, with a gap between them."""
    height, width, channels = field.shape
    gap = max(1, round(0.06 * height))
    stacked = np.full((channels * (height + gap) - gap, width), np.nan, field.dtype)
    for channel in range(channels):
        top = channel * (height + gap)
        stacked[top : top + height] = field[..., channel]
    return stacked
