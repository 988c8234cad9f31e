"""Arguments of the kernels on packed images by the names of their parameters, and the shapes of their blocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.cuda.launch import contiguous, empty, most_shared
from cuslayer.kernels.spikes.packed import PackedSpikes, words_of

# Warps that a multiprocessor should have at a time, so that one computes while another waits: three a scheduler.
_RESIDENT = 12
# Warps of a block: without shared memory, and those that are tried with it.
WARPS = 4
_WARPS = 4, 8, 16
# Shared memory that the device takes for each block.
_RESERVED = 1 << 10


def image(x: PackedSpikes) -> Mapping[str, int]:
    """Return the size of the images (frames, H, W, C), and the words of a line."""
    height, columns, channels = x.shape[-3:]
    return {"height": height, "columns": columns, "channels": channels, "words": x.words.shape[2]}


def geometry(window: Window) -> Mapping[str, int]:
    """Return kernel size, stride, padding and dilation."""
    names = ("kernel_h", "kernel_w", "down", "across", "top", "left", "gap_h", "gap_w")
    return dict(zip(names, (size for pair in window for size in pair), strict=True))


class Blocks(NamedTuple):
    """The blocks of a launch.

    Attributes:
        groups: groups of warps in a block.
        shared: bytes of shared memory of a block.
        weights: whether the weights are in shared memory.
        option: the number of the bytes that a group has.
    """

    groups: int
    shared: int
    weights: bool
    option: int


def blocks(weights: int, options: Sequence[int] = (0,), warps: int = 1) -> Blocks:
    """Return blocks of which a multiprocessor has many warps at a time.

    Weights in shared memory are preferred to weights in memory, then earlier options to later ones, then small blocks.

    Args:
        weights: the bytes of the weights.
        options: bytes of shared memory that a group of warps may have.
        warps: warps of a group.
    """
    most, reached = most_shared(), 0
    best = Blocks(1, min(options), False, options.index(min(options)))
    for staged in (True, False):
        for option, size in enumerate(options):
            for groups in sorted({max(count // warps, 1) for count in _WARPS}):
                shared = staged * weights + groups * size
                resident = (most + _RESERVED) // (shared + _RESERVED) * groups * warps
                if min(resident, _RESIDENT) > reached:
                    best, reached = Blocks(groups, shared, staged, option), min(resident, _RESIDENT)
    return best


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


def stored_potential(u: Array, dtype: np.dtype[Any], prefix: str = "") -> Mapping[str, Any]:
    """Return a saved potential by the names of the kernels' parameters.

    Args:
        u: the potential, in the kernel's number type or float16.
        dtype: the kernel's number type.
        prefix: of the names; without one, `stored_half` says which of the two arrays the potential is.

    Returns:
        Two arrays of which one is empty, for numbers and for float16.
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
