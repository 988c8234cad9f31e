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
from cuslayer.kernels.host.simd import load_word


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
                flat = as_bytes(self._lines(self._bits))
                index = empty((self.count,), np.int32)
                parallel_for(_fill, len(flat), flat, self.start, index, grain=32)
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
def _count(first: int, last: int, x: Any, start: Any) -> None:
    columns, flat = x.shape[1], x.reshape(-1)
    words = columns // 8
    for row in range(first, last):
        count = 0
        for word in range(words):
            count += int((load_word(flat, row * columns + 8 * word) * _SUM) >> _TOP_BYTE)
        for column in range(8 * words, columns):
            count += x[row, column]
        start[row + 1] = count


@compiled
def list_row(row: int, x: Any, index: Any, e: int) -> int:
    """Write the spikes of a row of x, uint8 (rows, columns), to index, from entry e on; return the entry after them."""
    columns, flat = x.shape[1], x.reshape(-1)
    words = columns // 8
    for word in range(words):
        rest = load_word(flat, row * columns + 8 * word)
        while rest:
            index[e] = 8 * word + int(trailing_zeros(rest)) // 8
            e += 1
            rest &= rest - np.uint64(1)
    for column in range(8 * words, columns):
        if x[row, column]:
            index[e] = column
            e += 1
    return e


@compiled
def _fill(first: int, last: int, x: Any, start: Any, index: Any) -> None:
    for row in range(first, last):
        list_row(row, x, index, start[row])


@compiled
def _scatter(first: int, last: int, start: Any, index: Any, x: Any) -> None:
    for row in range(first, last):
        x[row] = 0
        for e in range(start[row], start[row + 1]):
            x[row, index[e]] = 1


def as_bytes(x: Array) -> Array:
    """Return a boolean matrix as uint8, contiguous."""
    return np.ascontiguousarray(x).view(np.uint8)


def find_spikes(x: Array) -> SpikeList:
    """Count the spikes of x, boolean (rows, columns) or (frames, H, W, C), and return them; x must not change after."""
    split = x.ndim // 2
    lines, places = math.prod(x.shape[:split]), math.prod(x.shape[split:])
    flat = as_bytes(x.reshape(lines, places))
    start = np.zeros(lines + 1, np.int64)
    parallel_for(_count, lines, flat, start, grain=32)
    np.cumsum(start, out=start)
    return SpikeList(start, flat.view(bool).reshape(x.shape))


# Parts in which a list is sorted, for the threads, if it is at least so long.
_PARTS, _LONG = 8, 1 << 15


@compiled
def _count_columns(first: int, last: int, bounds: Any, start: Any, index: Any, at: Any) -> None:
    for part in range(first, last):
        for e in range(start[bounds[part]], start[bounds[part + 1]]):
            at[part, index[e]] += 1


@compiled
def _sort(first: int, last: int, bounds: Any, start: Any, index: Any, at: Any, rows: Any) -> None:
    for part in range(first, last):
        for row in range(bounds[part], bounds[part + 1]):
            for e in range(start[row], start[row + 1]):
                rows[at[part, index[e]]] = row
                at[part, index[e]] += 1


def by_column(start: Array, index: Array, columns: int) -> tuple[Array, Array]:
    """Return the list sorted by column: the first entry of each column, and the row of each spike, ascending."""
    parts = _PARTS if index.size >= _LONG else 1
    bounds = np.linspace(0, start.size - 1, parts + 1).astype(np.int64)
    at = np.zeros((parts, columns), np.int64)
    parallel_for(_count_columns, parts, bounds, start, index, at, grain=1)
    begin = np.zeros(columns + 1, np.int64)
    np.cumsum(at.sum(axis=0), out=begin[1:])
    # Where the spikes of each part and column begin.
    at = np.cumsum(at, axis=0) - at + begin[:-1]
    rows = empty((index.size,), np.int32)
    parallel_for(_sort, parts, bounds, start, index, at, rows, grain=1)
    return begin, rows


def synapse_input(x: Array) -> SpikeList | Array:
    """Return the input x (rows, ...) of a dense or convolutional layer: spikes counted, numbers as they are."""
    return find_spikes(x) if x.dtype == bool else x
