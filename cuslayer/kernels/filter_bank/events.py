"""Filters of signals that are mostly 0, as spikes are: a signal's columns are visited where they are not.

The numbers of a column lie beside each other in scratch memory, so that a loop over the taps is SIMD; a few steps at a
time are transposed from and to the rows of arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.jit import compiled
from cuslayer.kernels.filter_bank.direct import WIDE, put
from cuslayer.kernels.host.bits import trailing_zeros
from cuslayer.kernels.host.tiles import LANES, copy, scratch, transpose

# Numbers whose marks are a word.
_WORD = 8
# The least number of steps of a chunk.
_CHUNK = 64
# Signals with more numbers that are not 0 than this are faster as direct sums.
_BUSY = 0.25
# One step in so many is looked at to decide.
_SAMPLED = 7


@compiled
def chunk_of(taps: int) -> int:
    """Return the steps of a chunk: a multiple of LANES, no less than what a filter of so many taps adds behind it."""
    return max(_CHUNK, (taps + LANES - 1) // LANES * LANES)


@compiled
def is_busy(x: Any, low: int, high: int) -> bool:
    """Return whether the columns [low, high) of x are mostly not 0, by a part of their steps."""
    found = looked = 0
    for t in range(0, x.shape[0], _SAMPLED):
        row = x[t, low:high]
        for j in range(high - low):
            found += row[j] != 0
        looked += high - low
    return found > _BUSY * looked


@compiled
def mark(words: Any, row: Any) -> None:
    """Set byte j of the words to whether number j of a row is not 0, and those behind the row to 0."""
    marks = words.view(np.uint8)
    marks[row.size // _WORD * _WORD :][:_WORD] = 0
    for j in range(row.size):
        marks[j] = row[j] != 0


@compiled
def columns_memory(taps: int, like: Any) -> Any:
    """Return scratch memory for `scatter_columns` with filters of so many taps."""
    return scratch(WIDE * (2 * chunk_of(taps) + 2 * LANES), like)


@compiled
def scatter_columns(x: Any, low: int, high: int, taps: Any, y: Any, targets: Any, memory: Any) -> None:
    """Filter the columns [low, high) of x into the columns `targets` of y: ``y[t] = sum_k taps[k] x[t-k]``.

    Time runs backward, so that each sum begins with tap 0. What the inputs of a chunk of steps add to those behind it
    is complete but for the inputs of the chunks before.
    """
    steps, size = x.shape[0], high - low
    count = min(taps.size, steps)
    chunk = chunk_of(count)
    length = 2 * chunk + LANES
    sums, out = memory[: WIDE * length], memory[WIDE * length :]
    sums[:] = 0
    words, one = np.zeros(WIDE // _WORD + 1, np.uint64), np.uint64(1)
    for begin in range((steps - 1) // chunk * chunk, -1, -chunk):
        for s in range(min(begin + chunk, steps) - 1, begin - 1, -1):
            row = x[s, low:high]
            mark(words, row)
            for i in range((size + _WORD - 1) // _WORD):
                word = words[i]
                while word:
                    j = i * _WORD + trailing_zeros(word) // 8
                    word &= word - one
                    value, run = taps.dtype.type(row[j]), sums[j * length + s - begin :][:count]
                    for k in range(count):
                        run[k] += value * taps[k]
        # Sums 0 .. count - 2 of a column lack the inputs of the chunk before.
        end = min(chunk + count - 1, steps - begin)
        for n in range(count - 1 if begin else 0, end, LANES):
            for group in range(0, size, LANES):
                transpose(out, group, WIDE, sums, group * length + n, length)
            for i in range(min(LANES, end - n)):
                put(y, begin + n + i, targets, out[i * WIDE :])
        for j in range(size if begin else 0):
            column = sums[j * length : (j + 1) * length]
            copy(column[chunk : chunk + count - 1], column)
            column[:chunk] = 0
