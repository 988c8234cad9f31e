"""Some steps at a time of a block of columns, each of which has its own delay.

Rows of an array are often a power of two apart in memory, where few of them fit into a cache: so the steps of a block
are copied to a table, wide rows at a time, whose rows fall into different places of the cache. Then each column is
taken from there for all steps of a chunk at once, from neighbouring rows: a few columns of them fit in the first-level
cache. The table has, one after the other,

    1 row        the delayed signal at the step before the chunk
    chunk rows   the delayed signal at the steps of the chunk
    turn - 1     the signal before: the steps that delays reach back to
    chunk rows   the signal at the steps of the chunk

Both signals are in one array, since reads and writes that may be of the same memory are not turned into gathers, which
take longer than single loads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.jit import compiled
from cuslayer.kernels.host.tiles import copy

# Bytes of a table, half of the second-level cache, unless that were too few columns.
_BYTES = 1 << 19
_MOST_COLUMNS = 2048
_LEAST_COLUMNS = 64
# Steps of a chunk, unless more delays are to be reached.
_STEPS = 32
# Bytes by which rows are longer than a power of two.
_LINE = 64


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
def table_of(turn: int, like: Any) -> tuple[Any, int, int]:
    """Return an empty table (rows, numbers) for `turn` delays, the steps of a chunk, and the columns of a block."""
    chunk = max(_STEPS, turn)
    rows = 2 * chunk + turn
    fit = _BYTES // (rows * like.itemsize) // _LEAST_COLUMNS * _LEAST_COLUMNS
    width = min(max(fit, _LEAST_COLUMNS), _MOST_COLUMNS)
    return np.zeros((rows, width + _LINE // like.itemsize), like.dtype), chunk, width


@compiled
def lags_of(delay: Any, steps: int, least: int) -> Any:
    """Return how many steps more than the least each column is delayed."""
    lags = np.empty(delay.size, np.int64)
    for j in range(delay.size):
        lags[j] = min(max(delay[j], -steps - 1), steps) - least
    return lags


@compiled
def next_chunk(table: Any, chunk: int, x: Any, t: int, low: int, lags: Any) -> None:
    """Turn the table to the next chunk: its signal is x from step t on, 0 outside of its steps.

    The columns are as many as lags, from low on.
    """
    size, stride, new = lags.size, table.shape[1], len(table) - chunk
    copy(table[0, :size], table[chunk, :size])
    for row in range(chunk + 1, new):
        copy(table[row, :size], table[row + chunk, :size])
    for k in range(chunk):
        if 0 <= t + k < x.shape[0]:
            copy(table[new + k, :size], x[t + k, low : low + size])
        else:
            table[new + k, :size] = 0
    flat = table.reshape(table.size)
    for j in range(size):
        to, source = stride + j, (new - lags[j]) * stride + j
        for k in range(chunk):
            flat[to + k * stride] = flat[source + k * stride]
