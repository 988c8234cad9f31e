"""Transposed convolution on the CPU: each spike adds its window of weights; numbers are matrix products."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from cuslayer._base.jit import compiled
from cuslayer._base.parallel import parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.spikes.cpu import SpikeList
from cuslayer.kernels.synapse.conv.cpu import input_adjoint as conv_input_adjoint
from cuslayer.kernels.synapse.conv.cpu import weight_adjoint as conv_weight_adjoint
from cuslayer.kernels.synapse.conv.weight_sums import PARTS, bounds


class _Spikes(NamedTuple):
    """The spikes of all frames, and the window."""

    start: Array  # the first spike of each line of the frames, and the number of spikes
    position: Array  # the position of each spike within its line
    place: Array  # column and channel of each position, since a look-up costs less than a division
    height: int  # lines of a frame
    window: Window


def _spikes(x: SpikeList, window: Window) -> _Spikes:
    place = np.stack(np.divmod(np.arange(x.shape[2] * x.shape[3]), x.shape[3]), axis=1)
    return _Spikes(x.start, x.index, place, x.shape[1], window)


@compiled
def _add_windows(
    first: int,
    last: int,
    parts_at: Array,
    spikes: _Spikes,
    groups: int,
    taps: Array,
    lines: Array,
    width: int,
    forward: bool,
) -> None:
    """Add the window of taps of each spike to the lines of the image (forward), or the lines to the taps (backward)."""
    start, position, place, height, window = spikes
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    outputs = taps.shape[3] // kernel_w
    inputs = taps.shape[1] // groups
    channels = outputs * groups
    run = kernel_w if gap_w == 1 and groups == 1 else 1
    for part in range(first, last):
        part_taps = taps[0] if forward else taps[part]
        for frame in range(parts_at[part], parts_at[part + 1]):
            if forward:
                lines[frame] = 0
            for row in range(height):
                for e in range(start[frame * height + row], start[frame * height + row + 1]):
                    column = place[position[e], 0]
                    channel = place[position[e], 1]
                    group = channel // inputs * outputs
                    for i in range(kernel_h):
                        y = row * down + i * gap_h - top
                        if y < 0 or y >= lines.shape[1]:
                            continue
                        for j in range(0, kernel_w, run):
                            x = column * across + j * gap_w - left
                            low = max(0, -x)
                            high = min(run, width - x)
                            if low >= high:
                                continue
                            at = (x + low) * channels + group
                            line = lines[frame, y, at : at + (high - low) * outputs]
                            tap = part_taps[channel, i, (j + low) * outputs : (j + high) * outputs]
                            if forward:
                                for c in range(line.size):
                                    line[c] += tap[c]
                            else:
                                for c in range(line.size):
                                    tap[c] += line[c]


def forward(x: SpikeList | Array, w: Array, image: tuple[int, int], window: Window, groups: int) -> Array:
    """Return the transposed convolution (frames, H, W, groups x w.shape[2]) of x (frames, rows, columns, C).

    It is the adjoint of conv with the same w (kh, kw, outputs / groups, C); spikes count as 1.
    """
    if not isinstance(x, SpikeList):
        return conv_input_adjoint(x.astype(w.dtype, copy=False), w, image, window, groups)
    out = empty((x.shape[0], *image, w.shape[2] * groups), w.dtype)
    lines = out.reshape(len(out), image[0], math.prod(out.shape[2:]))
    taps = np.ascontiguousarray(w.transpose(3, 0, 1, 2)).reshape(1, w.shape[3], w.shape[0], w.shape[1] * w.shape[2])
    spikes = _spikes(x, window)
    parallel_for(_add_windows, PARTS, bounds(len(out)), spikes, groups, taps, lines, image[1], True, grain=1)
    return out


def weight_adjoint(x: SpikeList | Array, g: Array, window: Window, groups: int) -> Array:
    """Return the gradient (kh, kw, outputs / groups, C) of the weight, x like the input, g like the output."""
    if not isinstance(x, SpikeList):
        return conv_weight_adjoint(g, x.astype(g.dtype, copy=False), window, groups)
    kernel_h, kernel_w = window.kernel
    outputs = g.shape[3] // groups
    lines = np.ascontiguousarray(g).reshape(len(g), g.shape[1], math.prod(g.shape[2:]))
    parts = np.zeros((PARTS, x.shape[3], kernel_h, kernel_w * outputs), g.dtype)
    spikes = _spikes(x, window)
    parallel_for(_add_windows, PARTS, bounds(len(g)), spikes, groups, parts, lines, g.shape[2], False, grain=1)
    taps = parts.sum(axis=0).reshape(x.shape[3], kernel_h, kernel_w, outputs)
    return np.ascontiguousarray(taps.transpose(1, 2, 3, 0))
