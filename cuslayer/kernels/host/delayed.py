"""Some steps at a time of a block of columns, each of which has its own delay.

A column's delay is a distance in time, so its steps lie beside each other here: a square of 16 steps of 16 columns is
transposed in registers, and 16 steps of a delayed column are one load, wherever they begin. Another transpose makes
rows of these. Number by number, the same takes several times as long. What a block needs is in three arrays:

    signal   (columns, length)     the steps that delays reach back to, and then those of a chunk
    table    (1 + chunk, columns)  the delayed signal at the step before the chunk and at the steps of the chunk
    rows     (16, columns)         16 steps of the signal as it is
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.jit import compiled
from cuslayer.kernels.host.tiles import LANES, copy, gather, scratch, transpose

# Bytes of these arrays, half of the second-level cache, unless that were too few columns.
_BYTES = 1 << 19
_MOST_COLUMNS = 256
_LEAST_COLUMNS = 64
# Steps of a chunk, unless more delays are to be reached.
_STEPS = 64


@compiled
def limits(delay: Any, steps: int) -> tuple[int, int]:
    """Return the smallest delay, and the number of delays from there to the largest.

    A delay outside of -steps - 1 .. steps, at which nothing is left of a signal, counts as the nearest of these.
    """
    least, most = steps, -steps - 1
    for m in range(delay.size):
        least, most = min(least, max(delay[m], -steps - 1)), max(most, min(delay[m], steps))
    return least, max(most - least + 1, 1)


@compiled
def _whole(steps: int) -> int:
    """Return a number of steps as a multiple of LANES."""
    return (steps + LANES - 1) // LANES * LANES


@compiled
def table_of(turn: int, like: Any) -> tuple[Any, int, int]:
    """Return the three arrays for `turn` delays, in the type of an array, the steps of a chunk, and those of a block.

    Returns:
        ``(table, signal, rows), chunk, width``: width is the columns of a block.
    """
    chunk = max(_STEPS, _whole(turn))
    # An odd number of cache lines: the columns fall into different places of a cache.
    length = chunk + _whole(turn)
    length += LANES if length // LANES % 2 == 0 else 0
    fit = _BYTES // ((length + 1 + chunk + LANES) * like.itemsize) // _LEAST_COLUMNS * _LEAST_COLUMNS
    width = min(max(fit, _LEAST_COLUMNS), _MOST_COLUMNS)
    table = scratch((1 + chunk) * width, like).reshape(1 + chunk, width)
    signal = scratch(width * length, like).reshape(width, length)
    return (table, signal, scratch(LANES * width, like).reshape(LANES, width)), chunk, width


@compiled
def lags_of(delay: Any, steps: int, least: int) -> Any:
    """Return how many steps more than the least each column is delayed, with zeros up to a multiple of LANES."""
    lags = np.zeros(_whole(delay.size), np.int64)
    for j in range(delay.size):
        lags[j] = min(max(delay[j], -steps - 1), steps) - least
    return lags


@compiled
def next_chunk(memory: Any, turn: int, x: Any, t: int, least: int, low: int, high: int, lags: Any) -> None:
    """Write the delayed columns [low, high) of x at the steps of the chunk that begins at t to the table.

    Outside of its steps x is 0. The first chunk begins at ``t = -chunk``. It has no step of the result, only what the
    next one reaches back to: the signal, and the row before.
    """
    table, signal, rows = memory
    chunk, size, length, width = len(table) - 1, high - low, signal.shape[1], rows.shape[1]
    flat, columns, squares = table.reshape(table.size), signal.reshape(signal.size), rows.reshape(rows.size)
    copy(table[0, :size], table[chunk, :size])
    # Of the last chunk, only the steps of x are needed; of the first, those that are reached.
    begin, end = chunk - _whole(turn) if t < 0 else 0, min(chunk, x.shape[0] - t)
    for j in range(size):
        for k in range(turn - 1):
            signal[j, k] = signal[j, k + chunk]
    for n in range(begin, end, LANES):
        for i in range(LANES):
            if 0 <= t + n + i - least < x.shape[0]:
                copy(rows[i, :size], x[t + n + i - least, low:high])
            else:
                rows[i] = 0
        for j in range(0, size, LANES):
            transpose(columns, j * length + turn - 1 + n, length, squares, j, width)
    starts = np.empty(lags.size, np.int64)
    for j in range(lags.size):
        starts[j] = j * length + turn - 1 - lags[j]
    for n in range(chunk - LANES if t < 0 else 0, end, LANES):
        for j in range(0, size, LANES):
            gather(flat, (1 + n) * width + j, width, columns, n, starts[j:])
