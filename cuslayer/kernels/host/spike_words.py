"""The steps of columns of spikes as bit masks; for compiled kernels.

Spikes come as rows of bytes, or of nonzero numbers. In a block of columns, 64 numbers of a row become a word. A square
of 64 such words is transposed, which makes a word of 64 steps for each column. Squares are interleaved word by word, so
the loops are SIMD. With n squares, the word of column ``64 i + c`` is at the index ``n c + i`` of a line. A block has a
line for 64 steps, and a line of zeros on both sides of these.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from cuslayer._base.jit import compiled
from cuslayer.backend import Array
from cuslayer.kernels.host.llvm import (
    BOOL,
    I8,
    I64,
    Bits,
    Emitter,
    Flat,
    Int,
    generated,
    number_of_ones,
    trailing_zeros,
)
from cuslayer.kernels.host.rows import scratch

WORD = 64
# Bytes of the words of a block, a quarter of the second-level cache, unless that is too small for the columns.
_BYTES = 1 << 18
_MOST_COLUMNS = 4096
_LEAST_COLUMNS = 512
# The spikes of a word that are listed without a branch for each, which would be mispredicted.
_MANY = 4


@generated
def load_bits(code: Emitter, x: Flat, at: Int) -> Bits:
    """Return the bytes x[at : at + WORD], each 0 or not, as the bits of a word, the first one lowest."""
    return x.load(at, ir.VectorType(I8, WORD)).compare("!=", 0).into("bitcast", I64)


@generated
def store_bits(code: Emitter, x: Flat, at: Int, word: Bits) -> None:
    """Write the bits of a word, the lowest first, as the bytes x[at : at + WORD], each 0 or 1."""
    x.store(word.into("bitcast", ir.VectorType(BOOL, WORD)).into("zext", ir.VectorType(I8, WORD)), at)


@compiled
def _exchange(line: Any, apart: int, mask: Any) -> None:
    """Exchange the blocks of `apart` rows and bits next to the diagonal of squares; mask has the lower bits."""
    size = apart * (line.size // WORD)
    shift = np.uint64(apart)
    for i in range(0, line.size, 2 * size):
        upper = line[i : i + size]
        lower = line[i + size : i + 2 * size]
        for j in range(size):
            change = ((upper[j] >> shift) ^ lower[j]) & mask
            upper[j] ^= change << shift
            lower[j] ^= change


@compiled
def transpose_bits(line: Any) -> None:
    """Exchange rows and bits of the squares of a line."""
    _exchange(line, 32, np.uint64(0x00000000FFFFFFFF))
    _exchange(line, 16, np.uint64(0x0000FFFF0000FFFF))
    _exchange(line, 8, np.uint64(0x00FF00FF00FF00FF))
    _exchange(line, 4, np.uint64(0x0F0F0F0F0F0F0F0F))
    _exchange(line, 2, np.uint64(0x3333333333333333))
    _exchange(line, 1, np.uint64(0x5555555555555555))


@compiled
def whole_words(count: int) -> int:
    """Return a number of columns or steps as a multiple of 64."""
    return (count + WORD - 1) // WORD * WORD


@compiled
def wide_of(steps: int, columns: int) -> int:
    """Return the columns of a block whose words stay in the second-level cache, a multiple of 64.

    With more, memory is read and written in longer runs.
    """
    fit = _BYTES // (whole_words(steps) // 8 + 16) // _LEAST_COLUMNS * _LEAST_COLUMNS
    return min(max(fit, _LEAST_COLUMNS), _MOST_COLUMNS, whole_words(max(columns, 1)))


@compiled
def words_memory(steps: int, wide: int) -> Array:
    """Return scratch memory for the words of a block of some columns, a multiple of 64, (lines, columns)."""
    lines = whole_words(steps) // WORD + 2
    return scratch(lines * wide, np.empty(0, np.uint64)).reshape(lines, wide)


@compiled
def place_of(m: int, wide: int) -> int:
    """Return the index of a column of a block in its lines."""
    return m % WORD * (wide // WORD) + m // WORD


@compiled
def column_at(place: int, wide: int) -> int:
    """Return the column of a block at an index of its lines: the inverse of `place_of`."""
    return place % (wide // WORD) * WORD + place // (wide // WORD)


@compiled
def read_words(words: Array, x: Array, low: int, high: int) -> None:
    """Write which numbers of the columns [low, high) of x (T, columns), at most a line of them, are not 0."""
    steps = x.shape[0]
    size = high - low
    wide = words.shape[1]
    squares = wide // WORD
    row = np.zeros(wide, np.uint8)
    for begin in range(0, steps, WORD):
        line = words[begin // WORD + 1]
        for i in range(WORD):
            if begin + i < steps:
                numbers = x[begin + i, low:high]
                for j in range(size):
                    row[j] = numbers[j] != 0
                for n in range(squares):
                    line[i * squares + n] = load_bits(row, n * WORD)
            else:
                line[i * squares : (i + 1) * squares] = 0
        transpose_bits(line)


@compiled
def count_spikes(counts: Array, words: Array, first: int, last: int) -> None:
    """Add to the counts, one for each index of a line, the spikes at the steps [first, last)."""
    all_of = np.uint64(0xFFFFFFFFFFFFFFFF)
    for i in range(max(first, 0) // WORD, min((last + WORD - 1) // WORD, len(words) - 2)):
        begin = max(first - i * WORD, 0)
        end = min(last - i * WORD, WORD)
        line = words[i + 1]
        mask = (all_of << np.uint64(begin)) & (all_of >> np.uint64(WORD - end))
        for place in range(counts.size):
            counts[place] += number_of_ones(line[place] & mask)


@compiled
def list_spikes(words: Array, x: Array, low: int, like: Array) -> tuple[Any, Any, Any]:
    """Return the nonzero numbers of the columns of x from `low` on, in ascending steps, column after column.

    Args:
        words: from `read_words`.
        x: (T, columns).
        low: the first column.
        like: an array of the type of numbers.

    Returns:
        ``begins, steps, values``: the column at an index has entries ``begins[place]`` to ``begins[place + 1]`` of the
        steps and of their values.
    """
    wide = words.shape[1]
    lines = len(words) - 2
    begins = np.zeros(wide + 1, np.int64)
    count_spikes(begins[1:], words, 0, lines * WORD)
    for place in range(wide):
        begins[place + 1] += begins[place]
    steps = np.empty(begins[wide] + _MANY, np.int32)
    values = np.ones(begins[wide], like.dtype)
    lowest = np.uint64(1)
    for place in range(wide):
        at = begins[place]
        for i in range(lines):
            word = words[i + 1, place]
            count = np.int64(number_of_ones(word))
            # The next spike overwrites entries written after the last.
            for n in range(_MANY):
                steps[at + n] = i * WORD + np.int64(trailing_zeros(word))
                word &= word - lowest
            for n in range(_MANY, count):
                steps[at + n] = i * WORD + np.int64(trailing_zeros(word))
                word &= word - lowest
            at += count
        for e in range(begins[place], at if x.itemsize > 1 else 0):
            values[e] = x[steps[e], low + column_at(place, wide)]
    return begins, steps, values
