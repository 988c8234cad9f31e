"""Arguments of the kernels of images, with the structs of images.cuh, and the shapes of their blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array, DType
from cuslayer.kernels.constants import Window
from cuslayer.kernels.cuda.launch import contiguous, empty, most_shared
from cuslayer.kernels.spikes.packed import PackedSpikes, words_of

# Warps that a multiprocessor should have at a time, so that one computes while another waits: three a scheduler.
_RESIDENT = 12
# Warps of a block: without shared memory, and the numbers tried with it.
WARPS = 4
_WARPS = 4, 8, 16
# Shared memory that the device takes for each block.
_RESERVED = 1 << 10
# Values of an image.
_MOST_VALUES = (1 << 31) - 1


def image_of(x: PackedSpikes | Array) -> Mapping[str, int]:
    """Return the struct `Image`, the size of images (frames, H, W, C), and the words of a line of spikes."""
    return _frames("height", x)


def map_of(x: PackedSpikes | Array) -> Mapping[str, int]:
    """Return the struct `Map` of an output (frames, rows, columns, channels)."""
    return _frames("rows", x)


def _frames(lines: str, x: PackedSpikes | Array) -> Mapping[str, int]:
    rows, columns, channels = x.shape[-3:]
    # Kernels compute places in a frame with 32 bits.
    if rows * columns * channels > _MOST_VALUES:
        raise ValueError(
            f"an image on a GPU must have at most {_MOST_VALUES} values, got {rows} x {columns} x {channels}"
        )
    words = x.words.shape[2] if isinstance(x, PackedSpikes) else 0
    return {lines: rows, "columns": columns, "channels": channels, "words": words}


@cache
def struct_of(window: Window) -> Mapping[str, int]:
    """Return the struct `Window`."""
    names = ("kernel_h", "kernel_w", "down", "across", "top", "left", "gap_h", "gap_w")
    return dict(zip(names, (size for pair in window for size in pair), strict=True))


def places(x: PackedSpikes | Array, y: PackedSpikes | Array, window: Window) -> dict[str, Mapping[str, int]]:
    """Return the structs of a window between images x and outputs y, by the names of the kernels' parameters."""
    return {"image": image_of(x), "map": map_of(y), "window": struct_of(window)}


class ImageBlocks(NamedTuple):
    """The blocks of a launch."""

    groups: int  # warps of a block
    shared: int  # bytes of shared memory of a block
    weights: bool  # whether the weights are in shared memory
    option: int  # the number of the option for the bytes of a warp


def blocks(weights: int, options: Sequence[int]) -> ImageBlocks:
    """Return blocks that give a multiprocessor many warps at a time, for bytes of weights, and of a warp by options.

    Weights in shared memory are preferred to weights in memory, then earlier options to later ones, then small blocks.
    """
    most = most_shared()
    reached = 0
    best = ImageBlocks(1, min(options), False, options.index(min(options)))
    for staged in (True, False):
        for option, size in enumerate(options):
            for groups in _WARPS:
                shared = staged * weights + groups * size
                resident = (most + _RESERVED) // (shared + _RESERVED) * groups
                if min(resident, _RESIDENT) > reached:
                    best = ImageBlocks(groups, shared, staged, option)
                    reached = min(resident, _RESIDENT)
    return best


class Kept(NamedTuple):
    """Saved potentials: the array to return, and the arguments of a kernel."""

    u: Array
    real: Array
    half: Array
    keep: int


def new_potentials(beside: Array, dtype: DType, steps: int, neurons: int, keep: DType | None) -> Kept:
    """Return an array (steps, neurons) for potentials saved as a type; it is empty if the type is None."""
    nothing = empty(beside, (0, 0), dtype)
    no_half = empty(beside, (0, 0), np.float16)
    if keep is None:
        return Kept(nothing, nothing, no_half, 0)
    u = empty(beside, (steps, neurons), keep)
    return Kept(u, nothing, u, 2) if u.dtype == np.float16 else Kept(u, u, no_half, 1)


def stored_potential(u: Array, dtype: DType, prefix: str = "") -> Mapping[str, Any]:
    """Return a saved potential by the names of the kernels' parameters: an array of numbers, and one of float16.

    One of them is empty; without a prefix of the names, `stored_half` says which is the potential.
    """
    half = u.dtype == np.float16
    real = empty(u, (0,), dtype) if half else contiguous(u)
    bits = contiguous(u) if half else empty(u, (0,), np.float16)
    return {f"{prefix}u": real, f"{prefix}half": bits, **({} if prefix else {"stored_half": half})}


def new_spikes(x: PackedSpikes, frame: tuple[int, int, int]) -> PackedSpikes:
    """Return packed spikes for a kernel to write, as many frames (H, W, C) as x has."""
    rows, columns, channels = frame
    words = empty(x.words, (x.frames, rows, words_of(columns * channels)), np.uint32)
    return PackedSpikes(words, (x.frames, *frame), columns * channels)
