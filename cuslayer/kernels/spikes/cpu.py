"""The spikes that dense and convolutional layers receive on the CPU, forward and for the weight gradient.

Spike trains are mostly sparse, and then spikes are walked: a list of them is built, by reading the boolean array eight
bytes at a time, and only the list is saved for backward. Where many neurons fire, a layer multiplies matrices, and the
boolean array itself is saved. Which of them is decided by the layer; the number of spikes is counted for it.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.host.bits import trailing_zeros
from cuslayer.kernels.host.memory import empty


class SpikeList:
    """The spikes of a boolean array, line by line: a row of a matrix, or a row of pixels (W, C) of a frame.

    They are held as the array or as a list of positions, whichever was used last; the other is built where it is asked
    for. The array takes a byte a bin, the list four a spike.

    Attributes:
        start: the first entry of each line in `index`, (lines + 1,) int64; the last entry is the number of spikes.
        shape: the shape of the array, (rows, columns) or (frames, H, W, C).
    """

    def __init__(self, start: Array, bits: Array) -> None:
        self.start = start
        self.shape: tuple[int, ...] = bits.shape
        self._bits: Array | None = bits
        self._index: Array | None = None
        # Backward may ask from several threads.
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """The number of spikes."""
        return int(self.start[-1])

    @property
    def activity(self) -> float:
        """The part of all bins that have a spike, 0 where there are no bins."""
        return self.count / max(1, math.prod(self.shape))

    @property
    def index(self) -> Array:
        """The position of each spike within its line, ascending, int32. The boolean array is released."""
        with self._lock:
            if self._index is None:
                words, flat = as_words(self._lines(self._bits))
                index = np.empty(self.count, np.int32)
                parallel_for(_fill, len(flat), words, flat, self.start, index, grain=32)
                self._index, self._bits = index, None
            return self._index

    @property
    def bits(self) -> Array:
        """The boolean array, contiguous, not to be written to. The list of positions is released."""
        with self._lock:
            if self._bits is None:
                bits = empty(self.shape, bool)
                lines = self._lines(bits).view(np.uint8)
                parallel_for(_scatter, len(lines), self.start, self._index, lines, grain=32)
                self._bits, self._index = bits, None
            return self._bits

    def _lines(self, x: Any) -> Array:
        return x.reshape(len(self.start) - 1, math.prod(self.shape[len(self.shape) // 2 :]))


# A word of eight spikes, bytes of 0 or 1, times this has their sum as its highest byte.
_SUM = np.uint64(0x0101010101010101)
_TOP_BYTE = np.uint64(56)


@compiled
def _count(first: int, last: int, words: Any, x: Any, start: Any) -> None:
    for row in range(first, last):
        count = 0
        for word in range(words.shape[1]):
            count += int((words[row, word] * _SUM) >> _TOP_BYTE)
        for column in range(8 * words.shape[1], x.shape[1]):
            count += x[row, column]
        start[row + 1] = count


@compiled
def list_row(row: int, words: Any, x: Any, index: Any, e: int) -> int:
    """Write the spikes of a row of x to index, from entry e on, and return the entry after the last.

    x is uint8 (rows, columns), words are its columns as uint64, without those past the last multiple of eight.
    """
    for word in range(words.shape[1]):
        rest = words[row, word]
        while rest:
            index[e] = 8 * word + int(trailing_zeros(rest)) // 8
            e += 1
            rest &= rest - np.uint64(1)
    for column in range(8 * words.shape[1], x.shape[1]):
        if x[row, column]:
            index[e] = column
            e += 1
    return e


@compiled
def _fill(first: int, last: int, words: Any, x: Any, start: Any, index: Any) -> None:
    for row in range(first, last):
        list_row(row, words, x, index, start[row])


@compiled
def _scatter(first: int, last: int, start: Any, index: Any, x: Any) -> None:
    for row in range(first, last):
        x[row] = 0
        for e in range(start[row], start[row + 1]):
            x[row, index[e]] = 1


def as_words(x: Array) -> tuple[Array, Array]:
    """Return a boolean matrix as words of eight columns, without words if its rows do not divide, and as uint8."""
    flat = np.ascontiguousarray(x).view(np.uint8)
    words = flat.view(np.uint64) if flat.size and flat.shape[1] % 8 == 0 else np.empty((len(flat), 0), np.uint64)
    return words, flat


def find_spikes(x: Array) -> SpikeList:
    """Count the spikes of x, boolean (rows, columns) or (frames, H, W, C), and return them; x must not change after."""
    split = x.ndim // 2
    lines, places = math.prod(x.shape[:split]), math.prod(x.shape[split:])
    words, flat = as_words(x.reshape(lines, places))
    start = np.zeros(lines + 1, np.int64)
    parallel_for(_count, lines, words, flat, start, grain=32)
    np.cumsum(start, out=start)
    return SpikeList(start, flat.view(bool).reshape(x.shape))


@compiled
def by_column(start: Any, index: Any, columns: int) -> Any:
    """Return the list sorted by column: the first entry of each column, and the row of each spike, ascending."""
    begin = np.zeros(columns + 1, np.int64)
    for e in range(index.size):
        begin[index[e] + 1] += 1
    for column in range(columns):
        begin[column + 1] += begin[column]
    at = begin[:-1].copy()
    rows = np.empty(index.size, np.int32)
    for row in range(start.size - 1):
        for e in range(start[row], start[row + 1]):
            rows[at[index[e]]] = row
            at[index[e]] += 1
    return begin, rows


def synapse_input(x: Array) -> SpikeList | Array:
    """Return the input x (rows, ...) of a dense or convolutional layer: spikes counted, numbers as they are."""
    return find_spikes(x) if x.dtype == bool else x
