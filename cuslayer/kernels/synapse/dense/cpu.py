"""The dense layer on the CPU: sums of weight rows for spikes, matrix products for numbers.

Where a few inputs fire, the layer adds the weight row of each. Where many fire, the sums of the rows of every six
neighbouring inputs come from a table: six rows of a matrix have 64 sums, which are computed once, and each line of
spikes adds one of them where a matrix product would multiply and add six rows. This is the method of the four Russians
(Arlazarov, Dinic, Kronrod and Faradzev 1970).

Both ways add in one order: the rows of every six neighbours to each other, in ascending order, then these sums. So
speed alone decides between them, and a sample at a step has the same bits whatever the batch, in a stream, and on a
GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer._base.jit import compiled, inlined
from cuslayer._base.parallel import parallel_for
from cuslayer._base.threads import thread_count
from cuslayer.backend import Array
from cuslayer.kernels.host.llvm import VECTOR_BYTES
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import copy_vector, scratch
from cuslayer.kernels.host.vectors import (
    NEIGHBOURS,
    ROWS,
    RUN_BYTES,
    TABLES,
    add_neighbours,
    add_subsets,
    fill_table,
    sum_neighbours,
)
from cuslayer.kernels.spikes.cpu import WORD, SpikeList, by_column
from cuslayer.kernels.synapse.dense.products import matmul as matmul
from cuslayer.kernels.synapse.dense.products import matrices as matrices

# Additions that take some tens of microseconds, as long as waking a thread.
_WORTH_A_THREAD = 1 << 19
# Bytes of an error block, which fits in the third-level cache.
_BLOCK_BYTES = 1 << 22
# With fewer spikes per column and block, on average, one block has all errors: each would reload the column's sum.
_SPIKES_PER_SUM = 4
# The most lines whose sums stay in the second-level cache, the least that are worth a table, and the wanted parts of
# the work for each thread.
_MOST_LINES = 4096
_LEAST_LINES = 256
_PARTS = 4
# The activity above which tables are faster: forward, for wide rows, and what a row of one vector adds to it; and for
# the gradient of the weights, whose spikes would have to be sorted. Filling the tables takes as long as _FILL lines.
_FORWARD = 0.07
_OF_ONE_VECTOR = 0.2
_BACKWARD = 0.06
_FILL = 200
_SIX = np.uint64((1 << NEIGHBOURS) - 1)


@inlined
def gather(
    total: Any, begin: int, size: int, first: int, last: int, index: Any, table: Any, at: int, stride: int
) -> None:
    """Write to total[begin : begin + size] the sum of the rows index[first:last] of a table, six neighbours first.

    The table is flat: row i begins at ``at + i stride``.
    """
    most = RUN_BYTES // table.itemsize
    for low in range(0, size, most):
        width = min(most, size - low)
        sum_neighbours(total, begin + low, 0, table, at + low, 0, stride, index, first, last, 1, width)


@compiled
def _add_rows(first: int, last: int, start: Array, index: Array, table: Array, out: Array, width: int) -> None:
    for row in range(first, last):
        gather(out, row * width, width, start[row], start[row + 1], index, table, 0, width)


@compiled
def _code_rows(first: int, last: int, words: Array, codes: Array) -> None:
    """Write the codes (words, rows) of bits (rows, words), for their columns."""
    for row in range(first, last):
        bits = words[row]
        for word in range(codes.shape[0]):
            at = word * ROWS // WORD
            shift = word * ROWS % WORD
            columns = bits[at] >> np.uint64(shift)
            if shift > WORD - ROWS and at + 1 < bits.size:
                columns |= bits[at + 1] << np.uint64(WORD - shift)
            code = np.uint64(0)
            for table in range(TABLES):
                code |= (columns >> np.uint64(table * NEIGHBOURS) & _SIX) << np.uint64(8 * table)
            codes[word, row] = code


@compiled
def _code_columns(first: int, last: int, words: Array, codes: Array) -> None:
    """Write the codes (words, columns) of bits (rows, words), for their rows."""
    columns = codes.shape[1]
    for word in range(first, last):
        line = codes[word]
        line[:] = 0
        for i in range(min(ROWS, len(words) - word * ROWS)):
            shift = np.uint64(i // NEIGHBOURS * 8 + i % NEIGHBOURS)
            row = words[word * ROWS + i]
            for k in range(row.size):
                bits = row[k]
                low = WORD * k
                for column in range(min(WORD, columns - low) if bits else 0):
                    line[low + column] |= (bits >> np.uint64(column) & np.uint64(1)) << shift


@compiled
def _fill_tables(tables: Array, matrix: Array, low: int, at: int, lanes: int, lines: Array) -> None:
    """Write the 64 sums of every six rows of the matrix from `low` on, lanes columns from `at` on."""
    rows, width = matrix.shape
    flat = matrix.reshape(-1)
    columns = min(lanes, width - at)
    present = min(ROWS, rows - low)
    # All rows first: they are far from each other in memory, and one wait loads all.
    if columns == lanes:
        for i in range(present):
            copy_vector(flat, (low + i) * width + at, lines, i * lanes)
    else:
        for i in range(present):
            for j in range(columns):
                lines[i * lanes + j] = flat[(low + i) * width + at + j]
    lines[present * lanes :] = 0
    for table in range(TABLES):
        fill_table(tables, (table << NEIGHBOURS) * lanes, lines, table * NEIGHBOURS * lanes)


@compiled
def _add_tables(first: int, last: int, together: int, lanes: int, codes: Array, matrix: Array, out: Array) -> None:
    lines = codes.shape[1]
    width = out.shape[1]
    flat = out.reshape(-1)
    parts = -(-lines // together)
    tables = scratch((TABLES << NEIGHBOURS) * lanes, matrix)
    total = scratch(together * lanes, matrix)
    rows_of_word = scratch(ROWS * lanes, matrix)
    for part in range(first, last):
        at = part // parts * lanes
        low = part % parts * together
        size = min(together, lines - low)
        columns = min(lanes, width - at)
        total[:] = 0
        for word in range(codes.shape[0]):
            _fill_tables(tables, matrix, word * ROWS, at, lanes, rows_of_word)
            code = codes[word]
            for line in range(size):
                add_subsets(total, line * lanes, code[low + line], tables)
        for line in range(size):
            to = (low + line) * width + at
            if columns == lanes:
                copy_vector(total, line * lanes, flat, to)
            else:
                for j in range(columns):
                    flat[to + j] = total[line * lanes + j]


def _lines_together(lines: int, blocks: int) -> int:
    """Return the lines that share tables, for some blocks of columns."""
    return max(_LEAST_LINES, min(_MOST_LINES, -(-lines * blocks // (_PARTS * thread_count()))))


def _add_subsets(codes: Array, matrix: Array) -> Array:
    """Return the sums of the rows of a matrix (rows, width) that each line of the codes (words, lines) names."""
    lines = codes.shape[1]
    width = matrix.shape[1]
    out = empty((lines, width), matrix.dtype)
    lanes = VECTOR_BYTES // matrix.itemsize
    blocks = -(-width // lanes)
    together = _lines_together(lines, blocks)
    parts = -(-lines // together)
    parallel_for(_add_tables, blocks * parts, together, lanes, codes, np.ascontiguousarray(matrix), out, grain=1)
    return out


def prefers_tables(x: SpikeList, w: Array) -> bool:
    """Return whether sums from tables are faster for x w than a row of w for each spike."""
    activity = _FORWARD + _OF_ONE_VECTOR * VECTOR_BYTES / max(1, w.shape[1] * w.itemsize)
    return x.count > activity * (x.shape[0] + _FILL) * x.shape[1]


def forward(x: SpikeList | Array, w: Array) -> Array:
    """Return x w, x (rows, inputs), w (inputs, outputs): for spikes, the sum of their rows of w."""
    if not isinstance(x, SpikeList):
        return matmul(x.astype(w.dtype, copy=False), w)
    return look_up(x, w) if prefers_tables(x, w) else sum_rows(x, w)


def look_up(x: SpikeList, w: Array) -> Array:
    """Return x w, with sums of rows of w from tables."""
    words = x.words
    lines = x.shape[0]
    codes = empty((-(-len(w) // ROWS), lines), np.uint64)
    parallel_for(_code_rows, lines, words, codes, grain=32)
    return _add_subsets(codes, w)


def _grain(lines: int, additions: int) -> int:
    """Return the lines of a part of the work that is worth a thread."""
    return max(1, min(32, lines * _WORTH_A_THREAD // max(1, additions)))


def sum_rows(x: SpikeList, w: Array) -> Array:
    """Return x w by adding the row of w of each spike."""
    return _sum_listed(x.start, x.index, w)


def _sum_listed(start: Array, index: Array, table: Array) -> Array:
    """Return the sums of the rows of a table that each line of a list names."""
    lines = start.size - 1
    width = table.shape[1]
    out = empty((lines, width), table.dtype)
    flat = np.ascontiguousarray(table).reshape(-1)
    grain = _grain(lines, index.size * width)
    parallel_for(_add_rows, lines, start, index, flat, out.reshape(-1), width, grain=grain)
    return out


def weight_adjoint(x: SpikeList | Array, g: Array) -> Array:
    """Return x' g, x (rows, inputs), g (rows, outputs): for spikes, the sum of their rows of g."""
    if not isinstance(x, SpikeList):
        return matmul(x.T.astype(g.dtype, copy=False), g).copy()
    if x.count > _BACKWARD * (x.shape[1] + _FILL) * x.shape[0]:
        return look_up_back(x, g)
    return sum_rows_back(x, g)


