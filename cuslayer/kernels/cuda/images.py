"""Arguments of the kernels on packed images by the names of their parameters, and the shapes of their blocks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.cuda.launch import empty, most_shared
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes, words_of

# Warps that a multiprocessor should have at a time, so that one computes while another waits for memory.
_RESIDENT = 16
# Warps of a block: at least, and at most.
_LEAST, MOST = 4, 16


def image(x: PackedSpikes) -> Mapping[str, int]:
    """Return the size of the images (frames, H, W, C), and the words of a line."""
    height, columns, channels = x.shape[-3:]
    return {"height": height, "columns": columns, "channels": channels, "words": x.words.shape[2]}


def geometry(window: Window) -> Mapping[str, int]:
    """Return kernel size, stride, padding and dilation."""
    names = ("kernel_h", "kernel_w", "down", "across", "top", "left", "gap_h", "gap_w")
    return dict(zip(names, (size for pair in window for size in pair), strict=True))


def warps_of_block(shared: int) -> int:
    """Return the number of warps of a block that needs some bytes of shared memory."""
    blocks = most_shared() // max(shared, 1)
    return min(MOST, max(_LEAST, -(-_RESIDENT // max(blocks, 1))))


def fits(shared: int) -> bool:
    """Return whether a block can have some bytes of shared memory."""
    return shared <= most_shared()


def lanes(warps: int) -> tuple[int, int]:
    """Return the shape of a block of some warps."""
    return WORD, warps


class Kept(NamedTuple):
    """Saved potentials: the array that is returned, and the arguments of a kernel."""

    u: Array
    real: Array
    half: Array
    keep: int


def new_potentials(beside: Array, dtype: np.dtype[Any], steps: int, neurons: int, keep: Any) -> Kept:
    """Return an array (steps, neurons) for potentials that are saved as a type; it is empty if the type is None.

    Args:
        beside: an array on the device.
        dtype: the kernel's number type.
        steps: time steps.
        neurons: numbers of a step.
        keep: the kernel's number type, float16, or None.
    """
    nothing, no_half = empty(beside, (0, 0), dtype), empty(beside, (0, 0), np.float16)
    if keep is None:
        return Kept(nothing, nothing, no_half, 0)
    u = empty(beside, (steps, neurons), keep)
    return Kept(u, nothing, u, 2) if u.dtype == np.float16 else Kept(u, u, no_half, 1)


def new_spikes(x: PackedSpikes, frame: tuple[int, int, int]) -> PackedSpikes:
    """Return packed spikes for a kernel to write, as many frames (H, W, C) as x has."""
    rows, columns, channels = frame
    words = empty(x.words, (x.frames, rows, words_of(columns * channels)), np.uint32)
    return PackedSpikes(words, (x.frames, *frame), columns * channels)
