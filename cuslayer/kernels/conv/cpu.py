"""Convolution on the CPU: spike by spike for a list of spikes; for numbers, matrix products of patches.

It copies the patches of a few frames, or of a few rows of one, at a time, as many as fit in a core's second cache.

A matrix product of few columns is slow, as are loops over few channels. A convolution of 16 groups of one channel would
take many times as long as one of 16 channels. As one group they have a weight that is 0 between them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from cuslayer._base.jit import compiled, parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.conv import spikes as conv_spikes
from cuslayer.kernels.conv import weight_sums
from cuslayer.kernels.conv.spikes import FULL
from cuslayer.kernels.conv.weight_sums import bounds
from cuslayer.kernels.conv.winograd import input_adjoint
from cuslayer.kernels.dense.cpu import single_threaded_blas
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.spikes.cpu import SpikeList

__all__ = ["forward", "input_adjoint", "weight_adjoint"]

_PATCH_BYTES = 512 << 10


def merged(inputs: int, outputs: int, groups: int) -> int:
    """Return how many groups of so many channels and outputs to compute as one: a divisor of their number."""
    enough = (n for n in range(1, groups) if groups % n == 0 and n * min(inputs, outputs) >= FULL)
    return next(enough, groups)


def merge(w: Array, groups: int, count: int) -> Array:
    """Return the weight (kh, kw, count C / groups, outputs) of groups / count groups, 0 between the old groups."""
    kernel, inputs, outputs = w.shape[:2], w.shape[2], w.shape[3] // groups
    parts = w.reshape(*kernel, inputs, groups // count, count, outputs)
    whole = np.zeros((*kernel, count, inputs, groups // count, count, outputs), w.dtype)
    for member in range(count):
        whole[:, :, member, :, :, member] = parts[:, :, :, :, member]
    return whole.reshape(*kernel, count * inputs, groups * outputs)


def split(w: Array, groups: int, count: int) -> Array:
    """Return the gradient of a weight from the gradient of the weight of `merge`, without the parts between groups."""
    kernel, inputs, outputs = w.shape[:2], w.shape[2] // count, w.shape[3] // groups
    whole = w.reshape(*kernel, count, inputs, groups // count, count, outputs)
    parts = [whole[:, :, member, :, :, member] for member in range(count)]
    return np.stack(parts, axis=4).reshape(*kernel, inputs, groups * outputs)


class _Shape(NamedTuple):
    """The window and the sizes of a convolution's patches."""

    window: Window
    groups: int
    # Channels and outputs of a group.
    inputs: int
    outputs: int
    rows: int
    columns: int
    # Frames, and rows of each, whose patches are copied at once: several frames, or a part of one.
    frames_at_once: int
    rows_at_once: int

    @classmethod
    def of(cls, window: Window, groups: int, w: tuple[int, ...], out: tuple[int, ...], itemsize: int) -> _Shape:
        rows, columns = out[1:3]
        of_a_row = max(1, columns * math.prod(w[:3]) * groups * itemsize)
        at_once = max(1, _PATCH_BYTES // of_a_row)
        # A power of two divides the chunks of a long input: for other numbers of rows BLAS rounds differently.
        frames = min(256, 1 << max(1, at_once // max(1, rows)).bit_length() - 1)
        return cls(window, groups, w[2], w[3] // groups, rows, columns, frames, min(rows, at_once))

    @property
    def taps(self) -> int:
        """The numbers of a patch within a group."""
        return math.prod(self.window.kernel) * self.inputs

    def space(self, dtype: Any) -> Array:
        """Return memory for the patches (groups, windows, kh, kw x inputs) that are copied at once."""
        kernel_h, kernel_w = self.window.kernel
        windows = self.frames_at_once * self.rows_at_once * self.columns
        return empty((self.groups, windows, kernel_h, kernel_w * self.inputs), dtype)

    def blocks(self, first: int, last: int) -> Iterator[tuple[slice, slice, int]]:
        """Yield the frames and rows of each block, and the number of its windows."""
        for low in range(first, last, self.frames_at_once):
            high = min(low + self.frames_at_once, last)
            for top in range(0, self.rows, self.rows_at_once):
                end = min(top + self.rows_at_once, self.rows)
                yield slice(low, high), slice(top, end), (high - low) * (end - top) * self.columns

    def matrix(self, maps: Array, frames: slice, rows: slice, group: int) -> Array:
        """Return the outputs of a group in a block of maps (frames, rows, columns, outputs) as a matrix, a view."""
        whole = maps[frames, rows].reshape(-1, maps.shape[3])
        return whole[:, group * self.outputs : (group + 1) * self.outputs]


@compiled
def _inside(z: int, run: int, width: int) -> tuple[int, int]:
    """Return which pixels of z .. z + run - 1 lie in an image of a width, as a range of 0 .. run."""
    low = min(max(0, -z), run)
    return low, max(low, min(run, width - z))


@compiled
def _copy(x: Any, width: int, top: int, end: int, columns: int, window: Any, patches: Any) -> None:
    """Copy the windows of the rows [top, end) of x to patches (groups, windows, kh, kw x channels of a group)."""
    (kernel_h, kernel_w), (down, across), (above, left), (gap_h, gap_w) = window
    groups, inputs = patches.shape[0], patches.shape[3] // kernel_w
    run = kernel_w if gap_w == 1 and groups == 1 else 1
    for frame in range(x.shape[0]):
        for row in range(top, end):
            for i in range(kernel_h):
                y = row * down + i * gap_h - above
                for column in range(columns):
                    number = (frame * (end - top) + row - top) * columns + column
                    for group in range(groups):
                        patch = patches[group, number, i]
                        if y < 0 or y >= x.shape[1]:
                            patch[:] = 0
                            continue
                        line = x[frame, y]
                        for j in range(0, kernel_w, run):
                            z = column * across + j * gap_w - left
                            low, high = _inside(z, run, width)
                            if high - low < run:
                                patch[j * inputs : (j + run) * inputs] = 0
                            at = ((z + low) * groups + group) * inputs
                            pixels = line[at : at + (high - low) * inputs]
                            tap = patch[(j + low) * inputs : (j + high) * inputs]
                            for c in range(tap.size):
                                tap[c] = pixels[c]


def _lines(x: Array) -> Array:
    """Return images (frames, H, W, C) as (frames, H, W x C)."""
    return x.reshape(x.shape[0], x.shape[1], x.shape[2] * x.shape[3])


def _product(a: Array, b: Array, out: Array) -> None:
    with np.errstate(over="ignore", invalid="ignore"):  # as the compiled kernels, on every thread
        np.matmul(a, b, out=out)


def _conv(first: int, last: int, x: Array, taps: Array, maps: Array, shape: _Shape) -> None:
    patches, step = shape.space(maps.dtype), shape.frames_at_once
    for frames, rows, count in shape.blocks(first * step, min(last * step, len(x))):
        _copy(_lines(x[frames]), x.shape[2], rows.start, rows.stop, shape.columns, shape.window, patches)
        for group in range(shape.groups):
            found = shape.matrix(maps, frames, rows, group)
            _product(patches[group, :count].reshape(count, shape.taps), taps[group], found)


def by_patches(x: Array, w: Array, window: Window, groups: int) -> Array:
    """Convolve x (frames, H, W, C) with w (kh, kw, C / groups, outputs) to (frames, rows, columns, outputs)."""
    maps = empty((len(x), *window.outputs(x.shape[1:3], ceil=False), w.shape[3]), w.dtype)
    shape = _Shape.of(window, groups, w.shape, maps.shape, w.itemsize)
    x, taps = np.ascontiguousarray(x, w.dtype), _of_groups(w, shape)
    with single_threaded_blas():
        parallel_for(_conv, -(-len(x) // shape.frames_at_once), x, taps, maps, shape, grain=1)
    return maps


def _of_groups(w: Array, shape: _Shape) -> Array:
    """Return a weight (kh, kw, C / groups, outputs) as matrices (groups, taps, outputs of a group)."""
    return np.ascontiguousarray(w.reshape(shape.taps, shape.groups, shape.outputs).swapaxes(0, 1))


def _add_gradients(first: int, last: int, parts_at: Array, x: Array, g: Array, parts: Array, shape: _Shape) -> None:
    patches, found = shape.space(g.dtype), np.empty(parts.shape[2:], g.dtype)
    for part in range(first, last):
        for frames, rows, count in shape.blocks(parts_at[part], parts_at[part + 1]):
            _copy(_lines(x[frames]), x.shape[2], rows.start, rows.stop, shape.columns, shape.window, patches)
            for group in range(shape.groups):
                errors = shape.matrix(g, frames, rows, group)
                _product(patches[group, :count].reshape(count, shape.taps).T, errors, found)
                parts[part, group] += found


def weight_adjoint_by_patches(x: Array, g: Array, window: Window, groups: int) -> Array:
    """Return the gradient (kh, kw, C / groups, outputs) of the weight, x (frames, H, W, C), g like the output."""
    w = *window.kernel, x.shape[3] // groups, g.shape[3]
    shape = _Shape.of(window, groups, w, g.shape, g.itemsize)
    x, g = np.ascontiguousarray(x, g.dtype), np.ascontiguousarray(g)
    parts_at = bounds(len(x))
    parts = np.zeros((len(parts_at) - 1, groups, shape.taps, shape.outputs), g.dtype)
    with single_threaded_blas():
        parallel_for(_add_gradients, len(parts), parts_at, x, g, parts, shape, grain=1)
    return np.ascontiguousarray(parts.sum(axis=0).swapaxes(0, 1)).reshape(w)


def forward(x: SpikeList | Array, w: Array, window: Window, groups: int) -> Array:
    """Convolve x (frames, H, W, C) with w (kh, kw, C / groups, outputs) to (frames, rows, columns, outputs)."""
    if not isinstance(x, SpikeList):
        together = merged(w.shape[2], w.shape[3] // groups, groups)
        return by_patches(x, merge(w, groups, together), window, groups // together)
    rows, columns = window.outputs(x.shape[1:3], ceil=False)
    maps = empty((x.shape[0], rows, columns, w.shape[3]), w.dtype)
    conv_spikes.conv(x, w, window, groups, maps)
    return maps


def weight_adjoint(x: SpikeList | Array, g: Array, window: Window, groups: int, steps: int = 1) -> Array:
    """Return the gradient (kh, kw, C / groups, outputs) of the weight, x (frames, H, W, C), g like the output.

    Frames are ordered by step, then sample. The number of steps determines the order of the sum.
    """
    if isinstance(x, SpikeList):
        return weight_sums.weight_adjoint(x, g, window, groups, steps)
    together = merged(x.shape[3] // groups, g.shape[3] // groups, groups)
    return split(weight_adjoint_by_patches(x, g, window, groups // together), groups, together)
