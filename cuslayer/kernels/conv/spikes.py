"""Convolution of a list of spikes on the CPU: each spike adds its taps to the outputs that it reaches.

In a row of a map a spike reaches one run of neighbours; or as many pieces as there are columns in the window, where
that has gaps, or where a group has a part of the outputs of each column. The pieces of a group are whole vectors, with
taps of 0 for outputs of other groups: they add nothing, and a part of a vector would take longer.

Where few spikes are in a pixel, each is added by itself: how many it has cannot be foreseen, and to wait for that takes
longer than to load and store the sums of each. Where there are many, the sums stay in registers while the taps of the
spikes of a pixel and group are added, which reach the same outputs. Both ways add in ascending order.

The passes over time of `kernels/fused` compute the maps in blocks of rows: `Maps` and `weigh`; the gradient of the
weights is in `weight_sums.py`.
"""

from __future__ import annotations

import math
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, inlined, native_address, parallel_for
from cuslayer.kernels.constants import Window
from cuslayer.kernels.conv.busy import activity, multiply_rows
from cuslayer.kernels.conv.groups import Pieces
from cuslayer.kernels.host.llvm import run
from cuslayer.kernels.host.memory import aligned
from cuslayer.kernels.host.vectors import KEPT_BYTES, REGISTER_BYTES, add_places, add_rows, shape_of
from cuslayer.kernels.spikes.cpu import SpikeList

# Frames of a part that one thread computes.
_GRAIN = 16
# Neurons of a block, which fit in the second-level cache, and steps that are computed at a time.
_TOGETHER = 1024
CHUNK = 32
# Steps for which a row of the taps is used before the next row: both fit in the first-level cache.
_STEPS = 4
# Spikes of a pixel and group, on average, from which on their sums stay in registers.
_MANY = 1.6


class Reach(NamedTuple):
    """The outputs that spikes reach in a row of a map.

    Attributes:
        places: (W C, parts, 4), for each position in a line the distance of its first output from the row's, that of
            its first tap in the taps of a row of the window, and the shape and numbers of its pieces; see `add_places`.
            What does not fit in the registers is another part.
        apart: outputs between two pieces.
        taps_apart: numbers between two pieces in the taps.
        outputs: outputs of a pixel.
        begins: (groups), the first output of a pixel that the pieces of each group hold.
    """

    places: Array
    apart: int
    taps_apart: int
    outputs: int
    begins: Array


class Where(NamedTuple):
    """The spikes of all frames, and the window of the convolution.

    Attributes:
        start: the first spike of each line of the frames, and the number of spikes.
        position: the position of each spike within its line.
        height: lines of a frame.
        channels: channels of a frame.
        inputs: channels of a group.
        window: the window.
        reach: the outputs that the spikes reach.
        weighing: the address of `_weigh`.
    """

    start: Array
    position: Array
    height: int
    channels: int
    inputs: int
    window: Window
    reach: Reach
    weighing: int


