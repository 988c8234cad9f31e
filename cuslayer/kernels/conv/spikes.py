"""Convolution of a list of spikes on the CPU: each spike adds its taps to the outputs that it reaches.

The passes over time of `kernels/fused` compute the maps in blocks of rows: `Maps`, `weigh` and `weigh_adjoint`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Window
from cuslayer.kernels.spikes.cpu import SpikeList

# Frames of a part that one thread computes.
_GRAIN = 16
# Parts of the sum of a weight gradient: fixed, so that its bits do not depend on the number of cores.
PARTS = 16
# Neurons of a block, which fit in the second-level cache, and steps that are computed at a time.
_TOGETHER = 1024
CHUNK = 32


class Where(NamedTuple):
    """The spikes of all frames, and the window of the convolution.

    Attributes:
        start: the first spike of each line of the frames, and the number of spikes.
        position: the position of each spike within its line.
        place: column and channel of each position, as a look-up costs less than a division.
        height: lines of a frame.
        window: the window.
    """

    start: Array
    position: Array
    place: Array
    height: int
    window: Window


def where(x: SpikeList, window: Window) -> Where:
    """Return what a kernel reads of the spikes x (frames, H, W, C)."""
    place = np.stack(np.divmod(np.arange(x.shape[2] * x.shape[3]), x.shape[3]), axis=1)
    return Where(x.start, x.index, place, x.shape[1], window)


def bounds(size: int) -> Array:
    """Return the first elements of the parts of [0, size), and the end."""
    return np.linspace(0, size, PARTS + 1).astype(np.int64)


def runs(window: Window, groups: int) -> bool:
    """Return whether the taps of a spike in a row of a map are contiguous, as are the outputs that they add to."""
    return groups == 1 and window.stride == (1, 1) and window.dilation == (1, 1)


def taps_in_runs(w: Array) -> Array:
    """Return w (kh, kw, C, outputs) as (kh, C, kw x outputs), the taps of a row in reverse.

    A spike at column c reaches the columns c + left - j of the map: reversed, its taps are in their order.
    """
    return np.ascontiguousarray(w[:, ::-1].transpose(0, 2, 1, 3)).reshape(len(w), w.shape[2], -1)


def of_runs(taps: Array, window: Window, outputs: int) -> Array:
    """Return taps (kh, C, kw x outputs) as weights (kh, kw, C, outputs), the inverse of `taps_in_runs`."""
    w = taps.reshape(len(taps), taps.shape[1], window.kernel[1], outputs)
    return np.ascontiguousarray(w[:, :, ::-1].transpose(0, 2, 1, 3))


@compiled
def _add_row(line: Any, y: int, frame: int, spikes: Where, taps: Any, forward: bool) -> None:
    """Add the taps of all spikes that reach row y of a map to it (columns x outputs), or, backward, the row to them."""
    (kernel_h, kernel_w), _, (top, left), _ = spikes.window
    outputs = taps.shape[2] // kernel_w
    columns = line.size // outputs
    for i in range(max(0, top - y), min(kernel_h, spikes.height + top - y)):
        row = frame * spikes.height + y - top + i
        for e in range(spikes.start[row], spikes.start[row + 1]):
            column, channel = spikes.place[spikes.position[e], 0], spikes.place[spikes.position[e], 1]
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
def _conv_in_runs(first: int, last: int, spikes: Where, taps: Any, maps: Any) -> None:
    for frame in range(first, last):
        for y in range(maps.shape[1]):
            line = maps[frame, y]
            line[:] = 0
            _add_row(line, y, frame, spikes, taps, True)


@compiled
def _add_windows(
    first: int, last: int, parts_at: Any, spikes: Where, groups: int, weights: Any, maps: Any, forward: bool
) -> None:
    """Add the taps of each spike to the maps, or, backward, the maps to them, tap by tap, for any window.

    The weights are (parts, kh, kw, C / groups, outputs).
    """
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = spikes.window
    inputs = weights.shape[3]
    outputs = maps.shape[3] // groups
    for part in range(first, last):
        w = weights[0] if forward else weights[part]
        for frame in range(parts_at[part], parts_at[part + 1]):
            if forward:
                maps[frame] = 0
            for row in range(spikes.height):
                line = frame * spikes.height + row
                for e in range(spikes.start[line], spikes.start[line + 1]):
                    column, channel = spikes.place[spikes.position[e], 0], spikes.place[spikes.position[e], 1]
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
    spikes = where(x, window)
    if runs(window, groups):
        lines = maps.reshape(*maps.shape[:2], maps.shape[2] * maps.shape[3])
        parallel_for(_conv_in_runs, len(maps), spikes, taps_in_runs(w), lines, grain=_GRAIN)
    else:
        parallel_for(_add_windows, PARTS, bounds(len(maps)), spikes, groups, w[None], maps, True, grain=1)


def conv_weight_adjoint(x: SpikeList, g: Array, window: Window, groups: int) -> Array:
    """Return the gradient (kh, kw, C / groups, outputs) of the weight, g (frames, rows, columns, outputs)."""
    parts = np.zeros((PARTS, *window.kernel, x.shape[3] // groups, g.shape[3]), g.dtype)
    parallel_for(_add_windows, PARTS, bounds(len(g)), where(x, window), groups, parts, g, False, grain=1)
    return parts.sum(axis=0)


class Maps(NamedTuple):
    """The maps of all steps in blocks of `together` rows of one sample's map, `width` numbers in each row."""

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
        """The shape in which potentials are saved, block by block."""
        return self.blocks, self.steps, self.together * self.width

    @property
    def neurons(self) -> int:
        """Numbers in a step."""
        return self.samples * self.rows * self.width


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
def rows_of(block: int, m: Maps) -> tuple[int, int, int]:
    """Return the sample of a block, its first row, and the end of its rows."""
    blocks = -(-m.rows // m.together)
    low = block % blocks * m.together
    return block // blocks, low, min(low + m.together, m.rows)


@compiled
def weigh(first: int, last: int, x: Any, sample: int, low: int, high: int, m: Maps, spikes: Where, taps: Any) -> None:
    """Write the weighted input of the rows [low, high) of a sample's maps into x, a ring buffer over time."""
    width = m.columns * m.outputs
    for t in range(first, last):
        for y in range(low, high):
            line = x[t % len(x), (y - low) * width : (y - low + 1) * width]
            line[:] = 0
            _add_row(line, y, t * m.samples + sample, spikes, taps, True)


@compiled
def weigh_adjoint(
    first: int, last: int, errors: Any, at: int, sample: int, low: int, high: int, m: Maps, spikes: Where, taps: Any
) -> None:
    """Add the gradients of that input, columns of errors from `at` on, to those of the taps."""
    width = m.columns * m.outputs
    for t in range(first, last):
        for y in range(low, high):
            line = errors[t % len(errors), at + (y - low) * width : at + (y - low + 1) * width]
            _add_row(line, y, t * m.samples + sample, spikes, taps, False)


@compiled
def _weight_adjoint(first: int, last: int, parts_at: Any, m: Maps, spikes: Where, taps: Any, g: Any) -> None:
    for part in range(first, last):
        for block in range(parts_at[part], parts_at[part + 1]):
            sample, low, high = rows_of(block, m)
            at = (sample * m.rows + low) * m.columns * m.outputs
            for end in range(m.steps, 0, -CHUNK):
                weigh_adjoint(max(end - CHUNK, 0), end, g, at, sample, low, high, m, spikes, taps[part])


def weight_adjoint(x: SpikeList, g: Array, window: Window, steps: int) -> Array:
    """Return the gradient (kh, kw, C, outputs) of the weight, summed in the order of a fused pass.

    Args:
        x: (frames, H, W, C), the frames of all samples at a step one after the other.
        g: (frames, rows, columns, outputs).
        window: stride and dilation 1.
        steps: the number of steps of the frames.
    """
    m = maps(x, steps, g.shape[3], window)
    parts = np.zeros((PARTS, window.kernel[0], x.shape[3], window.kernel[1] * m.outputs), g.dtype)
    errors = g.reshape(steps, m.neurons)
    parallel_for(_weight_adjoint, PARTS, bounds(m.blocks), m, where(x, window), parts, errors, grain=1)
    return of_runs(parts.sum(axis=0), window, m.outputs)
