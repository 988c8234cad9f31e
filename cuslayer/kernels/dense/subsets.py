"""Products of busy spikes and a matrix on the CPU: sums of rows of the matrix, looked up in tables of their subsets.

Of 6 rows of a matrix there are 64 subsets. Their sums are computed once, and each line of spikes adds one of them where
a matrix product would multiply and add 6 rows, whatever the activity is. The method is known as that
of the four Russians (Arlazarov, Dinic, Kronrod and Faradzev 1970).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.simd import INPUTS, TABLES, VECTOR_BYTES, add_subsets, fill_table
from cuslayer.kernels.spikes.cpu import WORD

# Nanoseconds of a core by which both ways are compared, measured by benchmarks/crossover.py. A spike that is walked: to
# list it forward, to sort it for the weight's gradient, and each vector of its row, from the second cache and beyond.
LISTED, SORTED = 12.0, 10.0
_NEAR, _FAR, _NEAR_BYTES = 0.8, 1.1, 1 << 20
# These sums: a vector of a line for each word of codes, the tables of a word for each vector and each part of the
# lines, to write a vector of a line, and to make the codes of a bin. And a line that is walked.
_LOOK_UP, _FILL, _WRITE, _CODE, _LINE = 3.7, 900.0, 20.0, 0.15, 30.0
# Rows of the matrix that a word of codes stands for.
_ROWS = TABLES * INPUTS
# The most lines whose sums stay in the second-level cache, the least that are worth a table, and the parts of the work
# that are wanted, for the threads.
_MOST_LINES, _LEAST_LINES, _PARTS = 4096, 256, 32
# Spikes of a row that are walked whatever the sizes are, as on a GPU: they take a tenth of a microsecond.
_FEW = 8
# Rows that share the tables where a row's number of spikes alone decides.
_SHARED = 1024
_SIX = np.uint64((1 << INPUTS) - 1)


def pay(spikes: int, lines: int, matrix: Array, of_spike: float) -> bool:
    """Return whether this is faster than walking spikes, by their number alone.

    Args:
        spikes: the number of spikes.
        lines: the lines of spikes, each of which is the sum of some rows of the matrix.
        matrix: (rows, width).
        of_spike: LISTED or SORTED.
    """
    vectors = -(-matrix.shape[1] * matrix.itemsize // VECTOR_BYTES)
    words = -(-matrix.shape[0] // _ROWS)
    parts = -(-lines // _together(lines, vectors))
    walk = spikes * (of_spike + vectors * (_NEAR if matrix.nbytes <= _NEAR_BYTES else _FAR)) + lines * _LINE
    sums = words * vectors * (lines * _LOOK_UP + parts * _FILL) + lines * (vectors * _WRITE + words * _ROWS * _CODE)
    return sums < walk


def busy_above(w: Array) -> int:
    """Return the number of spikes in a row above which they are added in the order of this module, forward.

    It depends on the shape of the weights (inputs, outputs) alone: what this costs where many rows share the tables.
    """
    inputs, width = w.shape
    vectors, words = -(-width * w.itemsize // VECTOR_BYTES), -(-inputs // _ROWS)
    sums = words * vectors * (_LOOK_UP + _FILL / _SHARED) + vectors * _WRITE + words * _ROWS * _CODE
    walked = int((sums - _LINE) / (LISTED + vectors * (_NEAR if w.nbytes <= _NEAR_BYTES else _FAR)))
    return max(walked, _FEW)


def _together(lines: int, blocks: int) -> int:
    """Return the lines that share tables, for some blocks of columns."""
    return max(_LEAST_LINES, min(_MOST_LINES, -(-lines * blocks // _PARTS)))


@compiled
def _code_rows(first: int, last: int, words: Any, rows: Any, codes: Any) -> None:
    """Write the codes (words, lines) of some rows of bits (rows, words), for their columns."""
    for line in range(first, last):
        bits = words[rows[line]]
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
    rows, width = matrix.shape
    used, there = min(lanes, width - at), min(_ROWS, rows - low)
    # All rows first: they are far from each other in memory, and are waited for together.
    for i in range(there):
        for j in range(used):
            lines[i * lanes + j] = matrix[low + i, at + j]
    lines[there * lanes :] = 0
    for table in range(TABLES):
        fill_table(tables, (table << INPUTS) * lanes, lines, table * INPUTS * lanes)


@compiled
def _sum(first: int, last: int, together: int, lanes: int, codes: Any, matrix: Any, rows: Any, out: Any) -> None:
    lines, width = codes.shape[1], out.shape[1]
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
            for j in range(used):
                out[rows[low + line], at + j] = total[line * lanes + j]


def _sums(codes: Array, matrix: Array, rows: Array, out: Array) -> None:
    """Write to rows of out the sums of the rows of a matrix (rows, width) that the codes (words, lines) name."""
    lines, width = codes.shape[1], matrix.shape[1]
    lanes = VECTOR_BYTES // matrix.itemsize
    blocks = -(-width // lanes)
    together = _together(lines, blocks)
    parallel_for(_sum, blocks * -(-lines // together), together, lanes, codes, matrix, rows, out, grain=1)


def forward(words: Array, rows: Array, w: Array, out: Array) -> None:
    """Write to some rows of out those of x w, x the bits of spikes (rows, words)."""
    codes = empty((-(-len(w) // _ROWS), len(rows)), np.uint64)
    parallel_for(_code_rows, len(rows), words, rows, codes, grain=32)
    _sums(codes, w, rows, out)


def weight_adjoint(words: Array, columns: int, g: Array) -> Array:
    """Return x' g, x the bits of spikes (rows, words) with some columns, g (rows, outputs)."""
    codes = empty((-(-len(words) // _ROWS), columns), np.uint64)
    parallel_for(_code_columns, len(codes), words, codes, grain=1)
    out = empty((columns, g.shape[1]), g.dtype)
    _sums(codes, np.ascontiguousarray(g), np.arange(columns), out)
    return out
