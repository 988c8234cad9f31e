"""The gradient of a convolution's weights from a list of spikes: each tap sums the errors that they reach.

The spikes of some steps are sorted by channel. Spikes of one channel and one row add the errors of the outputs that
they reach to the same taps. These errors lie in a row of a map as in `spikes.py`: the sums stay in registers while a
kernel adds all these spikes. Each sum has a fixed order: blocks of maps, steps from the last chunk to the first and in
a chunk `_STEPS` at a time, rows, steps, columns. A fused pass has the same order.
"""

from __future__ import annotations

from functools import cache, lru_cache
from typing import NamedTuple

import numpy as np

from cuslayer._base.jit import compiled, native_address, uncounted
from cuslayer._base.parallel import parallel_for
from cuslayer.backend import Array, DType
from cuslayer.kernels.constants import Window
from cuslayer.kernels.host.llvm import run
from cuslayer.kernels.host.rows import copy, scratch
from cuslayer.kernels.host.vectors import add_rows
from cuslayer.kernels.spikes.cpu import SpikeList
from cuslayer.kernels.synapse.conv.spikes import (
    CHUNK,
    Maps,
    Pieces,
    Where,
    distances,
    example,
    maps,
    order_of_taps,
    parts_of,
    rows_of,
    runs_of,
    where,
)

# Parts of the sum of a weight gradient: fixed, so that its bits do not depend on the number of cores.
PARTS = 16
# Steps whose spikes are sorted at a time: their errors fit in the first-level cache.
_STEPS = 8
# Entries between the lists of two channels: at distances of a power of two they would evict each other from a cache.
_APART = 16


class Order(NamedTuple):
    """The order of spikes. Spikes of a channel in every stride-th column reach the same taps and have one key."""

    key: Array  # the key of each position in a line, (W C,)
    # The index of the errors of each position in a row with zeros on both sides, without a run's own distance.
    place: Array
    # (stride, parts, 4), for each phase of columns and each part of a run that fits in the registers the distance of
    # its first error, its first number in the taps of a channel, its runs and their numbers; see `add_rows`.
    runs: Array
    apart: int  # errors between two runs
    taps_apart: int  # numbers between two runs in the taps
    padded: int  # columns of a row of errors with the zeros
    before: int  # the zeros before the first column
    channels: int  # channels of a frame
    keys: int  # the number of keys
    columns: int  # columns of a line with the same phase, at most
    adding: int  # the address of `weigh_adjoint`, which passes call by `llvm.run`


class Room(NamedTuple):
    """Memory of one thread."""

    errors: Array  # the errors of `_STEPS` steps of some rows, with zeros on both sides of each row
    lists: Array  # (keys, entries), the indices of the errors of the spikes of each key, row after row
    begins: Array  # (rows + 1, keys), the first entry of each row in the lists