def look_up_back(x: SpikeList, g: Array) -> Array:
    """Return x' g, with sums of rows of g from tables."""
    words = x.words
    codes = empty((-(-len(words) // ROWS), x.shape[1]), np.uint64)
    parallel_for(_code_columns, len(codes), words, codes, grain=1)
    return _add_subsets(codes, g)


@compiled
def _add_rows_before(
    first: int, last: int, end: int, stop: Array, next_spike: Array, rows: Array, errors: Array, out: Array, width: int
) -> None:
    """Add to columns of the gradient the rows of errors before `end`, where no six neighbours are parted."""
    most = RUN_BYTES // errors.itemsize
    for column in range(first, last):
        e = next_spike[column]
        after = e
        while after < stop[column] and rows[after] < end:
            after += 1
        for low in range(0, width if e < after else 0, most):
            size = min(most, width - low)
            add_neighbours(out, column * width + low, 0, errors, low, 0, width, rows, e, after, 1, size)
        next_spike[column] = after


def sum_rows_back(x: SpikeList, g: Array) -> Array:
    """Return x' g by adding the row of g of each spike.

    Where g is larger than the caches, its rows are added part by part to all columns with a spike there, with the same
    bits.
    """
    columns = x.shape[1]
    lines, width = g.shape
    begin, rows = by_column(x.start, x.index, columns)
    together = max(_BLOCK_BYTES // max(1, width * g.itemsize), _SPIKES_PER_SUM * columns * lines // max(1, x.count))
    together = -(-together // NEIGHBOURS) * NEIGHBOURS
    if lines <= 2 * together:
        return _sum_listed(begin, rows, g)
    out = empty((columns, width), g.dtype)
    next_spike = begin[:-1].copy()
    out[...] = 0
    stop = begin[1:]
    errors = np.ascontiguousarray(g).reshape(-1)
    flat = out.reshape(-1)
    for end in range(together, lines + together, together):
        before = min(end, lines)
        parallel_for(_add_rows_before, columns, before, stop, next_spike, rows, errors, flat, width, grain=32)
    return out


def input_adjoint(g: Array, w: Array) -> Array:
    """Return g w', g (rows, outputs): the gradient of x in x w."""
    return matmul(g, w.T)
