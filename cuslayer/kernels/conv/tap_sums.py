"""Blocks of the kernels that add errors over the spikes under windows, and the sum of their parts: `tap_sums.cuh`."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import TILE, empty, most_shared
from cuslayer.kernels.spikes.packed import WORD

# Threads of a block at most, and those that a multiprocessor has room for, by its registers.
_THREADS, _RESIDENT = 256, 384
# With fewer threads on a multiprocessor a second pass over stored errors is faster.
_LEAST_RESIDENT = 64
# Output channels of a block at most and, where a group has more, at least.
_LANES, _LEAST_LANES = 64, 8
# Bytes that the driver takes of each block's shared memory.
_RESERVED = 1024
# Bytes of all parts at most: they are written and read once.
_PART_BYTES = 24 << 20
# PART_ROWS of conv_adjoint.cu.
_PART_ROWS = 16
# Blocks of a launch at most along x.
_MOST_BLOCKS = 1 << 16


class Blocks(NamedTuple):
    """The shape of a block.

    Attributes:
        tiles: tiles of a block; a tile is a pooling window, or one pixel.
        lanes: output channels of a block.
        threads: tiles x pixels of a tile x lanes.
        shared: bytes of shared memory.
        resident: threads of a multiprocessor at a time, as far as shared memory allows.
    """

    tiles: int
    lanes: int
    threads: int
    shared: int
    resident: int


def bits_of(window: Window, channels: int) -> int:
    """Return the number of taps of a window for some channels."""
    return window.kernel[0] * window.kernel[1] * channels


def pieces_of(window: Window, channels: int, groups: int) -> int:
    """Return the number of pieces of 32 bits at most that a window over some channels is cut into."""
    runs = 1 if window.dilation[1] == 1 and groups == 1 else window.kernel[1]
    return window.kernel[0] * runs * -(-(window.kernel[1] // runs) * (channels // groups) // WORD)


def blocks(op: str, bits: int, pieces: int, outputs: int, itemsize: int) -> Blocks:
    """Return the blocks that keep most threads on a multiprocessor, a tile a pixel.

    Args:
        op: the operation, for the error.
        bits: taps that a thread sums.
        pieces: the pieces that they are in.
        outputs: output channels of a group.
        itemsize: bytes of a number.

    Raises:
        ValueError: a block has no room for one thread.
    """
    found = _blocks(bits, pieces, outputs, itemsize, 1, 0, most_shared())
    if found is None:
        raise ValueError(f"{op}: a block must have shared memory for {bits} taps, got {most_shared()} bytes")
    return found


def blocks_of_sweep(bits: int, pieces: int, outputs: int, itemsize: int, tile: int = 1, ring: int = 0) -> Blocks | None:
    """Return the blocks of a sweep over time; None where a second pass over stored errors is faster.

    Args:
        bits: taps that a thread sums.
        pieces: the pieces that they are in.
        outputs: output channels of a group.
        itemsize: bytes of a number.
        tile: pixels of a tile.
        ring: numbers of shared memory for each tile and output channel.
    """
    found = _blocks(bits, pieces, outputs, itemsize, tile, ring, most_shared())
    return found if found and found.resident >= _LEAST_RESIDENT else None


@lru_cache(maxsize=256)
def _blocks(bits: int, pieces: int, outputs: int, itemsize: int, tile: int, ring: int, most: int) -> Blocks | None:
    best: Blocks | None = None
    parts = -(-outputs // _LANES)
    while best is None or -(-outputs // parts) >= _LEAST_LANES:
        lanes = -(-outputs // parts)
        for tiles in range(1, _THREADS // (tile * lanes) + 1):
            places = tile * tiles
            numbers = places * lanes * (TILE + bits) + tiles * lanes * ring
            shared = itemsize * numbers + 4 * (TILE * places * (2 * pieces + 3) + pieces)
            resident = min(most // (shared + _RESERVED) * places * lanes, _RESIDENT)
            found = Blocks(tiles, lanes, places * lanes, shared, resident)
            if shared <= most and (best is None or _worth(found) > _worth(best)):
                best = found
        if lanes == 1:
            break
        parts *= 2
    return best


def _worth(found: Blocks) -> tuple[float, int]:
    """Return what blocks are compared by: threads at a time, twice where a warp has one window; then 128 threads."""
    return found.resident * (1 + min(found.lanes, WORD) / WORD), -abs(found.threads - 128)


def count_parts(items: int, part_bytes: int) -> int:
    """Return the number of parts of a sum: one an item, or as few as their memory allows, with equal shares."""
    most = max(1, min(items, _PART_BYTES // max(part_bytes, 1), _MOST_BLOCKS))
    return -(-items // -(-items // most))


def add_parts(parts: Array, shape: tuple[int, ...]) -> Array:
    """Return the sum of parts (count, elements), in their order, in a shape."""
    count, size = parts.shape
    if count == 1:
        return parts.reshape(shape)
    sums = empty(parts, shape, parts.dtype)
    grid = (min(-(-size // 32), _MOST_BLOCKS),)
    kernel("add_parts", parts.dtype).launch(grid, (32, _PART_ROWS), 0, parts=parts, sums=sums, count=count, size=size)
    return sums
