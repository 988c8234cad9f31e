"""The direct sum of a filter over many columns: eight steps and eight taps at a time, at the speed of arithmetic.

The columns of a block are divided into tiles. The inputs of a tile lie row after row in scratch memory, as far back as
the filter reaches: in the signal itself, rows are often a power of two apart, where few of them fit into a cache. An
input is loaded once for eight products. Each sum is taken in the order of the taps, as on a GPU.
"""

from __future__ import annotations

from typing import Any

from cuslayer.jit import compiled
from cuslayer.kernels.host.tiles import copy, scratch

# Columns of a block: enough that memory is read in long pieces, few enough that the tiles stay in the second cache.
WIDE = 512
_TILE = 128
# Steps of which a tile has the inputs, besides those that the filter reaches.
_CHUNK = 64
# Steps, and taps, of a round of products.
_STEPS = 8


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
def _add_round(sums: Any, rows: Any, taps: Any, k: int) -> None:
    """Add the products of eight taps, from k on, to eight rows of sums.

    ``sums[i] += taps[k + n] rows[7 + i - n]``, n = 0 .. 7 in this order.
    """
    h0, h1, h2, h3 = taps[k], taps[k + 1], taps[k + 2], taps[k + 3]
    h4, h5, h6, h7 = taps[k + 4], taps[k + 5], taps[k + 6], taps[k + 7]
    out, x = sums[: 8 * _TILE], rows[: 15 * _TILE]
    for j in range(_TILE):
        x0, x1, x2, x3 = x[j], x[j + _TILE], x[j + 2 * _TILE], x[j + 3 * _TILE]
        x4, x5, x6, x7 = x[j + 4 * _TILE], x[j + 5 * _TILE], x[j + 6 * _TILE], x[j + 7 * _TILE]
        x8, x9, xa, xb = x[j + 8 * _TILE], x[j + 9 * _TILE], x[j + 10 * _TILE], x[j + 11 * _TILE]
        xc, xd, xe = x[j + 12 * _TILE], x[j + 13 * _TILE], x[j + 14 * _TILE]
        a, b, c, d = out[j], out[j + _TILE], out[j + 2 * _TILE], out[j + 3 * _TILE]
        e, f, g, h = out[j + 4 * _TILE], out[j + 5 * _TILE], out[j + 6 * _TILE], out[j + 7 * _TILE]
        a = a + h0 * x7 + h1 * x6 + h2 * x5 + h3 * x4 + h4 * x3 + h5 * x2 + h6 * x1 + h7 * x0
        b = b + h0 * x8 + h1 * x7 + h2 * x6 + h3 * x5 + h4 * x4 + h5 * x3 + h6 * x2 + h7 * x1
        c = c + h0 * x9 + h1 * x8 + h2 * x7 + h3 * x6 + h4 * x5 + h5 * x4 + h6 * x3 + h7 * x2
        d = d + h0 * xa + h1 * x9 + h2 * x8 + h3 * x7 + h4 * x6 + h5 * x5 + h6 * x4 + h7 * x3
        e = e + h0 * xb + h1 * xa + h2 * x9 + h3 * x8 + h4 * x7 + h5 * x6 + h6 * x5 + h7 * x4
        f = f + h0 * xc + h1 * xb + h2 * xa + h3 * x9 + h4 * x8 + h5 * x7 + h6 * x6 + h7 * x5
        g = g + h0 * xd + h1 * xc + h2 * xb + h3 * xa + h4 * x9 + h5 * x8 + h6 * x7 + h7 * x6
        h = h + h0 * xe + h1 * xd + h2 * xc + h3 * xb + h4 * xa + h5 * x9 + h6 * x8 + h7 * x7
        out[j], out[j + _TILE], out[j + 2 * _TILE], out[j + 3 * _TILE] = a, b, c, d
        out[j + 4 * _TILE], out[j + 5 * _TILE], out[j + 6 * _TILE], out[j + 7 * _TILE] = e, f, g, h


@compiled
def _add_filtered(sums: Any, rows: Any, at: int, taps: Any, used: int) -> None:
    """Add to eight rows of sums the products of the first `used` taps: ``sums[i] += taps[k] rows[at + i - k]``."""
    k = 0
    while k + _STEPS <= used:
        _add_round(sums, rows[(at - k - 7) * _TILE :], taps, k)
        k += _STEPS
    while k < used:
        tap, row = taps[k], rows[(at - k) * _TILE :][: _STEPS * _TILE]
        for j in range(_STEPS * _TILE):
            sums[j] += tap * row[j]
        k += 1


@compiled
def tiles(reach: int, like: Any) -> Any:
    """Return scratch memory for `filter_columns` with filters of up to `reach` taps, in the type of an array."""
    return scratch((WIDE // _TILE * (reach + _CHUNK + _STEPS) + _STEPS) * _TILE, like)


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
    steps, size = x.shape[0], sources.size
    count = min(taps.size, steps)
    before = max(count - 1, 0)
    length = (before + _CHUNK + _STEPS) * _TILE
    sums = memory[: _STEPS * _TILE]
    rows = memory[_STEPS * _TILE :]
    for begin in range(0, steps, _CHUNK):
        for low in range(0, size, _TILE):
            tile = rows[low // _TILE * length :]
            if begin:
                for n in range(before * _TILE):
                    tile[n] = tile[n + _CHUNK * _TILE]
            else:
                tile[: before * _TILE] = 0
        for k in range(begin, begin + _CHUNK):
            for low in range(0, size, _TILE):
                row = rows[low // _TILE * length + (before + k - begin) * _TILE :][:_TILE]
                if k < steps:
                    take(row, x, steps - 1 - k if backward else k, sources[low : low + _TILE])
                else:
                    row[:] = 0
        for k in range(begin, min(begin + _CHUNK, steps), _STEPS):
            for low in range(0, size, _TILE):
                places = targets[low : low + _TILE]
                sums[:] = 0
                for i in range(min(_STEPS, steps - k) if more else 0):
                    take(sums[i * _TILE :], y, steps - 1 - k - i if backward else k + i, places)
                # Before the first step there is nothing.
                _add_filtered(
                    sums, rows[low // _TILE * length :][:length], before + k - begin, taps, min(count, k + _STEPS)
                )
                for i in range(min(_STEPS, steps - k)):
                    put(y, steps - 1 - k - i if backward else k + i, places, sums[i * _TILE :])
