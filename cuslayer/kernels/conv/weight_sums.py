"""The gradient of a convolution's weights from a list of spikes: each tap is a sum of the errors that they reach.

The spikes of some steps are sorted by channel. Those of one channel and one row add to the same taps, the errors of the
outputs that they reach, one run of neighbours in a row of a map or several: the sums of a run stay in registers while
all these spikes are added. Each sum is added in a fixed order, blocks of maps, then steps from the last chunk to the
first and within a chunk `_STEPS` at a time, rows, steps, columns: in a fused pass as by itself.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Window
from cuslayer.kernels.conv.spikes import CHUNK, Maps, Where, maps, order_of_taps, rows_of, where
from cuslayer.kernels.host.tiles import copy, scratch
from cuslayer.kernels.host.vectors import KEPT_BYTES, add_rows
from cuslayer.kernels.spikes.cpu import SpikeList

# Parts of the sum of a weight gradient: fixed, so that its bits do not depend on the number of cores.
PARTS = 16
# Steps whose spikes are sorted at a time: their errors fit in the first-level cache.
_STEPS = 8
# Entries between the lists of two channels: at distances of a power of two they would displace each other in a cache.
_APART = 16
_EVERY = 1 << 60


class Order(NamedTuple):
    """How spikes are sorted. Spikes of a channel in every stride-th column reach the same taps: a key stands for them.

    Attributes:
        key: the key of each position in a line, (W C,).
        place: where the errors of each position lie in a row that has zeros on both sides, before a run's own distance.
        tap: the first number of each channel in a row of taps, (C,).
        first: the first run of each phase of columns, and the number of runs.
        runs: (n, 3), for each run its distance in the errors, its first number in a row of taps, and its length.
        padded: columns of a row of errors with the zeros.
        before: the zeros before the first column.
        groups: the number of groups of channels, which lie one after the other in a row of errors.
        keys: the number of keys.
        columns: columns of a line that have the same phase, at most.
    """

    key: Array
    place: Array
    tap: Array
    first: Array
    runs: Array
    padded: int
    before: int
    groups: int
    keys: int
    columns: int


class Room(NamedTuple):
    """Memory of one thread.

    Attributes:
        errors: the errors of `_STEPS` steps of some rows, with zeros on both sides of each row.
        lists: (keys, entries), the places of the errors of the spikes of each key, row after row.
        begins: (rows + 1, keys), the first entry of each row in the lists.
    """

    errors: Array
    lists: Array
    begins: Array


@lru_cache(maxsize=64)
def order(window: Window, width: int, channels: int, columns: int, outputs: int, groups: int) -> Order:
    """Return how the spikes of lines of some columns and channels are sorted, for rows of a map of some columns."""
    taps, (stride, gap, left) = order_of_taps(window), (window.stride[1], window.dilation[1], window.padding[1])
    inputs, share = channels // groups, outputs // groups
    # Of a spike in the first columns, the outputs that it reaches and the tap for each.
    met = [
        [((p + left - j * gap) // stride, n) for n, j in enumerate(taps) if (p + left - j * gap) % stride == 0]
        for p in range(stride)
    ]
    reached = [x for pairs in met for x, _ in pairs]
    before = max(0, -min(reached, default=0))
    after = max(0, max(reached, default=0) + (width - 1) // stride - (columns - 1))
    padded = before + columns + after
    first, runs = [0], list[tuple[int, int, int]]()
    for pairs in met:
        spans = list[tuple[int, int, int]]()
        for x, n in pairs:
            if spans and (x, n) == (spans[-1][0] + spans[-1][2], spans[-1][1] + spans[-1][2]):
                spans[-1] = (*spans[-1][:2], spans[-1][2] + 1)
            else:
                spans.append((x, n, 1))
        runs += [(x * share, n * share, k * share) for x, n, k in spans]
        first.append(len(runs))
    column, channel = np.divmod(np.arange(width * channels), max(1, channels))
    each = np.arange(channels)
    return Order(
        (column % stride * channels + channel).astype(np.int32),
        ((channel // max(1, inputs) * padded + before + column // stride) * share).astype(np.int32),
        (each % max(1, inputs) * outputs + each // max(1, inputs) * share) * len(taps),
        np.array(first),
        np.array(runs, np.int64).reshape(-1, 3),
        padded,
        before,
        groups,
        channels * stride,
        -(-width // stride),
    )


@compiled
def room(m: Maps, spikes: Where, o: Order, like: Any) -> Room:
    """Return the memory that a thread needs for blocks of maps, in the type of an array."""
    (kernel, _), (down, _), _, (gap, _) = spikes.window
    rows = min(spikes.height, (m.together - 1) * down + (kernel - 1) * gap + 1)
    errors = scratch(m.together * _STEPS * o.padded * m.outputs, like)
    entries = rows * _STEPS * o.columns + _APART
    return Room(errors, np.empty((o.keys, entries), np.int32), np.empty((rows + 1, o.keys), np.int64))


@compiled
def _copy_errors(first: int, last: int, lines: Any, at: int, rows: int, m: Maps, o: Order, errors: Any) -> None:
    """Copy the errors of steps and rows between the zeros, each group by itself."""
    share = m.outputs // o.groups
    apart, width = o.padded * share, m.columns * m.outputs
    for row in range(rows):
        for t in range(first, last):
            begin = at + row * width
            source = lines[t % len(lines), begin : begin + width]
            to = (row * _STEPS + t - first) * o.padded * m.outputs + o.before * share
            if o.groups == 1:
                copy(errors[to : to + width], source)
                continue
            for group in range(o.groups):
                for column in range(m.columns):
                    place, begin = to + group * apart + column * share, (column * o.groups + group) * share
                    for j in range(share):
                        errors[place + j] = source[begin + j]


@compiled
def _sort(
    first: int, last: int, frames: Any, low: int, rows: int, distance: int, spikes: Where, o: Order, given: Room
) -> None:
    """Write where the errors of the spikes lie, of `rows` rows from `low` on, by key, then row, step and column."""
    lists, begins = given.lists.reshape(given.lists.size), given.begins
    for key in range(o.keys):
        begins[0, key] = key * given.lists.shape[1]
    for row in range(rows):
        after = begins[row + 1]
        copy(after, begins[row])
        for t in range(first, last):
            line = (t * frames[0] + frames[1]) * spikes.height + low + row
            for e in range(spikes.start[line], spikes.start[line + 1]):
                # Unsigned indices: NumPy's negative ones would cost a comparison each.
                position = np.uint64(spikes.position[e])
                found = np.uint64(o.key[position])
                entry = after[found]
                lists[np.uint64(entry)] = (t - first) * distance + o.place[position]
                after[found] = entry + 1


@compiled
def weigh_adjoint(
    first: int,
    last: int,
    lines: Any,
    at: int,
    sample: int,
    low: int,
    high: int,
    m: Maps,
    spikes: Where,
    o: Order,
    given: Room,
    taps: Any,
) -> None:
    """Add to the gradients of the taps what the errors of the rows [low, high) of a sample's maps contribute.

    Args:
        first: the first step.
        last: the step after the last.
        lines: (rows, numbers), the errors, a ring buffer over time: step t is row t modulo the number of rows.
        at: the place of row `low` of the map in a row of lines.
        sample: the sample.
        low: the first row of the map.
        high: the row after the last.
        m: the maps.
        spikes: the spikes.
        o: see `order`.
        given: see `room`.
        taps: (kh, C / groups, kw x outputs).
    """
    (kernel, _), (down, _), (top, _), (gap, _) = spikes.window
    sums, distance, row_of_taps = taps.reshape(taps.size), o.padded * m.outputs, taps.shape[1] * taps.shape[2]
    lists, errors, channels = given.lists.reshape(given.lists.size), given.errors, o.tap.size
    most, frames = KEPT_BYTES // taps.itemsize, (m.samples, sample)
    begin_row = max(0, low * down - top)
    rows = min(spikes.height, (high - 1) * down + (kernel - 1) * gap - top + 1) - begin_row
    for begin in range(first, last, _STEPS):
        end = min(begin + _STEPS, last)
        _copy_errors(begin, end, lines, at, high - low, m, o, errors)
        _sort(begin, end, frames, begin_row, rows, distance, spikes, o, given)
        for i in range(kernel):
            for y in range(low, high):
                row = y * down + i * gap - top
                if row < 0 or row >= spikes.height:
                    continue
                entry, after = given.begins[row - begin_row], given.begins[row - begin_row + 1]
                base = (y - low) * _STEPS * distance
                for key in range(o.keys):
                    if entry[key] == after[key]:
                        continue
                    phase = key // channels
                    to = i * row_of_taps + o.tap[key - phase * channels]
                    for run in range(o.first[phase], o.first[phase + 1]):
                        for done in range(0, o.runs[run, 2], most):
                            size = min(most, o.runs[run, 2] - done)
                            tap, source = to + o.runs[run, 1] + done, base + o.runs[run, 0] + done
                            add_rows(sums, tap, errors, source, 1, lists, entry[key], after[key], _EVERY, size)


@compiled
def _weight_adjoint(first: int, last: int, parts_at: Any, m: Maps, spikes: Where, o: Order, taps: Any, g: Any) -> None:
    given = room(m, spikes, o, g)
    for part in range(first, last):
        for block in range(parts_at[part], parts_at[part + 1]):
            sample, low, high = rows_of(block, m)
            at = (sample * m.rows + low) * m.columns * m.outputs
            for end in range(m.steps, 0, -CHUNK):
                weigh_adjoint(max(end - CHUNK, 0), end, g, at, sample, low, high, m, spikes, o, given, taps[part])


def weight_adjoint(x: SpikeList, g: Array, window: Window, groups: int, steps: int) -> Array:
    """Return the gradient (kh, kw, C / groups, outputs) of the weight, summed in the order of a fused pass.

    Args:
        x: (frames, H, W, C), the frames of all samples at a step one after the other.
        g: (frames, rows, columns, outputs).
        window: the window.
        groups: the number of groups of channels.
        steps: the number of steps of the frames.
    """
    m = maps(x, steps, g.shape[3], window)
    parts = new_parts(x, m, window, groups, g.dtype)
    errors, spikes = np.ascontiguousarray(g).reshape(steps, m.neurons), where(x, window, m.outputs, groups)
    sorting = order_of(x, m, window, groups)
    parallel_for(_weight_adjoint, PARTS, bounds(m.blocks), m, spikes, sorting, parts, errors, grain=1)
    return of_runs(parts.sum(axis=0), window, m.outputs, groups)


def order_of(x: SpikeList, m: Maps, window: Window, groups: int = 1) -> Order:
    """Return how the spikes x (frames, H, W, C) are sorted for the gradient of the weights of some maps."""
    return order(window, *x.shape[2:], m.columns, m.outputs, groups)


def bounds(size: int) -> Array:
    """Return the first elements of the parts of [0, size), and the end."""
    return np.linspace(0, size, PARTS + 1).astype(np.int64)


def new_parts(x: SpikeList, m: Maps, window: Window, groups: int, dtype: Any) -> Array:
    """Return zeros for the parts of a sum of the gradients of the taps (kh, C / groups, kw x outputs)."""
    return np.zeros((PARTS, window.kernel[0], x.shape[3] // groups, window.kernel[1] * m.outputs), dtype)


def of_runs(taps: Array, window: Window, outputs: int, groups: int = 1) -> Array:
    """Return taps (kh, C / groups, kw x outputs) as weights (kh, kw, C / groups, outputs); see `taps_in_runs`."""
    kernel, inputs, width = taps.shape[0], taps.shape[1], window.kernel[1]
    w = np.empty((kernel, width, inputs, outputs), taps.dtype)
    parts = taps.reshape(kernel, inputs, groups, width, outputs // groups).transpose(0, 3, 1, 2, 4)
    w[:, order_of_taps(window)] = parts.reshape(w.shape)
    return w