@lru_cache(maxsize=64)
def order(window: Window, width: int, channels: int, columns: int, pieces: Pieces, itemsize: int) -> Order:
    """Return the order of the spikes of lines of some columns and channels, for rows of a map of some columns."""
    stride = window.stride[1]
    apart, taps_apart = distances(window)
    # For a spike in the first columns, the outputs that it reaches and the tap for each.
    reaches = [runs_of(window, column) for column in range(stride)]
    reached = [x for pairs in reaches for x, _ in pairs]
    before = max(0, -min(reached, default=0))
    after = max(0, max(reached, default=0) + (width - 1) // stride - (columns - 1))
    runs = [parts_of(pairs, window, pieces, itemsize) for pairs in reaches]
    of_phases = np.zeros((stride, max(map(len, runs)), 4), np.int64)
    for phase, parts in enumerate(runs):
        of_phases[phase, : len(parts)] = parts
    column, channel = np.divmod(np.arange(width * channels), max(1, channels))
    group = channel // max(1, channels // len(pieces.first))
    return Order(
        (column % stride * channels + channel).astype(np.int32),
        ((before + column // stride) * pieces.outputs + np.array(pieces.first)[group]).astype(np.int32),
        of_phases,
        apart * pieces.outputs,
        taps_apart * pieces.width,
        before + columns + after,
        before,
        channels,
        channels * stride,
        -(-width // stride),
        _adding(itemsize),
    )


@compiled
def room(m: Maps, spikes: Where, o: Order, like: Array) -> Room:
    """Return the memory of a thread for blocks of maps, in the type of an array."""
    (kernel, _), (down, _), _, (gap, _) = spikes.window
    rows = min(spikes.height, (m.together - 1) * down + (kernel - 1) * gap + 1)
    errors = scratch(m.together * _STEPS * o.padded * m.outputs, like)
    entries = rows * _STEPS * o.columns + _APART
    return Room(errors, np.empty((o.keys, entries), np.int32), np.empty((rows + 1, o.keys), np.int64))


@uncounted
def _copy_errors(first: int, last: int, lines: Array, at: int, rows: int, m: Maps, o: Order, errors: Array) -> None:
    """Copy the errors of steps and rows between the zeros."""
    width = m.columns * m.outputs
    for row in range(rows):
        for t in range(first, last):
            begin = at + row * width
            to = ((row * _STEPS + t - first) * o.padded + o.before) * m.outputs
            copy(errors[to : to + width], lines[t % len(lines), begin : begin + width])


@uncounted
def _sort(
    first: int,
    last: int,
    frames: tuple[int, ...],
    low: int,
    rows: int,
    distance: int,
    spikes: Where,
    o: Order,
    memory: Room,
) -> None:
    """Write the indices of the errors of the spikes of `rows` rows from `low` on, by key, then row, step and column."""
    lists = memory.lists.reshape(memory.lists.size)
    begins = memory.begins
    for key in range(o.keys):
        begins[0, key] = key * memory.lists.shape[1]
    for row in range(rows):
        after = begins[row + 1]
        copy(after, begins[row])
        for t in range(first, last):
            line = (t * frames[0] + frames[1]) * spikes.height + low + row
            for e in range(spikes.start[line], spikes.start[line + 1]):
                # Unsigned indices: NumPy's negative ones would cost a comparison each.
                position = np.uint64(spikes.position[e])
                key_of_spike = np.uint64(o.key[position])
                entry = after[key_of_spike]
                lists[np.uint64(entry)] = (t - first) * distance + o.place[position]
                after[key_of_spike] = entry + 1


@uncounted
def weigh_adjoint(
    first: int,
    last: int,
    lines: Array,
    at: int,
    sample: int,
    low: int,
    high: int,
    m: Maps,
    spikes: Where,
    o: Order,
    memory: Room,
    taps: Array,
) -> None:
    """Add the contribution of the errors of the rows [low, high) of a sample's maps to the gradients of the taps.

    The errors are lines (rows, numbers), a ring buffer: step t is row t modulo the number of rows, in which row `low`
    begins at `at`.
    """
    (kernel, _), (down, _), (top, _), (gap, _) = spikes.window
    sums = taps.reshape(taps.size)
    distance = o.padded * m.outputs
    row_of_taps = taps.shape[1] * taps.shape[2]
    lists = memory.lists.reshape(memory.lists.size)
    errors = memory.errors
    channels = o.channels
    frames = m.samples, sample
    begin_row = max(0, low * down - top)
    rows = min(spikes.height, (high - 1) * down + (kernel - 1) * gap - top + 1) - begin_row
    for begin in range(first, last, _STEPS):
        end = min(begin + _STEPS, last)
        _copy_errors(begin, end, lines, at, high - low, m, o, errors)
        _sort(begin, end, frames, begin_row, rows, distance, spikes, o, memory)
        for i in range(kernel):
            for y in range(low, high):
                row = y * down + i * gap - top
                if row < 0 or row >= spikes.height:
                    continue
                entry = memory.begins[row - begin_row]
                after = memory.begins[row - begin_row + 1]
                base = (y - low) * _STEPS * distance
                for key in range(o.keys):
                    if entry[key] == after[key]:
                        continue
                    phase = key // channels
                    to = i * row_of_taps + (key - phase * channels) * taps.shape[2]
                    for distance_of, tap, runs, size in o.runs[phase]:
                        add_rows(
                            sums,
                            to + tap,
                            o.taps_apart,
                            errors,
                            base + distance_of,
                            o.apart,
                            1,
                            lists,
                            entry[key],
                            after[key],
                            runs,
                            size,
                        )


@cache
def _adding(itemsize: int) -> int:
    lines, m, spikes = example(np.dtype(f"f{itemsize}"))
    o = Order(spikes.position, spikes.position, np.zeros((1, 1, 4), np.int64), 0, 0, 0, 0, 1, 1, 1, 0)
    memory = Room(lines[0], np.zeros((1, 1), np.int32), np.zeros((1, 1), np.int64))
    return native_address(weigh_adjoint, 0, 0, lines, 0, 0, 0, 0, m, spikes, o, memory, lines[None])


@compiled
def _weight_adjoint(
    first: int, last: int, parts_at: Array, m: Maps, spikes: Where, o: Order, taps: Array, g: Array
) -> None:
    memory = room(m, spikes, o, g)
    for part in range(first, last):
        for block in range(parts_at[part], parts_at[part + 1]):
            sample, low, high = rows_of(block, m)
            at = (sample * m.rows + low) * m.columns * m.outputs
            for end in range(m.steps, 0, -CHUNK):
                t = max(end - CHUNK, 0)
                run(o.adding, (t, end, g, at, sample, low, high, m, spikes, o, memory, taps[part]))


def weight_adjoint(x: SpikeList, g: Array, window: Window, groups: int, steps: int) -> Array:
    """Return the gradient (kh, kw, C / groups, outputs) of the weight, summed in the order of a fused pass."""
    m = maps(x, steps, g.shape[3], window)
    parts = new_parts(x, m, window, groups, g.dtype)
    errors = np.ascontiguousarray(g).reshape(steps, m.neurons)
    spikes = where(x, window, m.outputs, g.dtype, groups)
    sorting = order_of(x, m, window, groups, g.dtype)
    parallel_for(_weight_adjoint, PARTS, bounds(m.blocks), m, spikes, sorting, parts, errors, grain=1)
    return of_runs(parts.sum(axis=0), window, m.outputs, groups)


def order_of(x: SpikeList, m: Maps, window: Window, groups: int, dtype: DType) -> Order:
    """Return the order of the spikes x (frames, H, W, C) for the gradient of the weights of some maps."""
    return order(window, *x.shape[2:], m.columns, Pieces.of(m.outputs, groups, dtype), np.dtype(dtype).itemsize)


def bounds(size: int) -> Array:
    """Return the first elements of the parts of [0, size), and the end."""
    return np.arange(PARTS + 1) * size // PARTS


def new_parts(x: SpikeList, m: Maps, window: Window, groups: int, dtype: DType) -> Array:
    """Return zeros for the parts of a sum of the gradients of the taps, in the layout of `taps_in_runs`."""
    width = window.kernel[1] * Pieces.of(m.outputs, groups, dtype).width
    return np.zeros((PARTS, window.kernel[0], x.shape[3], width), dtype)


def of_runs(taps: Array, window: Window, outputs: int, groups: int = 1) -> Array:
    """Return taps (kh, C, kw x width) as weights (kh, kw, C / groups, outputs); see `taps_in_runs`."""
    kernel, channels = taps.shape[:2]
    wide = window.kernel[1]
    share = outputs // groups
    pieces = Pieces.of(outputs, groups, taps.dtype)
    parts = taps.reshape(kernel, groups, channels // groups, wide, pieces.width)
    w = np.empty((kernel, wide, channels // groups, outputs), taps.dtype)
    order = order_of_taps(window)
    for group, first in enumerate(pieces.first):
        begin = group * share - first
        of_group = parts[:, group, ..., begin : begin + share].swapaxes(1, 2)
        w[:, order, :, group * share : (group + 1) * share] = of_group
    return w
