"""The dense layer on the CPU: sums of weight rows for spikes, matrix products for numbers.

Where a few inputs fire, the weight row of each is added. Where many fire, the sums of the rows of each six neighbouring
inputs are added; they come from a table where many rows share it. Forward decides row by row, by the number of its
spikes alone. So a sample at a step has the same bits whatever the batch, and a stream has the spikes of the whole pass.
The gradient of the weights decides once for all.

Six rows of a matrix have 64 sums. They are computed once, and each line of spikes adds one of them where a matrix
product would multiply and add 6 rows, whatever the activity. This is the method of the four Russians (Arlazarov, Dinic,
Kronrod and Faradzev 1970).

BLAS keeps its threads spinning for a while after each product, on the cores that the next kernel needs: a training step
takes half as long again. So the library limits BLAS to one thread, and divides the rows of a product among its own
threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, lru_cache
from typing import Any

import numpy as np
from threadpoolctl import ThreadpoolController

from cuslayer._base.jit import compiled, inlined, parallel_for
from cuslayer._base.threads import thread_count
from cuslayer.backend import Array
from cuslayer.kernels.dense.busy import INPUTS, LINE, LISTED, ROWS, SORTED, TABLES, busy_above, costs
from cuslayer.kernels.dense.row_sums import KEPT_BYTES, add_subsets, fill_table, sum_more_rows, sum_neighbours, sum_rows
from cuslayer.kernels.host.llvm import VECTOR_BYTES
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import copy_vector, scratch
from cuslayer.kernels.spikes.cpu import WORD, SpikeList, by_column, list_words

# More spikes than any row has: no row counts as busy.
_ENDLESS = 1 << 62
# Additions that take some tens of microseconds, as long as waking a thread.
_WORTH_A_THREAD = 1 << 19
# Bytes of an error block, which fits in the third-level cache.
_BLOCK_BYTES = 1 << 22
# With fewer spikes per column and block, on average, one block has all errors: each would reload the column's sum.
_SPIKES_PER_SUM = 4
# Rows that are multiplied at once: fixed, so that the bits do not depend on the number of cores.
_PRODUCT_ROWS = 256
# The most lines whose sums stay in the second-level cache, the least that are worth a table, and the wanted parts of
# the work for two threads.
_MOST_LINES, _LEAST_LINES, _PARTS = 4096, 256, 8
_SIX = np.uint64((1 << INPUTS) - 1)


@cache
def _controller() -> ThreadpoolController:
    return ThreadpoolController()


class _BlasLimit:
    """The number of callers that limit BLAS to one thread; the last one restores its threads."""

    lock = threading.Lock()
    callers = 0
    limits: Any = None


@contextmanager
def single_threaded_blas() -> Iterator[None]:
    """Limit BLAS to one thread within this block."""
    with _BlasLimit.lock:
        if _BlasLimit.callers == 0:
            _BlasLimit.limits = _controller().limit(limits=1, user_api="blas")
        _BlasLimit.callers += 1
    try:
        yield
    finally:
        with _BlasLimit.lock:
            _BlasLimit.callers -= 1
            if _BlasLimit.callers == 0:
                _BlasLimit.limits.restore_original_limits()


def _multiply_rows(first: int, last: int, a: Array, b: Array, out: Array) -> None:
    with np.errstate(over="ignore", invalid="ignore"):  # as the compiled kernels, on every thread
        for low in range(first, last, _PRODUCT_ROWS):
            high = min(low + _PRODUCT_ROWS, last)
            np.matmul(a[low:high], b, out=out[low:high])


def matmul(a: Array, b: Array) -> Array:
    """Return the product of the matrices a and b."""
    out = empty((a.shape[0], b.shape[1]), a.dtype)
    with single_threaded_blas():
        parallel_for(_multiply_rows, len(a), a, b, out, grain=_PRODUCT_ROWS)
    return out


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
    """Write to total the same sum in the other order: each six neighbours first."""
    kept = KEPT_BYTES // table.itemsize
    for low in range(0, size, kept):
        sum_neighbours(total, begin + low, table, at + low, stride, index, first, last, min(kept, size - low))


@inlined
def add_rows(
    total: Any, begin: int, size: int, first: int, last: int, index: Any, table: Any, at: int, stride: int, limit: int
) -> None:
    """Write to total the same sum, in either order; see `busy_above`."""
    if last - first > limit:
        gather_by_six(total, begin, size, first, last, index, table, at, stride)
    else:
        gather(total, begin, size, first, last, index, table, at, stride)


@compiled
def _add_rows(first: int, last: int, start: Any, index: Any, table: Any, out: Any, width: int, limit: int) -> None:
    for row in range(first, last):
        add_rows(out, row * width, width, start[row], start[row + 1], index, table, 0, width, limit)


@compiled
def _code_row(bits: Any, codes: Any, line: int) -> None:
    """Write a line of the codes (words, lines) of a row of bits."""
    for word in range(codes.shape[0]):
        at, shift = word * ROWS // WORD, word * ROWS % WORD
        found = bits[at] >> np.uint64(shift)
        if shift > WORD - ROWS and at + 1 < bits.size:
            found |= bits[at + 1] << np.uint64(WORD - shift)
        code = np.uint64(0)
        for table in range(TABLES):
            code |= (found >> np.uint64(table * INPUTS) & _SIX) << np.uint64(8 * table)
        codes[word, line] = code


@compiled
def _code_columns(first: int, last: int, words: Any, codes: Any) -> None:
    """Write the codes (words, columns) of bits (rows, words), for their rows."""
    columns = codes.shape[1]
    for word in range(first, last):
        line = codes[word]
        line[:] = 0
        for i in range(min(ROWS, len(words) - word * ROWS)):
            shift = np.uint64(i // INPUTS * 8 + i % INPUTS)
            row = words[word * ROWS + i]
            for k in range(row.size):
                bits, low = row[k], WORD * k
                for column in range(min(WORD, columns - low) if bits else 0):
                    line[low + column] |= (bits >> np.uint64(column) & np.uint64(1)) << shift


@compiled
def _fill_tables(tables: Any, matrix: Any, low: int, at: int, lanes: int, lines: Any) -> None:
    """Write the 64 sums of each six rows of the matrix from `low` on, lanes columns from `at` on."""
    (rows, width), flat = matrix.shape, matrix.reshape(-1)
    used, there = min(lanes, width - at), min(ROWS, rows - low)
    # All rows first: they are far from each other in memory, and one wait loads all.
    if used == lanes:
        for i in range(there):
            copy_vector(flat, (low + i) * width + at, lines, i * lanes)
    else:
        for i in range(there):
            for j in range(used):
                lines[i * lanes + j] = flat[(low + i) * width + at + j]
    lines[there * lanes :] = 0
    for table in range(TABLES):
        fill_table(tables, (table << INPUTS) * lanes, lines, table * INPUTS * lanes)


@compiled
def _add_tables(first: int, last: int, together: int, lanes: int, codes: Any, matrix: Any, rows: Any, out: Any) -> None:
    lines, width, flat = codes.shape[1], out.shape[1], out.reshape(-1)
    parts = -(-lines // together)
    tables, total = scratch((TABLES << INPUTS) * lanes, matrix), scratch(together * lanes, matrix)
    rows_of_word = scratch(ROWS * lanes, matrix)
    for part in range(first, last):
        at, low = part // parts * lanes, part % parts * together
        size, used = min(together, lines - low), min(lanes, width - at)
        total[:] = 0
        for word in range(codes.shape[0]):
            _fill_tables(tables, matrix, word * ROWS, at, lanes, rows_of_word)
            code = codes[word]
            for line in range(size):
                add_subsets(total, line * lanes, code[low + line], tables)
        for line in range(size):
            to = rows[low + line] * width + at
            if used == lanes:
                copy_vector(total, line * lanes, flat, to)
            else:
                for j in range(used):
                    flat[to + j] = total[line * lanes + j]


@compiled
def _code_or_add(
    first: int, last: int, words: Any, start: Any, lines: Any, codes: Any, table: Any, out: Any, width: int, limit: int
) -> None:
    """Write the codes of busy rows to the lines lines[row] - 1 of the codes, and the sums of the others."""
    index = np.empty(WORD * words.shape[1], np.int32)
    for row in range(first, last):
        if start[row + 1] - start[row] > limit:
            _code_row(words[row], codes, lines[row] - 1)
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


@lru_cache
def break_even(lines: int, rows: int, width: int, itemsize: int, of_spike: float) -> float:
    """Return the number of spikes above which precomputed sums are faster than a row for each, LISTED or SORTED."""
    vectors = -(-width * itemsize // VECTOR_BYTES)
    parts = max(1, -(-lines // _lines_together(lines, vectors, _PARTS)))
    a_line, a_spike = costs(rows, width, itemsize, max(1.0, lines / parts), of_spike)
    # One thread does one part, while two add rows.
    alone = 2 if parts * vectors == 1 else 1
    return lines * (alone * a_line - LINE) / a_spike


def _lines_together(lines: int, blocks: int, parts: int) -> int:
    """Return the lines that share tables, for some blocks of columns and at least so many parts of the work."""
    return max(_LEAST_LINES, min(_MOST_LINES, -(-lines * blocks // parts)))


def _new_codes(rows: int, lines: int) -> Array:
    """Return memory for the codes (words, lines) of lines that are sums of rows of a matrix."""
    return empty((-(-rows // ROWS), lines), np.uint64)


def _add_subsets_of_rows(codes: Array, matrix: Array, rows: Array, out: Array) -> None:
    """Write to rows of out the sums of the rows of a matrix (rows, width) that the codes (words, lines) name."""
    lines, width = codes.shape[1], matrix.shape[1]
    lanes = VECTOR_BYTES // matrix.itemsize
    blocks = -(-width // lanes)
    together = _lines_together(lines, blocks, _PARTS // 2 * thread_count())
    parallel_for(_add_tables, blocks * -(-lines // together), together, lanes, codes, matrix, rows, out, grain=1)


def forward(x: SpikeList | Array, w: Array) -> Array:
    """Return x w, x (rows, inputs), w (inputs, outputs): for spikes, the sum of their rows of w."""
    if not isinstance(x, SpikeList):
        return matmul(x.astype(w.dtype, copy=False), w)
    limit = busy_above(*w.shape, w.itemsize)
    busy, spikes = _count_busy(x.start, limit) if x.count > limit else (0, 0)
    if not busy or spikes <= break_even(busy, *w.shape, w.itemsize, LISTED):
        return walk(x, w, limit)
    return look_up(x, w, limit)


def look_up(x: SpikeList, w: Array, limit: int = -1) -> Array:
    """Return x w, with sums from tables for rows of more spikes than a limit, by default all."""
    w, lines, width = np.ascontiguousarray(w), x.shape[0], w.shape[1]
    is_busy = np.diff(x.start) > limit
    rows, out = np.flatnonzero(is_busy), empty((lines, width), w.dtype)
    codes, end = _new_codes(len(w), rows.size), (w.reshape(-1), out.reshape(-1), width, limit)
    parallel_for(_code_or_add, lines, x.words, x.start, np.cumsum(is_busy), codes, *end, grain=32)
    _add_subsets_of_rows(codes, w, rows, out)
    return out


def _grain(lines: int, additions: int) -> int:
    """Return the lines of a part of the work that is worth a thread."""
    return max(1, min(32, lines * _WORTH_A_THREAD // max(1, additions)))


def walk(x: SpikeList, w: Array, limit: int = _ENDLESS) -> Array:
    """Return x w by adding the row of w of each spike, six neighbours first in rows above a limit."""
    return _sum_listed(x.start, x.index, w, limit)


def _sum_listed(start: Array, index: Array, table: Array, limit: int = _ENDLESS) -> Array:
    """Return the sums of the rows of a table that each line of a list names."""
    lines, width = start.size - 1, table.shape[1]
    out = empty((lines, width), table.dtype)
    flat = np.ascontiguousarray(table).reshape(-1)
    grain = _grain(lines, index.size * width)
    parallel_for(_add_rows, lines, start, index, flat, out.reshape(-1), width, limit, grain=grain)
    return out


def has_busy_rows(x: SpikeList, w: Array) -> bool:
    """Return whether x has rows whose spikes `forward` adds six neighbours first."""
    return _count_busy(x.start, busy_above(*w.shape, w.itemsize))[0] > 0


def weight_adjoint(x: SpikeList | Array, g: Array) -> Array:
    """Return x' g, x (rows, inputs), g (rows, outputs): for spikes, the sum of their rows of g."""
    if not isinstance(x, SpikeList):
        return matmul(x.T.astype(g.dtype, copy=False), g).copy()
    if x.count > break_even(x.shape[1], *g.shape, g.itemsize, SORTED):
        return look_up_back(x, g)
    return walk_back(x, g)