def where(x: SpikeList, window: Window, outputs: int, dtype: Any, groups: int = 1) -> Where:
    """Return what a kernel reads of the spikes x (frames, H, W, C), for a map of some outputs of a type."""
    width, channels = x.shape[2:]
    columns = window.outputs(x.shape[1:3], ceil=False)[1]
    found = _reach(window, width, channels, columns, Pieces.of(outputs, groups, dtype), np.dtype(dtype).itemsize)
    weighing = _weighing(np.dtype(dtype))
    return Where(x.start, x.index, x.shape[1], channels, channels // groups, window, found, weighing)


def order_of_taps(window: Window) -> list[int]:
    """Return the columns of a window in the order in which a row of taps has them.

    A spike at column c reaches output x by the tap ``c + left - stride x``: its taps are every stride-th, in reverse.
    """
    kernel, stride = window.kernel[1], window.stride[1]
    phases = stride if window.dilation[1] == 1 else 1
    return [j for phase in range(phases) for j in reversed(range(phase, kernel, phases))]


def runs_of(window: Window, column: int) -> list[tuple[int, int]]:
    """Return the columns of a map that a spike of a column reaches, ascending, and the place of the tap of each."""
    order, (stride, gap, left) = order_of_taps(window), (window.stride[1], window.dilation[1], window.padding[1])
    return [
        ((column + left - j * gap) // stride, n) for n, j in enumerate(order) if (column + left - j * gap) % stride == 0
    ]


def distances(window: Window) -> tuple[int, int]:
    """Return the distance of two columns of a map that a spike reaches, and that of the places of their taps."""
    stride, gap = window.stride[1], window.dilation[1]
    return gap // math.gcd(stride, gap), 1 if gap == 1 else stride // math.gcd(stride, gap)


def in_registers(pieces: int, width: int, itemsize: int) -> list[tuple[int, int, int, int]]:
    """Return the parts of a row that fit in the registers, one at least.

    Each has its first piece, the first number of that, its pieces, and their numbers.
    """
    most = KEPT_BYTES // itemsize
    at_once = KEPT_BYTES // (max(1, -(-min(width, most) * itemsize // REGISTER_BYTES)) * REGISTER_BYTES)
    found = [
        (piece, done, min(at_once, pieces - piece), min(most, width - done))
        for piece in range(0, pieces, at_once)
        for done in range(0, width, most)
    ]
    return found or [(0, 0, 0, 0)]


@lru_cache(maxsize=64)
def _reach(window: Window, width: int, channels: int, columns: int, pieces: Pieces, itemsize: int) -> Reach:
    apart, taps_apart = distances(window)
    inputs, of_channel = max(1, channels // len(pieces.first)), window.kernel[1] * pieces.width
    of_positions = list[list[tuple[int, int, int, int]]]()
    for column in range(width):
        met = [(x, n) for x, n in runs_of(window, column) if 0 <= x < columns]
        x, n = met[0] if met else (0, 0)
        parts = in_registers(*pieces.join(len(met), apart, taps_apart), itemsize)
        for channel in range(channels):
            output, tap = x * pieces.outputs + pieces.first[channel // inputs], channel * of_channel + n * pieces.width
            of_positions.append(
                [
                    (
                        output + piece * apart * pieces.outputs + done,
                        tap + piece * taps_apart * pieces.width + done,
                        shape_of(count, size, itemsize),
                        size,
                    )
                    for piece, done, count, size in parts
                ]
            )
    places = np.zeros((len(of_positions), max(map(len, of_positions), default=1), 4), np.int32)
    for position, rows in enumerate(of_positions):
        places[position, : len(rows)] = rows
    return Reach(
        places, apart * pieces.outputs, taps_apart * pieces.width, pieces.outputs, np.array(pieces.first, np.int64)
    )


def taps_in_runs(w: Array, window: Window, groups: int = 1) -> Array:
    """Return w (kh, kw, C / groups, outputs) as (kh, C, kw x piece), a run's taps being neighbours."""
    pieces, share = Pieces.of(w.shape[3], groups, w.dtype), w.shape[3] // groups
    (kernel, wide), inputs = w.shape[:2], w.shape[2]
    taps = aligned((kernel, groups, inputs, wide, pieces.width), w.dtype)
    if share != pieces.width:
        taps[...] = 0
    ordered = w[:, order_of_taps(window)].swapaxes(1, 2)
    for group, first in enumerate(pieces.first):
        begin = group * share - first
        taps[:, group, ..., begin : begin + share] = ordered[..., group * share : (group + 1) * share]
    return taps.reshape(kernel, groups * inputs, wide * pieces.width)


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
        taps: see `taps_in_runs`.
    """
    (kernel, _), (down, _), (top, _), (gap, _) = spikes.window
    start, position, height, _, inputs, _, (places, apart, taps_apart, _, _), _ = spikes
    flat, row_of_taps, of_places = lines.reshape(lines.size), taps.reshape(taps.size), places.reshape(places.size)
    above, reached = low * down - top, (high - 1 - low) * down + (kernel - 1) * gap + 1
    each = activity(first, last, frames, above, reached, spikes) * inputs < _MANY
    for begin in range(first, last, _STEPS):
        until = min(begin + _STEPS, last)
        for t in range(begin, until):
            line = t % len(lines) * lines.shape[1] + at
            flat[line : line + (high - low) * width] = 0
        # Each sum receives the rows of taps in ascending order, whichever loop is the outer one.
        for i in range(kernel):
            tap = i * taps.shape[1] * taps.shape[2]
            for t in range(begin, until):
                for y in range(low, high):
                    row = y * down + i * gap - top
                    if row < 0 or row >= height:
                        continue
                    row += (t * frames[0] + frames[1]) * height
                    line = t % len(lines) * lines.shape[1] + at + (y - low) * width
                    e, end = start[row], start[row + 1]
                    if each:
                        of_rows = (line, apart, 0, row_of_taps, tap, taps_apart, 1, position, e, end)
                        add_places(flat, *of_rows, of_places, places.shape[1])
                        continue
                    while e < end:
                        of_unit = position[e]
                        limit, after = (of_unit // inputs + 1) * inputs, e + 1
                        while after < end and position[after] < limit:
                            after += 1
                        for one in places[of_unit]:
                            source = tap + one[1] - of_unit * taps.shape[2]
                            of_row = (line + one[0], apart, row_of_taps, source, taps_apart, taps.shape[2], position)
                            add_rows(flat, *of_row, e, after, one[2], one[3])
                        e = after


@compiled
def _conv(first: int, last: int, m: Maps, spikes: Where, taps: Any, lines: Any) -> None:
    weigh(first, last, lines, 0, 0, m.rows, m, spikes, taps)


def conv(x: SpikeList, w: Array, window: Window, groups: int, maps: Array) -> None:
    """Write the convolution of x (frames, H, W, C) with w (kh, kw, C / groups, outputs) into maps."""
    spikes = where(x, window, w.shape[3], w.dtype, groups)
    steps, rows, columns, outputs = maps.shape
    m, lines = Maps(steps, 1, rows, columns, outputs, 0), maps.reshape(steps, rows * columns * outputs)
    parallel_for(_conv, len(maps), m, spikes, taps_in_runs(w, window, groups), lines, grain=_GRAIN)


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
    height, columns = window.outputs(x.shape[1:3], ceil=False)
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


@inlined
def weigh(first: int, last: int, x: Any, sample: int, low: int, high: int, m: Maps, spikes: Where, taps: Any) -> None:
    """Write the weighted input of the rows [low, high) of a sample's maps into x, a ring buffer over time."""
    run(spikes.weighing, (first, last, x, sample, low, high, m, spikes, taps))


@compiled
def _weigh(first: int, last: int, x: Any, sample: int, low: int, high: int, m: Maps, spikes: Where, taps: Any) -> None:
    where_to = (x, 0, (m.samples, sample), low, high, m.columns * m.outputs)
    if not multiply_rows(first, last, *where_to, spikes, taps):
        _walk(first, last, *where_to, spikes, taps)


def example(dtype: np.dtype[Any]) -> tuple[Array, Maps, Where]:
    """Return lines, maps and spikes of a number type, for `native_address`."""
    reach = Reach(np.zeros((1, 1, 4), np.int32), 0, 0, 1, np.zeros(1, np.int64))
    spikes = Where(np.zeros(2, np.int64), np.zeros(1, np.int32), 1, 1, 1, Window.of(1, 1, 0, 1), reach, 0)
    return np.zeros((1, 1), dtype), Maps(1, 1, 1, 1, 1, 1), spikes


@cache
def _weighing(dtype: np.dtype[Any]) -> int:
    lines, m, spikes = example(dtype)
    return native_address(_weigh, 0, 0, lines, 0, 0, 0, m, spikes, lines[None])
