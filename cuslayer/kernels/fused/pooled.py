"""Pooling within the loop of a pass: windows that tile a map, from ring buffer to ring buffer."""

from __future__ import annotations

from typing import Any, NamedTuple

from cuslayer._base.jit import uncounted
from cuslayer.backend import Array
from cuslayer.kernels.host.llvm import VECTOR_BYTES
from cuslayer.kernels.synapse.pool.tiles import spread_tile, sum_tile


class Tiles(NamedTuple):
    """Pooling windows, of some rows and columns of a map."""

    height: int
    width: int
    columns: int  # windows in a row of the map
    map_columns: int
    channels: int
    gain: Any


@uncounted
def pool(first: int, last: int, s: Array, s_at: int, size: int, x: Array, x_at: int, tiles: Tiles) -> None:
    """Sum `size` spikes s, rows of a map from the column `s_at` on, tile by tile into x; both are ring buffers."""
    spikes = s.reshape(s.size)
    sums = x.reshape(x.size)
    down = tiles.map_columns * tiles.channels
    lanes = VECTOR_BYTES // x.itemsize
    in_vectors = tiles.channels // lanes * lanes
    rows = size // down
    for t in range(first, last):
        # Divisions that the compiler would leave in the loop over tiles.
        line = t % len(x) * x.shape[1] + x_at
        spike_line = t % len(s) * s.shape[1] + s_at
        for row in range(-(-rows // tiles.height)):
            tall = min(tiles.height, rows - row * tiles.height)
            for column in range(tiles.columns):
                wide = min(tiles.width, tiles.map_columns - column * tiles.width)
                at = line + (row * tiles.columns + column) * tiles.channels
                begin = spike_line + row * tiles.height * down + column * tiles.width * tiles.channels
                for c in range(0, in_vectors, lanes):
                    sum_tile(sums, at + c, tiles.gain, spikes, begin + c, tiles.channels, wide, down, tall)
                for c in range(in_vectors, tiles.channels):
                    total = 0
                    for y in range(tall):
                        for z in range(wide):
                            total += spikes[begin + c + y * down + z * tiles.channels]
                    sums[at + c] = x.dtype.type(total) * tiles.gain


@uncounted
def spread(first: int, last: int, errors: Array, size: int, g: Array, tiles: Tiles) -> None:
    """Write into `size` columns of g the gain times the error of each pixel's tile; both are ring buffers."""
    of_tiles = errors.reshape(errors.size)
    out = g.reshape(g.size)
    down = tiles.map_columns * tiles.channels
    lanes = VECTOR_BYTES // g.itemsize
    in_vectors = tiles.channels // lanes * lanes
    rows = size // down
    for t in range(first, last):
        line = t % len(errors) * errors.shape[1]
        out_line = t % len(g) * g.shape[1]
        for row in range(-(-rows // tiles.height)):
            tall = min(tiles.height, rows - row * tiles.height)
            for column in range(tiles.columns):
                wide = min(tiles.width, tiles.map_columns - column * tiles.width)
                at = line + (row * tiles.columns + column) * tiles.channels
                begin = out_line + row * tiles.height * down + column * tiles.width * tiles.channels
                for c in range(0, in_vectors, lanes):
                    spread_tile(of_tiles, at + c, tiles.gain, out, begin + c, tiles.channels, wide, down, tall)
                for c in range(in_vectors, tiles.channels):
                    error = tiles.gain * of_tiles[at + c]
                    for y in range(tall):
                        for z in range(wide):
                            out[begin + c + y * down + z * tiles.channels] = error
