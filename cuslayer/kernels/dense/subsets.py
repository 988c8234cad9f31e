"""Products of busy spikes and a matrix on the CPU: sums of rows of the matrix, looked up in tables of their subsets.

Of 6 rows of a matrix there are 64 subsets. Their sums are computed once, and each line of spikes adds one of them where
a matrix product would multiply and add 6 rows, whatever the activity is. The method is known as that
of the four Russians (Arlazarov, Dinic, Kronrod and Faradzev 1970).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from cuslayer.backend import Array, cores
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.simd import INPUTS, TABLES, VECTOR_BYTES, add_subsets, copy_vector, fill_table
from cuslayer.kernels.spikes.cpu import WORD

# Nanoseconds of a core by which both ways are compared, measured by benchmarks/crossover.py. A spike that is walked: to
# list it forward, to sort it for the weight's gradient, and each vector of its row, by the size of the matrix.
LISTED, SORTED = 0.8, 7.0
_VECTOR = [(64 << 10, 0.9), (10 << 20, 0.95), (18 << 20, 1.35), (1 << 62, 1.75)]
_IN_PARTS = 10 << 20
# These sums: a vector of a line for each word of codes, the tables of a word for each vector and each part of the
# lines, to write a vector of a line, more for one that is not whole, and to make the codes of a bin. And a line that is
# walked.
_LOOK_UP, _FILL, _WRITE, _WRITE_PART, _CODE, _LINE = 2.5, 480.0, 5.0, 27.0, 0.2, 5.0
# Rows of the matrix that a word of codes stands for.
_ROWS = TABLES * INPUTS
# The most lines whose sums stay in the second-level cache, the least that are worth a table, and the parts of the work
# that are wanted for two threads.
_MOST_LINES, _LEAST_LINES, _PARTS = 4096, 256, 8
# Spikes of a row that are walked whatever the sizes are, as on a GPU: they take a tenth of a microsecond.
_FEW = 4
# Rows that share the tables where a row's number of spikes alone decides.
_SHARED = 2048
_SIX = np.uint64((1 << INPUTS) - 1)


def pay(spikes: int, lines: int, matrix: Array, of_spike: float) -> bool:
    """Return whether this is faster than walking spikes, by their number alone.

    Args:
        spikes: the number of spikes.
        lines: the lines of spikes, each of which is the sum of some rows of the matrix.
        matrix: (rows, width).
        of_spike: LISTED or SORTED.
    """
    return spikes > _break_even(lines, *matrix.shape, matrix.itemsize, of_spike)


@lru_cache
def _break_even(lines: int, rows: int, width: int, itemsize: int, of_spike: float) -> float:
    vectors = _vectors(width, itemsize)
    parts = max(1, -(-lines // _together(lines, vectors, _PARTS)))
    a_line, a_spike = _costs(rows, width, itemsize, max(1.0, lines / parts), of_spike)
    # One part is the work of one thread, while two walk.
    alone = 2 if parts * vectors == 1 else 1
    return lines * (alone * a_line - _LINE) / a_spike


def busy_above(w: Array) -> int:
    """Return the number of spikes in a row above which they are added in the order of this module, forward.

    It depends on the shape of the weights (inputs, outputs) alone: what this costs where many rows share the tables.
    """
    return _busy_above(w.shape[0], w.shape[1], w.itemsize)


@lru_cache
def _busy_above(inputs: int, width: int, itemsize: int) -> int:
    a_line, a_spike = _costs(inputs, width, itemsize, _SHARED, LISTED)
    return max(_FEW, int((a_line - _LINE) / a_spike))


def _vectors(width: int, itemsize: int) -> int:
    return -(-width * itemsize // VECTOR_BYTES)


def _costs(rows: int, width: int, itemsize: int, shared: float, of_spike: float) -> tuple[float, float]:
    """Return what the sums of a line cost where so many lines share tables, and a spike that is walked."""
    vectors, words, part = _vectors(width, itemsize), -(-rows // _ROWS), width * itemsize % VECTOR_BYTES > 0
    write, size = vectors * _WRITE + part * _WRITE_PART, rows * width * itemsize
    if of_spike == SORTED:
        # Errors that are larger than the caches are walked in parts, weights are not.
        size = min(size, _IN_PARTS)
    of_vector = next(cost for most, cost in _VECTOR if size <= most)
    a_line = words * vectors * (_LOOK_UP + _FILL / shared) + write + words * _ROWS * _CODE
    return a_line, of_spike + vectors * of_vector


def _together(lines: int, blocks: int, parts: int) -> int:
    """Return the lines that share tables, for some blocks of columns and at least so many parts of the work."""
    return max(_LEAST_LINES, min(_MOST_LINES, -(-lines * blocks // parts)))


@compiled
def code_row(bits: Any, codes: Any, line: int) -> None:
    """Write a line of the codes (words, lines) of a row of bits."""
    for word in range(codes.shape[0]):
        at, shift = word * _ROWS // WORD, word * _ROWS % WORD
        found = bits[at] >> np.uint64(shift)
        if shift > WORD - _ROWS and at + 1 < bits.size:
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
        for i in range(min(_ROWS, len(words) - word * _ROWS)):
            shift = np.uint64(i // INPUTS * 8 + i % INPUTS)
            row = words[word * _ROWS + i]
            for k in range(row.size):
                bits, low = row[k], WORD * k
                for column in range(min(WORD, columns - low) if bits else 0):
                    line[low + column] |= (bits >> np.uint64(column) & np.uint64(1)) << shift


@compiled
def _fill_tables(tables: Any, matrix: Any, low: int, at: int, lanes: int, lines: Any) -> None:
    """Write the sums of all subsets of each six rows of the matrix from `low` on, lanes columns from `at` on.

    lines (_ROWS lanes) is scratch memory, 0 past the last column.
    """
    (rows, width), flat = matrix.shape, matrix.reshape(-1)
    used, there = min(lanes, width - at), min(_ROWS, rows - low)
    # All rows first: they are far from each other in memory, and are waited for together.
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
def _sum(first: int, last: int, together: int, lanes: int, codes: Any, matrix: Any, rows: Any, out: Any) -> None:
    lines, width, flat = codes.shape[1], out.shape[1], out.reshape(-1)
    parts = -(-lines // together)
    tables = np.empty((TABLES << INPUTS) * lanes, matrix.dtype)
    total, scratch = np.empty(together * lanes, matrix.dtype), np.zeros(_ROWS * lanes, matrix.dtype)
    for part in range(first, last):
        at, low = part // parts * lanes, part % parts * together
        size, used = min(together, lines - low), min(lanes, width - at)
        total[:] = 0
        for word in range(codes.shape[0]):
            _fill_tables(tables, matrix, word * _ROWS, at, lanes, scratch)
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


def new_codes(rows: int, lines: int) -> Array:
    """Return memory for the codes (words, lines) of lines that are sums of some rows of a matrix."""
    return empty((-(-rows // _ROWS), lines), np.uint64)


def add_subsets_of_rows(codes: Array, matrix: Array, rows: Array, out: Array) -> None:
    """Write to rows of out the sums of the rows of a matrix (rows, width) that the codes (words, lines) name."""
    lines, width = codes.shape[1], matrix.shape[1]
    lanes = VECTOR_BYTES // matrix.itemsize
    blocks = -(-width // lanes)
    together = _together(lines, blocks, _PARTS // 2 * cores())
    parallel_for(_sum, blocks * -(-lines // together), together, lanes, codes, matrix, rows, out, grain=1)


def weight_adjoint(words: Array, columns: int, g: Array) -> Array:
    """Return x' g, x the bits of spikes (rows, words) with some columns, g (rows, outputs)."""
    codes = new_codes(len(words), columns)
    parallel_for(_code_columns, len(codes), words, codes, grain=1)
    out = empty((columns, g.shape[1]), g.dtype)
    add_subsets_of_rows(codes, np.ascontiguousarray(g), np.arange(columns), out)
    return out
