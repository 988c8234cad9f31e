"""Products of busy spikes and a matrix on the CPU: sums of rows of the matrix, looked up in tables of their subsets.

Of 6 rows of a matrix there are 64 subsets. Their sums are computed once, and each line of spikes adds one of them where
a matrix product would multiply and add 6 rows, whatever the activity is. The method is known as that
of the four Russians (Arlazarov, Dinic, Kronrod and Faradzev 1970).
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array, cores
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.dense.costs import INPUTS, PARTS, ROWS, TABLES, lines_together
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.simd import VECTOR_BYTES, add_subsets, copy_vector, fill_table
from cuslayer.kernels.spikes.cpu import WORD

_SIX = np.uint64((1 << INPUTS) - 1)


@compiled
def code_row(bits: Any, codes: Any, line: int) -> None:
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
    """Write the sums of all subsets of each six rows of the matrix from `low` on, lanes columns from `at` on.

    lines (ROWS lanes) is scratch memory, 0 past the last column.
    """
    (rows, width), flat = matrix.shape, matrix.reshape(-1)
    used, there = min(lanes, width - at), min(ROWS, rows - low)
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
    total, scratch = np.empty(together * lanes, matrix.dtype), np.zeros(ROWS * lanes, matrix.dtype)
    for part in range(first, last):
        at, low = part // parts * lanes, part % parts * together
        size, used = min(together, lines - low), min(lanes, width - at)
        total[:] = 0
        for word in range(codes.shape[0]):
            _fill_tables(tables, matrix, word * ROWS, at, lanes, scratch)
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
    return empty((-(-rows // ROWS), lines), np.uint64)


def add_subsets_of_rows(codes: Array, matrix: Array, rows: Array, out: Array) -> None:
    """Write to rows of out the sums of the rows of a matrix (rows, width) that the codes (words, lines) name."""
    lines, width = codes.shape[1], matrix.shape[1]
    lanes = VECTOR_BYTES // matrix.itemsize
    blocks = -(-width // lanes)
    together = lines_together(lines, blocks, PARTS // 2 * cores())
    parallel_for(_sum, blocks * -(-lines // together), together, lanes, codes, matrix, rows, out, grain=1)


def weight_adjoint(words: Array, columns: int, g: Array) -> Array:
    """Return x' g, x the bits of spikes (rows, words) with some columns, g (rows, outputs)."""
    codes = new_codes(len(words), columns)
    parallel_for(_code_columns, len(codes), words, codes, grain=1)
    out = empty((columns, g.shape[1]), g.dtype)
    add_subsets_of_rows(codes, np.ascontiguousarray(g), np.arange(columns), out)
    return out
