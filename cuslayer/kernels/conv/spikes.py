"""Convolution of a list of spikes on the CPU: every spike adds its taps to the places that it reaches."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Window
from cuslayer.kernels.spikes.cpu import SpikeList

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


# Neurons of a block, which the second cache holds, and steps that are computed at once.
_TOGETHER = 1024
CHUNK = 32


class Where(NamedTuple):
    """The spikes of all frames, and the window that they are convolved with.

    Attributes:
        start: where the spikes of each line of the frames begin.
        entry: the place of each spike within its line.
        place: column and channel of each place.
        height: lines of a frame.
        window: the window.
    """

    start: Array
    entry: Array
    place: Array
    height: int
    window: Window


class Maps(NamedTuple):
    """The maps of all steps as blocks: ``together`` rows of one sample's map, ``width`` numbers in each."""

    steps: int
    samples: int
    rows: int
    columns: int
    outputs: int
    together: int

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return self.columns * self.outputs

    @property
    def blocks(self) -> int:
        """Blocks of all samples."""
        return self.samples * -(-self.rows // self.together)

    @property
    def kept(self) -> tuple[int, int, int]:
        """The shape in which potentials are kept, block by block."""
        return self.blocks, self.steps, self.together * self.width

    @property
    def neurons(self) -> int:
        """Numbers in a step."""
        return self.samples * self.rows * self.width


def where(x: SpikeList, window: Window) -> Where:
    """Return what a kernel reads of the spikes x (frames, H, W, C)."""
    return Where(x.start, x.index, places(x), x.shape[1], window)


def maps(x: SpikeList, steps: int, outputs: int, window: Window) -> Maps:
    """Return the blocks of a convolution of x, an even number of rows each."""
    height, columns = window.outputs("conv", x.shape[1:3], ceil=False)
    samples = x.shape[0] // max(steps, 1)
    return Maps(steps, samples, height, columns, outputs, _rows(2, columns * outputs))


def pooled_maps(m: Maps, rows: int) -> Maps:
    """Return the same maps in blocks that hold whole pooling windows of some rows."""
    return m if m.together % rows == 0 else m._replace(together=_rows(rows, m.width))


def _rows(multiple: int, width: int) -> int:
    return max(1, _TOGETHER // max(1, width * multiple)) * multiple


@compiled
def weigh(first: int, last: int, x: Any, sample: int, low: int, high: int, m: Maps, spikes: Where, taps: Any) -> None:
    """Write the weighted input of the rows [low, high) of a sample's maps into x, a ring over time."""
    width = m.columns * m.outputs
    for t in range(first, last):
        for y in range(low, high):
            line = x[t % len(x), (y - low) * width : (y - low + 1) * width]
            line[:] = 0
            frame = t * m.samples + sample
            walk_row(line, y, frame, spikes.start, spikes.entry, spikes.place, spikes.height, spikes.window, taps, True)


@compiled
def weigh_adjoint(
    first: int, last: int, errors: Any, at: int, sample: int, low: int, high: int, m: Maps, spikes: Where, taps: Any
) -> None:
    """Add the gradients of that input, columns of errors from `at` on, to those of the taps."""
    width = m.columns * m.outputs
    for t in range(first, last):
        for y in range(low, high):
            line = errors[t % len(errors), at + (y - low) * width : at + (y - low + 1) * width]
            frame = t * m.samples + sample
            walk_row(
                line, y, frame, spikes.start, spikes.entry, spikes.place, spikes.height, spikes.window, taps, False
            )


@compiled
def _weight_adjoint(first: int, last: int, parts_at: Any, m: Maps, spikes: Where, taps: Any, g: Any) -> None:
    width = m.columns * m.outputs
    blocks = -(-m.rows // m.together)
    for part in range(first, last):
        for block in range(parts_at[part], parts_at[part + 1]):
            sample, low = block // blocks, block % blocks * m.together
            high = min(low + m.together, m.rows)
            for end in range(m.steps, 0, -CHUNK):
                start = max(end - CHUNK, 0)
                weigh_adjoint(start, end, g, (sample * m.rows + low) * width, sample, low, high, m, spikes, taps[part])


def weight_adjoint(x: SpikeList, g: Array, window: Window, steps: int) -> Array:
    """Return the gradient (kh, kw, C, outputs) of the weight, summed as a fused pass sums it.

    Args:
        x: (frames, H, W, C), the frames of all samples at a step lying together.
        g: (frames, rows, columns, outputs).
        window: stride and dilation 1.
        steps: how many steps the frames make.
    """
    m = maps(x, steps, g.shape[3], window)
    parts = np.zeros((PARTS, window.kernel[0], x.shape[3], window.kernel[1] * m.outputs), g.dtype)
    errors = g.reshape(steps, m.neurons)
    parallel_for(_weight_adjoint, PARTS, bounds(m.blocks), m, where(x, window), parts, errors, grain=1)
    return of_runs(parts.sum(axis=0), window, m.outputs)
