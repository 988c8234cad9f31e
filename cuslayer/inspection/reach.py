"""Which inputs a neuron behind a window sees, and which windows see a neuron."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from cuslayer.backend import Array, namespace
from cuslayer.kernels.geometry import Window


class Reach(NamedTuple):
    """For k neurons, q places (row, column, channel) each, some of them outside the frame.

    Attributes:
        places: (k, q, 3), within the frame.
        inside: (k, q), whether the place is meant, or only stands for one outside.
    """

    places: Array
    inside: Array

    def flat(self) -> Array:
        """Return all places, (k q, 3)."""
        return self.places.reshape(-1, 3)

    def summed(self, values: Array, weights: Array) -> Array:
        """Return, for each neuron, the sum of values (T, N, k q) of its places by weights (k, q): (T, N, k)."""
        xp = namespace(values)
        used = xp.asarray(weights) * xp.asarray(self.inside)
        shaped = values.reshape(*values.shape[:2], *self.inside.shape)
        return (shaped.astype(used.dtype, copy=False) * used).sum(axis=3)


def seen(neurons: Array, window: Window, image: tuple[int, int], channels: Array) -> Reach:
    """Return what the windows of neurons (k, 3) cover of an image (H, W): rows, columns, then channels (k, c)."""
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    rows = neurons[:, :1] * down - top + gap_h * np.arange(kernel_h)
    columns = neurons[:, 1:2] * across - left + gap_w * np.arange(kernel_w)
    return _grid(rows, columns, channels, image)


def seeing(neurons: Array, window: Window, maps: tuple[int, int]) -> Reach:
    """Return the windows of maps (H', W') that pixels (k, 3) lie in, in their own channel."""
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    rows = neurons[:, :1] + top - gap_h * np.arange(kernel_h)
    columns = neurons[:, 1:2] + left - gap_w * np.arange(kernel_w)
    # A row between windows belongs to none: put outside.
    rows = np.where(rows % down, -1, rows // down)
    columns = np.where(columns % across, -1, columns // across)
    return _grid(rows, columns, neurons[:, 2:], maps)


def _grid(rows: Array, columns: Array, channels: Array, image: tuple[int, int]) -> Reach:
    shape = len(rows), rows.shape[1], columns.shape[1], channels.shape[1]
    inside_rows = (rows >= 0) & (rows < image[0])
    inside_columns = (columns >= 0) & (columns < image[1])
    inside = np.broadcast_to((inside_rows[:, :, None] & inside_columns[:, None])[..., None], shape)
    axes = (
        np.broadcast_to(rows.clip(0, image[0] - 1)[:, :, None, None], shape),
        np.broadcast_to(columns.clip(0, image[1] - 1)[:, None, :, None], shape),
        np.broadcast_to(channels[:, None, None], shape),
    )
    taps = shape[1] * shape[2] * shape[3]
    places = np.stack(axes, axis=-1).reshape(len(rows), taps, 3)
    return Reach(places, inside.reshape(len(rows), taps))
