"""The direct sum of a filter over many columns, at the speed of arithmetic.

The columns of a block are divided into tiles, each as wide as a vector register. The inputs of a tile lie step after
step in scratch memory, as far back as the filter reaches: in the signal itself, rows are often a power of two apart,
where few of them fit into a cache. The sums of eight steps stay in registers while the taps are walked, and an input is
loaded once for eight products. Each sum is taken in the order of the taps, as on a GPU.
"""

from __future__ import annotations

from typing import Any

from cuslayer.jit import compiled
from cuslayer.kernels.filter_bank.registers import STEPS, add_taps, copy_register
from cuslayer.kernels.host.tiles import copy, scratch
from cuslayer.kernels.host.vectors import REGISTER_BYTES

# Columns of a block: enough that memory is read in long pieces, few enough that the tiles stay in the second cache.
WIDE = 512
# Steps of which a tile has the inputs, besides those that the filter reaches; a multiple of STEPS.
_CHUNK = 64


@compiled
def take(row: Any, x: Any, t: int, places: Any) -> None:
    """Copy the columns `places`, ascending, of step t of x to the front of a row."""
    size = places.size
    if places[size - 1] - places[0] == size - 1:
        copy(row[:size], x[t, places[0] : places[0] + size])
    else:
        for j in range(size):
            row[j] = x[t, places[j]]


@compiled
def put(y: Any, t: int, places: Any, row: Any) -> None:
    """Copy the front of a row to the columns `places`, ascending, of step t of y."""
    size = places.size
    if places[size - 1] - places[0] == size - 1:
        copy(y[t, places[0] : places[0] + size], row)
    else:
        for j in range(size):
            y[t, places[j]] = row[j]


@compiled
def tiles(reach: int, like: Any) -> Any:
    """Return scratch memory for `filter_columns` with filters of up to `reach` taps, in the type of an array."""
    return scratch((reach + _CHUNK + 2 * STEPS) * WIDE, like)


@compiled
def filter_columns(
    x: Any, sources: Any, taps: Any, y: Any, targets: Any, backward: bool, more: bool, memory: Any
) -> None:
    """Filter the columns `sources` of x into the columns `targets` of y, which may be the same array.

    ``y[t] = sum_k taps[k] x[t - k]``, or ``x[t + k]`` if `backward`; added to y if `more`.

    Args:
        x: (T, ...).
        sources: up to WIDE columns of x, ascending.
        taps: the filter (K,).
        y: (T, ...).
        targets: as many columns of y, ascending.
        backward: from the last step to the first.
        more: y has a part of the sums.
        memory: `tiles` for as many taps, or more.
    """
    steps, size, lanes = x.shape[0], sources.size, REGISTER_BYTES // memory.itemsize
    count = min(taps.size, steps)
    before = max(count - 1, 0)
    length = (before + _CHUNK + STEPS) * lanes
    vectors = (size + lanes - 1) // lanes
    sums, inputs = memory[: STEPS * WIDE], memory[STEPS * WIDE :]
    for begin in range(0, steps, _CHUNK):
        for n in range(vectors):
            tile = inputs[n * length : (n + 1) * length]
            if begin:
                for k in range(before * lanes):
                    tile[k] = tile[k + _CHUNK * lanes]
            else:
                tile[: before * lanes] = 0
        for k in range(begin, begin + _CHUNK):
            if k < steps:
                take(sums, x, steps - 1 - k if backward else k, sources)
            else:
                sums[:WIDE] = 0
            for n in range(vectors):
                copy_register(sums, n * lanes, inputs, n * length + (before + k - begin) * lanes)
        for k in range(begin, min(begin + _CHUNK, steps), STEPS):
            sums[:] = 0
            for i in range(min(STEPS, steps - k) if more else 0):
                take(sums[i * WIDE :], y, steps - 1 - k - i if backward else k + i, targets)
            # Before the first step there is nothing.
            used, at = min(count, k + STEPS), (before + k - begin) * lanes
            for n in range(vectors):
                add_taps(sums, n * lanes, WIDE, inputs, n * length + at, taps, used)
            for i in range(min(STEPS, steps - k)):
                put(y, steps - 1 - k - i if backward else k + i, targets, sums[i * WIDE :])
