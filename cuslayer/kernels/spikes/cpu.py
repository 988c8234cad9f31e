"""The input spikes of dense and convolutional layers on the CPU, forward and for the weight gradient.

The boolean array is read once, 64 bytes at a time, and becomes a bit a bin; it belongs to the caller, who may change it
before backward. Spike trains are mostly sparse, and then layers work spike by spike: a list is built from the bits, and
only the list is saved for backward. Where many neurons fire, a layer takes and saves the bits themselves. The layer
decides by the number of spikes.
"""

from __future__ import annotations

import math
import threading
from typing import Any

import numpy as np

from cuslayer._base.jit import compiled
from cuslayer._base.parallel import parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.host.llvm import number_of_ones, trailing_zeros
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.spike_words import load_bits

# Bins of a word of bits.
WORD = 64


class SpikeList:
    """The spikes of a boolean array, line by line: a row of a matrix, or a row of pixels (W, C) of a frame.

    They are stored as bits or as a list of positions, whichever was used last; the other is built on demand. Bits take
    an eighth of a byte a bin, the list four bytes a spike.

    Attributes:
        start: the first entry of each line in `index`, (lines + 1,) int64; the last entry is the number of spikes.
        shape: the shape of the array, (rows, columns) or (frames, H, W, C).
    """

    def __init__(self, start: Array, words: Array, shape: tuple[int, ...]) -> None:
        self.start = start
        self.shape = shape
        self._words: Array | None = words
        self._index: Array | None = None
        # Backward may ask from several threads.
        self._lock = threading.Lock()

    @property
    def count(self) -> int:
        """The number of spikes."""
        return int(self.start[-1])

    @property
    def activity(self) -> float:
        """The share of bins with a spike, 0 without bins."""
        return self.count / max(1, math.prod(self.shape))

    @property
    def index(self) -> Array:
        """The position of each spike within its line, ascending, int32. The bits are released."""
        with self._lock:
            if self._index is None:
                words: Any = self._words
                index = empty((self.count,), np.int32)
                parallel_for(_fill, len(words), words, self.start, index, grain=32)
                self._index = index
                self._words = None
            return self._index

    @property
    def words(self) -> Array:
        """The spikes as bits, uint64 (lines, words): bit b of word w is bin ``64 w + b``. The list is released."""
        with self._lock:
            if self._words is None:
                words = empty(words_of(self.shape), np.uint64)
                parallel_for(_scatter, len(words), self.start, self._index, words, grain=32)
                self._words = words
                self._index = None
            return self._words


def words_of(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the lines of an array of a shape, and the words of a line."""
    split = len(shape) // 2
    return math.prod(shape[:split]), -(-math.prod(shape[split:]) // WORD)


@compiled
def _bits(flat: Any, at: int, size: int) -> Any:
    """Return the spikes flat[at : at + size], WORD at most, as bits."""
    one = np.uint64(1)
    bits = np.uint64(0)
    if at + WORD <= flat.size:
        bits = load_bits(flat, at)
        return bits if size == WORD else bits & ((one << np.uint64(size)) - one)
    for i in range(size):
        bits |= np.uint64(flat[at + i]) << np.uint64(i)
    return bits


@compiled
def _pack(first: int, last: int, x: Array, words: Array, start: Array) -> None:
    """Write the bits of rows of x, uint8 (rows, columns), and to start[1:] their numbers of spikes."""
    columns = x.shape[1]
    flat = x.reshape(-1)
    for row in range(first, last):
        count = 0
        for word in range(words.shape[1]):
            bits = _bits(flat, row * columns + WORD * word, min(WORD, columns - WORD * word))
            words[row, word] = bits
            count += int(number_of_ones(bits))
        start[row + 1] = count


@compiled
def _list_bits(bits: Any, low: int, index: Any, e: int) -> int:
    while bits:
        index[e] = low + int(trailing_zeros(bits))
        e += 1
        bits &= bits - np.uint64(1)
    return e


@compiled
def list_row(row: int, x: Array, index: Array, e: int) -> int:
    """Write the spikes of a row of x, uint8 (rows, columns), to index, from entry e on; return the entry after them."""
    columns = x.shape[1]
    flat = x.reshape(-1)
    for low in range(0, columns, WORD):
        e = _list_bits(_bits(flat, row * columns + low, min(WORD, columns - low)), low, index, e)
    return e


@compiled
def list_words(row: int, words: Array, index: Array, e: int) -> int:
    """Write the spikes of a row of words of bits to index; see `list_row`."""
    for word in range(words.shape[1]):
        e = _list_bits(words[row, word], WORD * word, index, e)
    return e


@compiled
def _fill(first: int, last: int, words: Array, start: Array, index: Array) -> None:
    for row in range(first, last):
        list_words(row, words, index, start[row])


@compiled
def _scatter(first: int, last: int, start: Array, index: Array, words: Array) -> None:
    for row in range(first, last):
        words[row] = 0
        for e in range(start[row], start[row + 1]):
            words[row, index[e] // WORD] |= np.uint64(1) << np.uint64(index[e] % WORD)


def as_bytes(x: Array) -> Array:
    """Return a boolean matrix as uint8, contiguous."""
    return np.ascontiguousarray(x).view(np.uint8)


def find_spikes(x: Array) -> SpikeList:
    """Return the spikes of x, boolean (rows, columns) or (frames, H, W, C); x may change afterwards."""
    split = x.ndim // 2
    lines = math.prod(x.shape[:split])
    places = math.prod(x.shape[split:])
    start = np.zeros(lines + 1, np.int64)
    words = empty(words_of(x.shape), np.uint64)
    parallel_for(_pack, lines, as_bytes(x.reshape(lines, places)), words, start, grain=32)
    np.cumsum(start, out=start)
    return SpikeList(start, words, x.shape)


# Parts of a list that threads sort, if it is at least so long.
_PARTS = 8
_LONG = 1 << 15


@compiled
def _count_columns(first: int, last: int, bounds: Array, start: Array, index: Array, at: Array) -> None:
    for part in range(first, last):
        for e in range(start[bounds[part]], start[bounds[part + 1]]):
            at[part, index[e]] += 1


@compiled
def _sort(first: int, last: int, bounds: Array, start: Array, index: Array, at: Array, rows: Array) -> None:
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


def in_frames(x: Array, shape: tuple[int, ...]) -> Array:
    """Return x in a shape (frames, ...); packed spikes of a GPU become booleans of the host."""
    return np.asarray(x).reshape(shape)


def synapse_input(x: Array) -> SpikeList | Array:
    """Return the input x (rows, ...) of a dense or convolutional layer: spikes counted, numbers unchanged."""
    return find_spikes(x) if x.dtype == bool else x
