"""The last steps of a block of columns, from which each column takes its own: delays.

Rows of an array are often a power of two apart in memory, where few of them fit into a cache: so they are copied to a
ring buffer, twice, one turn apart. Then the step of a column lies at a fixed distance from the newest row. The first
row of the buffer is for what is taken: reads and writes that may be of the same memory are not turned into gathers,
which take longer than single loads.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.jit import compiled

# Bytes of a turn, half of the first cache, unless that were too few columns.
_BYTES = 1 << 14
_MOST_COLUMNS = 1024
_LEAST_COLUMNS = 64


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
def width_of(turn: int, itemsize: int) -> int:
    """Return the columns of a block, a multiple of 64, of numbers of a size."""
    fit = _BYTES // (turn * itemsize) // _LEAST_COLUMNS * _LEAST_COLUMNS
    return min(max(fit, _LEAST_COLUMNS), _MOST_COLUMNS)


@compiled
def ring_of(turn: int, width: int, like: Any) -> Any:
    """Return a ring buffer of `turn` steps in the type of an array."""
    return np.zeros((2 * turn + 1) * width, like.dtype)


@compiled
def places_of(delay: Any, steps: int, least: int, turn: int, width: int) -> Any:
    """Return where the step of each column is, counted from the row before the slot of the newest step."""
    places = np.empty(delay.size, np.int64)
    for j in range(delay.size):
        places[j] = (1 + turn - (min(max(delay[j], -steps - 1), steps) - least)) * width + j
    return places


@compiled
def turn_to(ring: Any, x: Any, t: int, slot: int, turn: int, width: int, low: int, places: Any) -> None:
    """Enter step t of x, 0 outside of its steps, into a slot, and take the step of each column into the first row.

    The columns are as many as places, from low on.
    """
    size = places.size
    one, other = ring[(1 + slot) * width :][:size], ring[(1 + slot + turn) * width :][:size]
    if 0 <= t < x.shape[0]:
        row = x[t, low : low + size]
        for j in range(size):
            one[j] = row[j]
            other[j] = row[j]
    else:
        one[:] = 0
        other[:] = 0
    rows = ring[slot * width :]
    for j in range(size):
        ring[j] = rows[places[j]]
