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
from cuslayer.jit import compiled, inlined, parallel_for
from cuslayer.kernels.dense import subsets
from cuslayer.kernels.dense.costs import LISTED, SORTED, busy_above, pay
from cuslayer.kernels.dense.row_sums import KEPT_BYTES, sum_more_rows, sum_neighbours, sum_rows
from cuslayer.kernels.host.blas import matmul
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.spikes.cpu import WORD, SpikeList, by_column, list_words

# More spikes than any row has: all rows are walked.
_ENDLESS = 1 << 62
# Additions that take some tens of microseconds, as long as it takes to wake a thread.
_WORTH_A_THREAD = 1 << 19
# Bytes of errors whose rows are walked together, a part of the last cache, and spikes of a column among them on average
# at least, which are worth a load and a store of its sum.
_WALKED_BYTES, _WORTH_A_SUM = 1 << 22, 4


@inlined
def gather(
    total: Any, begin: int, size: int, first: int, last: int, index: Any, table: Any, at: int, stride: int
) -> None:
    """Write to total[begin : begin + size] the sum of the rows index[first:last] of a table, four at a time.

    The table is flat: row i begins at ``at + i stride``.
    """
    kept = KEPT_BYTES // table.itemsize
    for low in range(0, size, kept):
        sum_rows(total, begin + low, table, at + low, stride, index, first, last, min(kept, size - low))


@inlined
def gather_by_six(
    total: Any, begin: int, size: int, first: int, last: int, index: Any, table: Any, at: int, stride: int
) -> None:
    """Write to total the same sum in the order of `subsets.py`: those of each six neighbours first."""
    kept = KEPT_BYTES // table.itemsize
    for low in range(0, size, kept):
        sum_neighbours(total, begin + low, table, at + low, stride, index, first, last, min(kept, size - low))


@inlined
def add_rows(
    total: Any, begin: int, size: int, first: int, last: int, index: Any, table: Any, at: int, stride: int, limit: int
) -> None:
    """Write to total the same sum, in either order; see `busy_above` of `costs.py`."""
    if last - first > limit:
        gather_by_six(total, begin, size, first, last, index, table, at, stride)
    else:
        gather(total, begin, size, first, last, index, table, at, stride)


@compiled
def _add_rows(first: int, last: int, start: Any, index: Any, table: Any, out: Any, width: int, limit: int) -> None:
    for row in range(first, last):
        add_rows(out, row * width, width, start[row], start[row + 1], index, table, 0, width, limit)


@compiled
def _list_and_add(
    first: int, last: int, words: Any, start: Any, index: Any, table: Any, out: Any, width: int, limit: int
) -> None:
    for row in range(first, last):
        list_words(row, words, index, start[row])
        add_rows(out, row * width, width, start[row], start[row + 1], index, table, 0, width, limit)


@compiled
def _code_or_add(
    first: int, last: int, words: Any, start: Any, lines: Any, codes: Any, table: Any, out: Any, width: int, limit: int
) -> None:
    """Write the codes of busy rows, which have the lines lines[row] - 1 of them, and the sums of the others."""
    index = np.empty(WORD * words.shape[1], np.int32)
    for row in range(first, last):
        if start[row + 1] - start[row] > limit:
            subsets.code_row(words[row], codes, lines[row] - 1)
        else:
            count = list_words(row, words, index, 0)
            gather(out, row * width, width, 0, count, index, table, 0, width)


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
    limit = busy_above(w)
    busy, spikes = _count_busy(x.start, limit) if x.count > limit else (0, 0)
    if not busy or not pay(spikes, busy, w, LISTED):
        return _walk_first(x, w, limit)
    return look_up(x, w, limit)


def look_up(x: SpikeList, w: Array, limit: int = -1) -> Array:
    """Return x w; rows of more spikes than a limit, by default all, are sums that are looked up in tables."""
    w, lines, width = np.ascontiguousarray(w), x.shape[0], w.shape[1]
    is_busy = np.diff(x.start) > limit
    rows, out = np.flatnonzero(is_busy), empty((lines, width), w.dtype)
    codes, end = subsets.new_codes(len(w), rows.size), (w.reshape(-1), out.reshape(-1), width, limit)
    parallel_for(_code_or_add, lines, x.words, x.start, np.cumsum(is_busy), codes, *end, grain=32)
    subsets.add_subsets_of_rows(codes, w, rows, out)
    return out


