"""Convolution of a list of spikes on the CPU: every spike adds its taps to the places that it reaches."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.spikes.cpu import SpikeList
from cuslayer.kernels.window import Window

# Frames that a thread takes at once.
_GRAIN = 16

# A weight gradient is a sum over this many parts, whatever the cores: its bits must not depend on who computes them.
PARTS = 16


def bounds(size: int) -> Array:
    """Return where the parts of [0, size) begin, and the end."""
    return np.linspace(0, size, PARTS + 1).astype(np.int64)


def runs(window: Window, groups: int) -> bool:
    """Return whether the taps that a spike meets in a row of a map lie side by side, as do the places they go to."""
    return groups == 1 and window.stride == (1, 1) and window.dilation == (1, 1)


def places(x: SpikeList) -> Array:
    """Return the column and channel of each place of a line (W, C): to look them up costs less than to divide."""
    return np.stack(np.divmod(np.arange(x.shape[2] * x.shape[3]), x.shape[3]), axis=1)


def taps_in_runs(w: Array) -> Array:
    """Return w (kh, kw, C, outputs) as (kh, C, kw x outputs), the taps of a row in reverse.

    A spike at column c reaches the columns c + left - j of the map: its taps then run along with them.
    """
    return np.ascontiguousarray(w[:, ::-1].transpose(0, 2, 1, 3)).reshape(len(w), w.shape[2], -1)


def of_runs(taps: Array, window: Window, outputs: int) -> Array:
    """Return taps (kh, C, kw x outputs) as weights (kh, kw, C, outputs), the inverse of `taps_in_runs`."""
    w = taps.reshape(len(taps), taps.shape[1], window.kernel[1], outputs)
    return np.ascontiguousarray(w[:, :, ::-1].transpose(0, 2, 1, 3))


@compiled
def walk_row(
    line: Any,
    y: int,
    frame: int,
    start: Any,
    index: Any,
    place: Any,
    height: int,
    window: Any,
    taps: Any,
    forward: bool,
) -> None:
    """Bring together row y of a map, line (columns x outputs), and the taps of every spike that reaches it.

    Forward, the taps are added to the line; backward, the errors of the line to the taps.
    """
    (kernel_h, kernel_w), _, (top, left), _ = window
    outputs = taps.shape[2] // kernel_w
    columns = line.size // outputs
    for i in range(max(0, top - y), min(kernel_h, height + top - y)):
        row = frame * height + y - top + i
        for e in range(start[row], start[row + 1]):
            column, channel = place[index[e], 0], place[index[e], 1]
            reach = column + left - kernel_w + 1
            low = max(reach, 0)
            high = min(column + left + 1, columns)
            met = line[low * outputs : high * outputs]
            tap = taps[i, channel, (low - reach) * outputs : (high - reach) * outputs]
            if forward:
                for c in range(met.size):
                    met[c] += tap[c]
            else:
                for c in range(met.size):
                    tap[c] += met[c]


@compiled
def _walk_runs(
    first: int, last: int, start: Any, index: Any, place: Any, height: int, window: Any, taps: Any, maps: Any
) -> None:
    for frame in range(first, last):
        for y in range(maps.shape[1]):
            line = maps[frame, y]
            line[:] = 0
            walk_row(line, y, frame, start, index, place, height, window, taps, True)


@compiled
def _walk(
    first: int,
    last: int,
    parts_at: Any,
    start: Any,
    index: Any,
    place: Any,
    height: int,
    window: Any,
    groups: int,
    weights: Any,
    maps: Any,
    forward: bool,
) -> None:
    """Do as `_walk_runs` does for any window: tap by tap, weights as (parts, kh, kw, C / groups, outputs)."""
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    inputs = weights.shape[3]
    outputs = maps.shape[3] // groups
    for part in range(first, last):
        w = weights[0] if forward else weights[part]
        for frame in range(parts_at[part], parts_at[part + 1]):
            if forward:
                maps[frame] = 0
            for row in range(height):
                for e in range(start[frame * height + row], start[frame * height + row + 1]):
                    column, channel = place[index[e], 0], place[index[e], 1]
                    group, channel = divmod(channel, inputs)
                    low = group * outputs
                    for i in range(kernel_h):
                        y = row + top - i * gap_h
                        if y < 0 or y % down or y // down >= maps.shape[1]:
                            continue
                        for j in range(kernel_w):
                            x = column + left - j * gap_w
                            if x < 0 or x % across or x // across >= maps.shape[2]:
                                continue
                            met = maps[frame, y // down, x // across, low : low + outputs]
                            tap = w[i, j, channel, low : low + outputs]
                            if forward:
                                for c in range(outputs):
                                    met[c] += tap[c]
                            else:
                                for c in range(outputs):
                                    tap[c] += met[c]


def conv(x: SpikeList, w: Array, window: Window, groups: int, maps: Array) -> None:
    """Write the convolution of x (frames, H, W, C) with w (kh, kw, C / groups, outputs) into maps."""
    spikes = (x.start, x.index, places(x), x.shape[1], window)
    if runs(window, groups):
        lines = maps.reshape(*maps.shape[:2], maps.shape[2] * maps.shape[3])
        parallel_for(_walk_runs, len(maps), *spikes, taps_in_runs(w), lines, grain=_GRAIN)
    else:
        parallel_for(_walk, PARTS, bounds(len(maps)), *spikes, groups, w[None], maps, True, grain=1)


def conv_weight_adjoint(x: SpikeList, g: Array, window: Window, groups: int) -> Array:
    """Return the gradient (kh, kw, C / groups, outputs) of the weight, g (frames, rows, columns, outputs)."""
    where = (bounds(len(g)), x.start, x.index, places(x), x.shape[1], window)
    (kernel_h, kernel_w), inputs, outputs = window.kernel, x.shape[3] // groups, g.shape[3]
    parts = np.zeros((PARTS, kernel_h, kernel_w, inputs, outputs), g.dtype)
    parallel_for(_walk, PARTS, *where, groups, parts, g, False, grain=1)
    return parts.sum(axis=0)
