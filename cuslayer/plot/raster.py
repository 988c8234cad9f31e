"""Raster plots: one marker per spike, neurons against time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, to_numpy
from cuslayer.plot.axes import (
    as_array,
    axes,
    flatten_neurons,
    inches,
    legend_beside,
    open_frame,
    spike_train,
    time_axis,
)
from cuslayer.plot.style import Palette, palette


def raster(
    spikes: Any,
    ax: Any = None,
    *,
    sample: int | None = 0,
    dt: float = 1.0,
    groups: Any = None,
    labels: Sequence[str] | None = None,
) -> Any:
    """Draw the spikes of one sample: time to the right, neurons upward in the order of the layer.

    Args:
        spikes: (T, N, ...), booleans or counts, a tensor or an array.
        ax: where to draw; by default the axes of a new figure, which is `ax.figure`.
        sample: the sample of the batch; None where spikes are (T, ...) without a batch.
        dt: the step, ms.
        groups: the groups of neurons with one colour each: None for one group, "channel" for the last axis (OFF and ON
            where there are two), or an integer from 0 for each neuron, of the shape of spikes after N.
        labels: the names of the groups.

    Returns:
        The axes.

    Raises:
        ValueError: spikes are not (T, N, ...), dt is not positive, or groups or labels do not fit the neurons.
        IndexError: there is no such sample.
        TypeError: spikes are not booleans or counts, groups are not integers, or ax is not Axes.

    >>> spikes = np.zeros((100, 1, 3), bool)
    >>> spikes[[10, 40], 0, 2] = True
    >>> ax = raster(spikes)
    >>> ax.get_lines()[0].get_xdata().tolist(), ax.get_lines()[0].get_ydata().tolist()
    ([10.0, 40.0], [2, 2])
    """
    op = "raster"
    dt = check.time_step(op, "dt", dt)
    train = spike_train(op, spikes, sample)
    group = _groups(op, groups, train.shape[1:])
    names = _names(op, group, labels, groups, train.shape)
    ax = axes(op, ax, (7.0, 3.0))
    shades = _shades(palette(ax), len(names), _polarities(groups, train.shape))
    time, neuron = np.nonzero(flatten_neurons(train))
    count = flatten_neurons(train).shape[1]
    for number, (name, shade) in enumerate(zip(names, shades, strict=True)):
        mine = group[neuron] == number
        ax.plot(
            time[mine] * dt,
            neuron[mine],
            linestyle="none",
            color=shade,
            label=name,
            rasterized=len(time) > 20_000,
            **_mark(ax, count, len(time)),
        )
    time_axis(ax, len(train), dt)
    ax.set(ylabel="neuron", ylim=(-0.5, max(count, 1) - 0.5))
    ax.yaxis.get_major_locator().set_params(integer=True)
    open_frame(ax)
    if len(names) > 1:
        legend_beside(ax)
        for handle in ax.get_legend().legend_handles:
            handle.set_markersize(7)
    return ax


def _mark(ax: Any, count: int, spikes: int) -> dict[str, Any]:
    """Return the marker: a stroke of the height of a row, or a dot where rows are low."""
    height = 72 * inches(ax)[1] / max(count, 1)
    if height >= 3:
        return {"marker": "|", "markersize": min(0.8 * height, 14), "markeredgewidth": 1.2}
    return {"marker": ".", "markersize": 3.5 if spikes < 3000 else 2.0, "markeredgewidth": 0}


def _groups(op: str, groups: Any, shape: tuple[int, ...]) -> Array:
    """Return the group of each neuron, flat."""
    count = int(np.prod(shape, dtype=np.int64))
    if groups is None:
        return np.zeros(count, np.int64)
    if isinstance(groups, str):
        check.one_of(op, "groups", groups, ("channel",))
        if not shape:
            raise ValueError(f"{op}: spikes must have a channel axis for groups='channel'")
        return np.broadcast_to(np.arange(shape[-1]), shape).ravel()
    given = to_numpy(as_array(groups))
    if given.shape != shape:
        raise ValueError(f"{op}: groups have shape {given.shape}, the neurons have shape {shape}")
    if given.dtype.kind not in "iu":
        raise TypeError(f"{op}: groups must be integers, got {given.dtype}")
    if given.size and given.min() < 0:
        raise ValueError(f"{op}: groups must be integers from 0, got {given.min()}")
    return given.ravel()


def _polarities(groups: Any, shape: tuple[int, ...]) -> bool:
    """Return whether the groups are OFF and ON events."""
    return isinstance(groups, str) and len(shape) == 4 and shape[-1] == 2


def _shades(colors: Palette, count: int, polarities: bool) -> list[Any]:
    """Return the colour of each group."""
    if count == 1:
        return [colors.ink]
    return list(colors.polarities) if polarities else colors.series(count)


def _names(op: str, group: Array, labels: Sequence[str] | None, groups: Any, shape: tuple[int, ...]) -> list[str]:
    """Return the name of each group."""
    count = int(group.max()) + 1 if group.size else 1
    if labels is not None and len(labels) != count:
        raise ValueError(f"{op}: labels must be as many as the groups, got {len(labels)} and {count}")
    if labels is not None:
        return list(labels)
    if count == 1:
        return ["spikes"]
    return ["OFF", "ON"] if _polarities(groups, shape) else [str(n) for n in range(count)]
