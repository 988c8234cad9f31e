"""Convolution of a list of spikes on the CPU: each spike adds its taps to the outputs that it reaches.

In a row of a map that is computed in groups, the outputs of a group lie together, and so do its taps: then a run has
several taps, as in one group. `_regroup` gives the map its usual order, the groups side by side in each column.

The passes over time of `kernels/fused` compute the maps in blocks of rows: `Maps` and `weigh`; the gradient
of the weights is in `weight_sums.py`. The
spikes of one pixel and group reach the same outputs, in one run of neighbours or several: a sum of a run stays in
registers while the taps of these spikes are added, in ascending order.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Window
from cuslayer.kernels.conv.busy import multiply_rows
from cuslayer.kernels.host.memory import aligned
from cuslayer.kernels.host.vectors import KEPT_BYTES, add_rows
from cuslayer.kernels.spikes.cpu import SpikeList

# Frames of a part that one thread computes.
_GRAIN = 16
# Neurons of a block, which fit in the second-level cache, and steps that are computed at a time.
_TOGETHER = 1024
CHUNK = 32
# Steps for which a row of the taps is used before the next row: both fit in the first-level cache.
_STEPS = 4


class Reach(NamedTuple):
    """The outputs that spikes reach in a row of a map. Those of a pixel and a group are a unit: they reach the same.

    Attributes:
        unit: the unit of each position in a line, (W C,).
        first: the first run of each unit, and the number of runs.
        runs: (n, 3), for each run its first output in the row, its first number in a row of taps, and its length.
    """

    unit: Array
    first: Array
    runs: Array


class Where(NamedTuple):
    """The spikes of all frames, and the window of the convolution.

    Attributes:
        start: the first spike of each line of the frames, and the number of spikes.
        position: the position of each spike within its line.
        height: lines of a frame.
        inputs: channels of a group.
        window: the window.
        reach: the outputs that the spikes reach.
    """

    start: Array
    position: Array
    height: int
    inputs: int
    window: Window
    reach: Reach


def where(x: SpikeList, window: Window, outputs: int, groups: int = 1) -> Where:
    """Return what a kernel reads of the spikes x (frames, H, W, C), for a map of some outputs."""
    width, channels = x.shape[2:]
    found = _reach(window, width, channels, window.outputs("conv", x.shape[1:3], ceil=False)[1], outputs, groups)
    return Where(x.start, x.index, x.shape[1], channels // groups, window, found)


def order_of_taps(window: Window) -> list[int]:
    """Return the columns of a window in the order in which a row of taps has them.

    A spike at column c reaches output x by the tap ``c + left - stride x``: its taps are every stride-th, in reverse.
    """
    kernel, stride = window.kernel[1], window.stride[1]
    phases = stride if window.dilation[1] == 1 else 1
    return [j for phase in range(phases) for j in reversed(range(phase, kernel, phases))]


@lru_cache(maxsize=64)
def _reach(window: Window, width: int, channels: int, columns: int, outputs: int, groups: int) -> Reach:
    order, (stride, gap, left) = order_of_taps(window), (window.stride[1], window.dilation[1], window.padding[1])
    share = outputs // groups
    first, runs = [0], list[tuple[int, int, int]]()
    for column in range(width):
        # Pairs of an output's column and a tap; neighbours in both make a run.
        pairs = [((column + left - j * gap) / stride, n) for n, j in enumerate(order)]
        met = [(int(x), n) for x, n in pairs if x == int(x) and 0 <= x < columns]
        spans = list[tuple[int, int, int]]()
        for x, n in met:
            before = spans[-1] if spans else (-1, -1, 0)
            if (x, n) == (before[0] + before[2], before[1] + before[2]):
                spans[-1] = (*before[:2], before[2] + 1)
            else:
                spans.append((x, n, 1))
        for group in range(groups):
            row, taps = group * columns * share, group * len(order) * share
            runs += [(row + x * share, taps + n * share, k * share) for x, n, k in spans]
            first.append(len(runs))
    unit = np.arange(width * channels) // max(1, channels // groups)
    return Reach(unit, np.array(first), np.array(runs, np.int64).reshape(-1, 3))


def taps_in_runs(w: Array, window: Window, groups: int = 1) -> Array:
    """Return w (kh, kw, C / groups, outputs) as (kh, C / groups, kw x outputs), a run's taps being neighbours."""
    parts = w[:, order_of_taps(window)].reshape(*w.shape[:3], groups, w.shape[3] // groups).transpose(0, 2, 3, 1, 4)
    taps = aligned(parts.shape, w.dtype)
    taps[...] = parts
    return taps.reshape(len(w), w.shape[2], w.shape[1] * w.shape[3])


@compiled
def _regroup(maps: Any, by_group: Any, columns: int, groups: int) -> None:
    """Copy rows of maps (rows, columns x groups x share) from (rows, groups x columns x share)."""
    share = maps.shape[1] // max(1, columns * groups)
    for row in range(len(maps)):
        one, other = maps[row], by_group[row]
        for group in range(groups):
            for column in range(columns):
                at, place = (column * groups + group) * share, (group * columns + column) * share
                for j in range(share):
                    one[at + j] = other[place + j]


@compiled
def _walk(
    first: int,
    last: int,
    lines: Any,
    at: int,
    frames: Any,
    low: int,
    high: int,
    width: int,
    spikes: Where,
    taps: Any,
) -> None:
    """Write the sum of the taps of all spikes to the rows [low, high) of maps.

    Step t is row t modulo the number of rows of lines; its rows of the map begin at `at` and have `width` numbers each.

    Args:
        first: the first step.
        last: the step after the last.
        lines: (rows, numbers), a ring buffer over time.
        at: the place of row `low` of the map in a row of lines.
        frames: the frames of a step, and which of them is taken.
        low: the first row of the map.
        high: the row after the last.
        width: numbers in a row of the map.
        spikes: the spikes.
        taps: (kh, C / groups, kw x outputs).
    """
    (kernel, _), (down, _), (top, _), (gap, _) = spikes.window
    start, position, height, inputs, _, (unit, begins, runs) = spikes
    flat, row_of_taps, stride = lines.reshape(lines.size), taps.reshape(taps.size), taps.shape[2]
    most = KEPT_BYTES // taps.itemsize
    for begin in range(first, last, _STEPS):
        until = min(begin + _STEPS, last)
        for t in range(begin, until):
            line = t % len(lines) * lines.shape[1] + at
            flat[line : line + (high - low) * width] = 0
        # Each sum receives the rows of taps in ascending order, whichever loop is the outer one.
        for i in range(kernel):
            for t in range(begin, until):
                for y in range(low, high):
                    row = y * down + i * gap - top
                    if row < 0 or row >= height:
                        continue
                    row += (t * frames[0] + frames[1]) * height
                    line = t % len(lines) * lines.shape[1] + at + (y - low) * width
                    e, end = start[row], start[row + 1]
                    while e < end:
                        found = unit[position[e]]
                        limit = (found + 1) * inputs
                        # A channel of the unit has `stride` taps; this is where those of position 0 would begin.
                        origin = (i - found) * inputs * stride
                        after = e
                        for run in range(begins[found], begins[found + 1]):
                            for done in range(0, runs[run, 2], most):
                                size = min(most, runs[run, 2] - done)
                                to, source = line + runs[run, 0] + done, origin + runs[run, 1] + done
                                given = (stride, position, e, end, limit, size)
                                after = add_rows(flat, to, row_of_taps, source, *given)
                        # A unit that reaches nothing is left spike by spike.
                        e = max(after, e + 1)


@compiled
def _conv(first: int, last: int, spikes: Where, taps: Any, maps: Any, columns: int, groups: int) -> None:
    rows, width = maps.shape[1:]
    lines = maps.reshape(len(maps), rows * width)
    if groups == 1:
        if not multiply_rows(first, last, lines, 0, (1, 0), 0, rows, width, spikes, taps):
            _walk(first, last, lines, 0, (1, 0), 0, rows, width, spikes, taps)
        return
    found = np.empty((_STEPS, rows * width), maps.dtype)
    for begin in range(first, last, _STEPS):
        end = min(begin + _STEPS, last)
        _walk(begin, end, found, 0, (1, 0), 0, rows, width, spikes, taps)
        for t in range(begin, end):
            _regroup(maps[t], found[t % _STEPS].reshape(rows, width), columns, groups)


def conv(x: SpikeList, w: Array, window: Window, groups: int, maps: Array) -> None:
    """Write the convolution of x (frames, H, W, C) with w (kh, kw, C / groups, outputs) into maps."""
    spikes = where(x, window, w.shape[3], groups)
    lines = maps.reshape(*maps.shape[:2], maps.shape[2] * maps.shape[3])
    taps = taps_in_runs(w, window, groups)
    parallel_for(_conv, len(maps), spikes, taps, lines, maps.shape[2], groups, grain=_GRAIN)


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
    where_to = (x, 0, (m.samples, sample), low, high, m.columns * m.outputs)
    if not multiply_rows(first, last, *where_to, spikes, taps):
        _walk(first, last, *where_to, spikes, taps)
