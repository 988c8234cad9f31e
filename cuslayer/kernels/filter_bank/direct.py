"""The direct sum of a filter over many columns: some steps and taps at a time, at the speed of arithmetic.

A tile is a vector of columns. Its inputs lie step after step in scratch memory, as far back as the filter reaches: in
the signal itself, rows are often a power of two apart, where few of them fit into a cache. An input is loaded once for
eight products, and the sums of eight steps stay in registers. Each is taken in the order of the taps, as on a GPU.
Memory is read and written while other tiles are computed.
"""

from __future__ import annotations

from typing import Any

from cuslayer.jit import compiled
from cuslayer.kernels.filter_bank.registers import STEPS, filter_tile
from cuslayer.kernels.host.streaming import fence, request, write_row
from cuslayer.kernels.host.tiles import copy, scratch
from cuslayer.kernels.host.vectors import REGISTER_BYTES

# Columns of a block: enough that memory is read in long pieces, few enough that the tiles stay in the second cache.
WIDE = 512
# How many tiles ahead inputs are asked for.
_AHEAD = 2


@compiled
def are_neighbours(places: Any) -> bool:
    """Return whether places, ascending, are one beside the other."""
    return places[places.size - 1] - places[0] == places.size - 1


@compiled
def take(row: Any, x: Any, t: int, places: Any) -> None:
    """Copy the columns `places`, ascending, of step t of x to the front of a row."""
    size = places.size
    if are_neighbours(places):
        copy(row[:size], x[t, places[0] : places[0] + size])
    else:
        for j in range(size):
            row[j] = x[t, places[j]]


@compiled
def put(y: Any, t: int, places: Any, row: Any, large: bool) -> None:
    """Copy the front of a row to the columns `places`, ascending, of step t of y; see `write_row`."""
    size = places.size
    if are_neighbours(places):
        write_row(y[t, places[0] : places[0] + size], row[:size], large)
    else:
        for j in range(size):
            y[t, places[j]] = row[j]


@compiled
def _blocks_of(taps: int) -> int:
    """Return the blocks of steps that a filter reaches, that of the sums among them."""
    return (taps + 2 * STEPS - 2) // STEPS


@compiled
def tiles(reach: int, like: Any) -> Any:
    """Return scratch memory for `filter_columns` with filters of up to `reach` taps, in the type of an array."""
    return scratch((_blocks_of(reach) + 3) * STEPS * WIDE, like)


@compiled
def filter_columns(
    x: Any, sources: Any, taps: Any, y: Any, targets: Any, backward: bool, more: bool, large: bool, memory: Any
) -> None:
    """Filter the columns `sources` of x into the columns `targets` of y, which may be the same array.

    ``y[t] = sum_k taps[k] x[t - k]``, or ``x[t + k]`` if `backward`; added to y if `more`.

    Args:
        x: (T, ...), in the type of y, or spikes as bytes.
        sources: up to WIDE columns of x, ascending.
        taps: the filter (K,).
        y: (T, ...).
        targets: as many columns of y, ascending.
        backward: from the last step to the first.
        more: y has a part of the sums.
        large: y is written past the caches.
        memory: `tiles` for as many taps, or more.
    """
    steps, size, lanes = x.shape[0], sources.size, REGISTER_BYTES // y.itemsize
    count = min(taps.size, steps)
    blocks = _blocks_of(count)
    length = (blocks + 1) * STEPS * lanes
    given, found, before = memory[: STEPS * WIDE], memory[STEPS * WIDE :], memory[2 * STEPS * WIDE :]
    # Before the first step there is nothing.
    before[: length * ((size + lanes - 1) // lanes)] = 0
    whole = size % lanes == 0 and are_neighbours(sources) and are_neighbours(targets)
    large = large and (y.ctypes.data + targets[0] * y.itemsize) % REGISTER_BYTES == 0 and y.shape[1] % lanes == 0
    all_x, all_y, turn = x.reshape(x.size), y.reshape(y.size), -1 if backward else 1
    block = 0
    for k in range(0, steps, STEPS):
        block, used, t = block % blocks + 1, min(count, k + STEPS), steps - 1 - k if backward else k
        if whole and k + STEPS <= steps:
            apart, steps_apart = turn * x.shape[1], turn * y.shape[1]
            for j in range(0, size, lanes):
                at, to = t * x.shape[1] + sources[0] + j, t * y.shape[1] + targets[0] + j
                for i in range(STEPS):
                    request(all_x, at + i * apart + _AHEAD * lanes)
                tile = before[j // lanes * length :]
                filter_tile(all_x, at, apart, tile, block, blocks, taps, used, all_y, to, steps_apart, more, large)
            continue
        here = min(STEPS, steps - k)
        for i in range(here):
            take(given[i * WIDE :], x, t + turn * i, sources)
        given[here * WIDE :] = 0
        for i in range(here if more else 0):
            take(found[i * WIDE :], y, t + turn * i, targets)
        for j in range(0, size, lanes):
            tile = before[j // lanes * length :]
            filter_tile(given, j, WIDE, tile, block, blocks, taps, used, found, j, WIDE, more, False)
        for i in range(here):
            put(y, t + turn * i, targets, found[i * WIDE :], large)
    fence()