def look_up_back(x: SpikeList, g: Array) -> Array:
    """Return x' g, with sums of rows of g from tables."""
    words, columns = x.words, x.shape[1]
    codes = _new_codes(len(words), columns)
    parallel_for(_code_columns, len(codes), words, codes, grain=1)
    out = empty((columns, g.shape[1]), g.dtype)
    _add_subsets_of_rows(codes, np.ascontiguousarray(g), np.arange(columns), out)
    return out


@compiled
def _add_rows_before(
    first: int, last: int, end: int, stop: Any, done: Any, rows: Any, errors: Any, out: Any, width: int
) -> None:
    """Add to columns of the gradient the rows of errors before `end`, by four as a single pass adds them."""
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

    Where g is larger than the caches, its rows are added part by part to all columns with a spike there, with the same
    bits.
    """
    columns, (lines, width) = x.shape[1], g.shape
    begin, rows = by_column(x.start, x.index, columns)
    together = max(_BLOCK_BYTES // max(1, width * g.itemsize), _SPIKES_PER_SUM * columns * lines // max(1, x.count))
    if lines <= 2 * together:
        return _sum_listed(begin, rows, g)
    out, done = empty((columns, width), g.dtype), begin[:-1].copy()
    out[...] = 0
    arrays = begin[1:], done, rows, np.ascontiguousarray(g).reshape(-1), out.reshape(-1)
    for end in range(together, lines + together, together):
        parallel_for(_add_rows_before, columns, min(end, lines), *arrays, width, grain=32)
    return out


def input_adjoint(g: Array, w: Array) -> Array:
    """Return g w', g (rows, outputs): the gradient of x in x w."""
    return matmul(g, w.T)