def _grain(lines: int, additions: int) -> int:
    """Return the lines of a part of the work, which is worth a thread."""
    return max(1, min(32, lines * _WORTH_A_THREAD // max(1, additions)))


def _walk_first(x: SpikeList, w: Array, limit: int) -> Array:
    """Return x w as `_walk`, and list the spikes on the way: a list that is read at once is in the nearest cache."""
    lines, width = x.shape[0], w.shape[1]
    written: list[Array] = []

    def fill(words: Array, index: Array) -> None:
        out, flat = empty((lines, width), w.dtype), np.ascontiguousarray(w).reshape(-1)
        end = flat, out.reshape(-1), width, limit
        parallel_for(_list_and_add, lines, words, x.start, index, *end, grain=_grain(lines, x.count * width))
        written.append(out)

    index = x.listed(fill)
    return written[0] if written else _walk(x.start, index, w, limit)


def walk(x: SpikeList, w: Array) -> Array:
    """Return x w by adding the row of w of each spike, four at a time, however many there are."""
    return _walk_first(x, w, _ENDLESS)


def _walk(start: Array, index: Array, table: Array, limit: int) -> Array:
    """Return the sums of the rows of a table that each line of a list names."""
    lines, width = start.size - 1, table.shape[1]
    out = empty((lines, width), table.dtype)
    flat = np.ascontiguousarray(table).reshape(-1)
    grain = _grain(lines, index.size * width)
    parallel_for(_add_rows, lines, start, index, flat, out.reshape(-1), width, limit, grain=grain)
    return out


def has_busy_rows(x: SpikeList, w: Array) -> bool:
    """Return whether there are rows of x whose spikes `forward` adds in the order of `subsets.py`."""
    return _count_busy(x.start, busy_above(w))[0] > 0


def weight_adjoint(x: SpikeList | Array, g: Array) -> Array:
    """Return x' g, x (rows, inputs), g (rows, outputs): for spikes, the sum of their rows of g."""
    if not isinstance(x, SpikeList):
        return matmul(x.T.astype(g.dtype, copy=False), g).copy()
    if pay(x.count, x.shape[1], g, SORTED):
        return subsets.weight_adjoint(x.words, x.shape[1], g)
    return walk_back(x, g)


@compiled
def _add_rows_before(
    first: int, last: int, end: int, stop: Any, done: Any, rows: Any, errors: Any, out: Any, width: int
) -> None:
    """Add to columns of the gradient the rows of errors before a row `end`, four at a time, from done[column] on.

    Fewer than four rows wait for those of the next part, unless the errors end: the sums are those of all at once.
    """
    kept = KEPT_BYTES // errors.itemsize
    for column in range(first, last):
        e, after = done[column], stop[column]
        if end * width < errors.size:
            after = e
            while after + 4 <= stop[column] and rows[after + 3] < end:
                after += 4
        for low in range(0, width if e < after else 0, kept):
            sum_more_rows(out, column * width + low, errors, low, width, rows, e, after, min(kept, width - low))
        done[column] = after


def walk_back(x: SpikeList, g: Array) -> Array:
    """Return x' g by adding the row of g of each spike.

    Where g is larger than the caches, a part of its rows after the other is added to all columns that have a spike
    there, with the same bits.
    """
    columns, (lines, width) = x.shape[1], g.shape
    begin, rows = by_column(x.start, x.index, columns)
    together = max(_WALKED_BYTES // max(1, width * g.itemsize), _WORTH_A_SUM * columns * lines // max(1, x.count))
    if lines <= 2 * together:
        return _walk(begin, rows, g, _ENDLESS)
    out, done = empty((columns, width), g.dtype), begin[:-1].copy()
    out[...] = 0
    arrays = begin[1:], done, rows, np.ascontiguousarray(g).reshape(-1), out.reshape(-1)
    for end in range(together, lines + together, together):
        parallel_for(_add_rows_before, columns, min(end, lines), *arrays, width, grain=32)
    return out


def input_adjoint(g: Array, w: Array) -> Array:
    """Return g w', g (rows, outputs): the gradient of x in x w."""
    return matmul(g, w.T)
