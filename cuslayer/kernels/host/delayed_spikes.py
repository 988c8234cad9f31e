"""Delays of spikes: the steps of a column are bits of words, and a delay is a shift of them; for compiled kernels.

Spikes come and go as rows of bytes. Of a block of columns, 64 bytes of a row become a word, and a square of 64 such
words is transposed, which makes a word of 64 steps for each column. Eight squares lie beside each other, word by word,
so that the loops are SIMD: the word of column ``64 n + c`` is at the place ``8 c + n`` of a line of words.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.jit import compiled
from cuslayer.kernels.host.simd import load_bits, store_bits
from cuslayer.kernels.host.tiles import copy, scratch

_WORD = 64
_SQUARES = 8
# Columns of a block: those of a line of words.
WIDE = _WORD * _SQUARES


@compiled
def _exchange(lines: Any, apart: int, mask: Any) -> None:
    """Exchange the blocks of `apart` rows and bits that lie beside the diagonal of squares; mask has the lower bits."""
    size, shift = apart * _SQUARES, np.uint64(apart)
    for i in range(0, WIDE, 2 * size):
        upper, lower = lines[i : i + size], lines[i + size : i + 2 * size]
        for j in range(size):
            change = ((upper[j] >> shift) ^ lower[j]) & mask
            upper[j] ^= change << shift
            lower[j] ^= change


@compiled
def _transpose(lines: Any) -> None:
    """Exchange rows and bits of eight squares of 64 words."""
    _exchange(lines, 32, np.uint64(0x00000000FFFFFFFF))
    _exchange(lines, 16, np.uint64(0x0000FFFF0000FFFF))
    _exchange(lines, 8, np.uint64(0x00FF00FF00FF00FF))
    _exchange(lines, 4, np.uint64(0x0F0F0F0F0F0F0F0F))
    _exchange(lines, 2, np.uint64(0x3333333333333333))
    _exchange(lines, 1, np.uint64(0x5555555555555555))


@compiled
def words_of(steps: int) -> int:
    """Return the words that so many steps take."""
    return (steps + _WORD - 1) // _WORD


@compiled
def words_memory(steps: int) -> Any:
    """Return scratch memory for `delay_spikes`: a line of words for 64 steps, and one of zeros on both sides."""
    return scratch((words_of(steps) + 2) * WIDE, np.empty(0, np.uint64))


@compiled
def _read(words: Any, x: Any, low: int, high: int) -> None:
    """Write the columns [low, high) of spikes x (T, columns) as words, from the second line on."""
    steps, size = x.shape[0], high - low
    row = np.zeros(WIDE, np.uint8)
    for begin in range(0, steps, _WORD):
        lines = words[(begin // _WORD + 1) * WIDE :][:WIDE]
        for i in range(_WORD):
            line = lines[i * _SQUARES : (i + 1) * _SQUARES]
            if begin + i < steps:
                copy(row[:size], x[begin + i, low:high])
                for n in range(_SQUARES):
                    line[n] = load_bits(row, n * _WORD)
            else:
                line[:] = 0
        _transpose(lines)


@compiled
def delay_spikes(y: Any, x: Any, delay: Any, low: int, high: int, words: Any) -> None:
    """Delay the columns [low, high), WIDE at most, of spikes x (T, columns) of bytes 0 or 1.

    ``y[t, m] = x[t - delay[m], m]``, 0 where there is no such step. `words`: see `words_memory`.
    """
    steps, size, last = x.shape[0], high - low, words_of(x.shape[0]) + 1
    _read(words, x, low, high)
    row, lines = np.empty(WIDE, np.uint8), np.empty(WIDE, np.uint64)
    back, right = np.zeros(WIDE, np.int64), np.zeros(WIDE, np.uint64)
    for m in range(size):
        steps_back = min(max(delay[low + m], -steps - 1), steps)
        place = m % _WORD * _SQUARES + m // _WORD
        back[place] = (steps_back + _WORD - 1) // _WORD - 1
        right[place] = -steps_back % _WORD
    one, most = np.uint64(1), np.uint64(_WORD - 1)
    for begin in range(0, steps, _WORD):
        for place in range(WIDE):
            at = begin // _WORD - back[place]
            early = words[min(max(at, 0), last) * WIDE + place]
            later = words[min(max(at + 1, 0), last) * WIDE + place]
            lines[place] = (early >> right[place]) | ((later << one) << (most - right[place]))
        _transpose(lines)
        for i in range(min(_WORD, steps - begin)):
            for n in range(_SQUARES):
                store_bits(row, n * _WORD, lines[i * _SQUARES + n])
            copy(y[begin + i, low:high], row[:size])
