"""The dense layer on the CPU: sums of weight rows for spikes, matrix products for numbers.

Where a few inputs fire, the weight row of each is added. Where many do, the sums of their rows in each six neighbouring
inputs are, which come from a table where many rows share it. Which of the two is decided forward row by row, by the
number of its spikes alone: a sample at a step has the same bits whatever else is computed with it, so that a stream has
the spikes of the whole pass. The gradient of the weights decides once for all.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.dense import subsets
from cuslayer.kernels.dense.row_sums import KEPT_BYTES, sum_neighbours, sum_rows
from cuslayer.kernels.host.blas import matmul
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.spikes.cpu import SpikeList, by_column, list_words

# More spikes than any row has: all rows are walked.
_ENDLESS = 1 << 62


@compiled
def gather(total: Any, first: int, last: int, index: Any, table: Any, at: int) -> None:
    """Write to total the sum of the rows index[first:last] of the table, from column `at` on, four at a time."""
    flat, stride, kept = table.reshape(-1), table.shape[1], KEPT_BYTES // table.itemsize
    for low in range(0, total.size, kept):
        sum_rows(total, low, flat, at + low, stride, index, first, last, min(kept, total.size - low))


@compiled
def gather_by_six(total: Any, first: int, last: int, index: Any, table: Any, at: int) -> None:
    """Write to total the same sum in the order of `subsets.py`: those of each six neighbours first."""
    flat, stride, kept = table.reshape(-1), table.shape[1], KEPT_BYTES // table.itemsize
    for low in range(0, total.size, kept):
        sum_neighbours(total, low, flat, at + low, stride, index, first, last, min(kept, total.size - low))


@compiled
def add_rows(total: Any, first: int, last: int, index: Any, table: Any, at: int, limit: int) -> None:
    """Write to total the sum of the rows index[first:last], in either order; see `busy_above` of `subsets.py`."""
    if last - first > limit:
        gather_by_six(total, first, last, index, table, at)
    else:
        gather(total, first, last, index, table, at)


@compiled
def _add_rows(first: int, last: int, start: Any, index: Any, table: Any, out: Any, limit: int) -> None:
    for row in range(first, last):
        add_rows(out[row], start[row], start[row + 1], index, table, 0, limit)


@compiled
def _add_quiet_rows(first: int, last: int, rows: Any, words: Any, table: Any, out: Any) -> None:
    index = np.empty(len(table), np.int32)
    for row in rows[first:last]:
        gather(out[row], 0, list_words(row, words, index, 0), index, table, 0)


@compiled
def _count_busy(start: Any, limit: int) -> tuple[int, int]:
    """Return the number of rows with more spikes than the limit, and their spikes."""
    rows = spikes = 0
    for row in range(start.size - 1):
        count = start[row + 1] - start[row]
        if count > limit:
            rows += 1
            spikes += count
    return rows, spikes


def forward(x: SpikeList | Array, w: Array) -> Array:
    """Return x w, x (rows, inputs), w (inputs, outputs): for spikes, the sum of their rows of w."""
    if not isinstance(x, SpikeList):
        return matmul(x.astype(w.dtype, copy=False), w)
    w, limit = np.ascontiguousarray(w), subsets.busy_above(w)
    busy, spikes = _count_busy(x.start, limit)
    out = empty((x.shape[0], w.shape[1]), w.dtype)
    if not busy or not subsets.pay(spikes, busy, w, subsets.LISTED):
        parallel_for(_add_rows, len(out), x.start, x.index, w, out, limit, grain=32)
        return out
    is_busy = np.diff(x.start) > limit
    subsets.forward(x.words, np.flatnonzero(is_busy), w, out)
    quiet = np.flatnonzero(~is_busy)
    parallel_for(_add_quiet_rows, quiet.size, quiet, x.words, w, out, grain=32)
    return out


def walk(x: SpikeList, w: Array) -> Array:
    """Return x w by adding the row of w of each spike, four at a time, in the order of the kernels of a GPU."""
    out = empty((x.shape[0], w.shape[1]), w.dtype)
    parallel_for(_add_rows, len(out), x.start, x.index, np.ascontiguousarray(w), out, _ENDLESS, grain=32)
    return out


def has_busy_rows(x: SpikeList, w: Array) -> bool:
    """Return whether there are rows of x whose spikes `forward` adds in the order of `subsets.py`."""
    return _count_busy(x.start, subsets.busy_above(w))[0] > 0


def weight_adjoint(x: SpikeList | Array, g: Array) -> Array:
    """Return x' g, x (rows, inputs), g (rows, outputs): for spikes, the sum of their rows of g."""
    if not isinstance(x, SpikeList):
        return matmul(x.T.astype(g.dtype, copy=False), g).copy()
    if subsets.pay(x.count, x.shape[1], g, subsets.SORTED):
        return subsets.weight_adjoint(x.words, x.shape[1], g)
    return walk_back(x, g)


def walk_back(x: SpikeList, g: Array) -> Array:
    """Return x' g by adding the row of g of each spike."""
    begin, rows = by_column(x.start, x.index, x.shape[1])
    w = np.empty((x.shape[1], g.shape[1]), g.dtype)
    parallel_for(_add_rows, len(w), begin, rows, np.ascontiguousarray(g), w, _ENDLESS, grain=16)
    return w


def deferred_input_adjoint(g: Array, w: Array, shape: tuple[int, ...]) -> Array:
    """Return g w' in a shape; a GPU computes it where it is used."""
    return input_adjoint(g, w).reshape(shape)


def input_adjoint(g: Array, w: Array) -> Array:
    """Return g w', g (rows, outputs): the gradient of x in x w."""
    return matmul(g, w.T)
