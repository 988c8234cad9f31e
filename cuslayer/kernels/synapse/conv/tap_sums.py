"""Blocks of the kernels that add errors over the spikes of windows, and the sum of their parts: `tap_sums.cuh`."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import TILE, empty, most_shared
from cuslayer.kernels.spikes.packed import WORD

# Threads of a block at most, and of a multiprocessor, by its registers.
_THREADS = 256
_RESIDENT = 384
# With fewer threads on a multiprocessor a second pass over stored errors is faster.
_LEAST_RESIDENT = 64
# Output channels of a block at most.
_LANES = 64
# Bytes that the driver takes of each block's shared memory.
_RESERVED = 1024
# Bytes of all parts at most: they are written and read once.
_PART_BYTES = 24 << 20
# PART_ROWS of conv_adjoint.cu, and threads that add parts.
_PART_ROWS = 16
_ADDERS = 512
# TapBlocks of a launch at most along x.
_MOST_BLOCKS = 1 << 16


class TapBlocks(NamedTuple):
    """The shape of a block."""

    tiles: int  # tiles of a block; a tile is a pooling window, or one pixel
    lanes: int  # output channels of a block, of a group or all of several groups
    across: int  # the blocks for all output channels
    threads: int  # tiles x pixels of a tile x lanes
    shared: int  # bytes of shared memory
    resident: int  # threads of a multiprocessor at a time, as far as shared memory allows


class Sums(NamedTuple):
    """The sums of the threads of a block."""

    bits: int  # taps that a thread sums; 0 for none
    pieces: int  # the number of their bit masks of at most 32 bits
    outputs: int  # output channels of a group
    groups: int
    itemsize: int  # bytes of a number
    tile: int = 1  # pixels of a tile
    ring: int = 0  # numbers of shared memory for each tile and output channel


def sums_of(window: Window, channels: int, outputs: int, groups: int, itemsize: int) -> Sums:
    """Return the sums of a convolution's weight gradient, for the channels and outputs of all groups."""
    runs = 1 if window.dilation[1] == 1 and groups == 1 else window.kernel[1]
    run = window.kernel[1] // runs * (channels // groups)
    return Sums(
        window.kernel[0] * runs * run, window.kernel[0] * runs * -(-run // WORD), outputs // groups, groups, itemsize
    )


def blocks(sums: Sums) -> TapBlocks:
    """Return the blocks with the most threads on a multiprocessor; ValueError if a block has no room for a thread."""
    chosen = _blocks(sums, most_shared())
    if chosen is None:
        raise ValueError(f"a block must have shared memory for {sums.bits} taps, got {most_shared()} bytes")
    return chosen


def blocks_of_sweep(sums: Sums) -> TapBlocks | None:
    """Return the blocks of a sweep over time; None where a second pass over stored errors is faster."""
    chosen = _blocks(sums, most_shared())
    return chosen if chosen and chosen.resident >= _LEAST_RESIDENT else None


@lru_cache(maxsize=256)
def _blocks(sums: Sums, most: int) -> TapBlocks | None:
    best: TapBlocks | None = None
    for lanes, together, across in _lanes(sums.outputs, sums.groups):
        for tiles in range(1, _THREADS // (sums.tile * lanes) + 1):
            windows = sums.tile * tiles * together
            threads = sums.tile * tiles * lanes
            numbers = threads * (TILE + sums.bits) + tiles * lanes * sums.ring
            shared = sums.itemsize * numbers + 4 * (TILE * windows * (2 * sums.pieces + 3) + sums.pieces)
            resident = min(most // (shared + _RESERVED) * threads, _RESIDENT)
            candidate = TapBlocks(tiles, lanes, across, threads, shared, resident)
            if shared <= most and (best is None or _worth(candidate) > _worth(best)):
                best = candidate
    return best


def _lanes(outputs: int, groups: int) -> Iterator[tuple[int, int, int]]:
    """Yield the output channels that a block may have, their groups, and the blocks for all channels."""
    for together in range(2, min(groups, _LANES // outputs) + 1):
        yield together * outputs, together, -(-groups // together)
    parts = -(-outputs // _LANES)
    while True:
        lanes = -(-outputs // parts)
        yield lanes, 1, groups * -(-outputs // lanes)
        if lanes == 1:
            return
        parts *= 2


def _worth(block: TapBlocks) -> tuple[float, int]:
    """Return the worth of blocks: threads at a time, twice where a warp has one window; then 128 threads."""
    return block.resident * (1 + min(block.lanes, WORD) / WORD), -abs(block.threads - 128)


def count_parts(items: int, part_bytes: int) -> int:
    """Return the number of parts of a sum: one for each item, or as few as memory allows, with equal shares."""
    most = max(1, min(items, _PART_BYTES // max(part_bytes, 1), _MOST_BLOCKS))
    return -(-items // -(-items // most))


class Parts(NamedTuple):
    """A sum that a later kernel adds."""

    parts: Array  # (count, elements)
    shape: tuple[int, ...]

    @property
    def blocks(self) -> int:
        """The blocks that add the parts."""
        return -(-self.parts.shape[1] // WORD)

    def arguments(self) -> tuple[Array, dict[str, Any]]:
        """Return the sum, which is not computed yet, and the arguments of a kernel that computes it."""
        sums = empty(self.parts, self.shape, self.parts.dtype)
        return sums, {"parts": self.parts, "sums": sums}


def later(parts: Array, shape: tuple[int, ...]) -> Parts | Array:
    """Return the sum of parts (count, elements) for a launch that adds them; a single part unchanged."""
    return parts.reshape(shape) if len(parts) == 1 else Parts(parts, shape)


def add_parts(parts: Array, shape: tuple[int, ...]) -> Array:
    """Return the sum of parts (count, elements), in their order, in a shape."""
    total = later(parts, shape)
    if not isinstance(total, Parts):
        return total
    sums, arguments = total.arguments()
    dtype = total.parts.dtype
    shared = _PART_ROWS * (WORD + 1) * dtype.itemsize
    kernel("add_parts", dtype).launch((total.blocks,), (_ADDERS,), shared, **arguments)
    return sums
