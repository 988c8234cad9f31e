"""Convolution on the CPU: spike by spike for a list of spikes, matrix products for numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels import matrix
from cuslayer.kernels.constants import Window
from cuslayer.kernels.conv import spikes as conv_spikes
from cuslayer.kernels.conv import winograd
from cuslayer.kernels.conv.spikes import PARTS, bounds
from cuslayer.kernels.host.blas import single_threaded_blas
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.spikes.cpu import SpikeList

# Frames that a thread takes at once, and the bytes of patches that it extracts from them at a time, to fit its cache.
_GRAIN = 16
_PATCH_BYTES = 512 << 10


def forward(x: SpikeList | Array, w: Array, window: Window, groups: int) -> Array:
    """Convolve x (frames, H, W, C) with w (kh, kw, C / groups, outputs) to (frames, rows, columns, outputs)."""
    rows, columns = window.outputs("conv", x.shape[1:3], ceil=False)
    maps = empty((x.shape[0], rows, columns, w.shape[3]), w.dtype)
    if isinstance(x, SpikeList):
        conv_spikes.conv(x, w, window, groups, maps)
    else:
        with single_threaded_blas():
            parallel_for(_conv_of_numbers, len(x), x, w, maps, window, groups, grain=_GRAIN)
    return maps


def weight_adjoint(x: SpikeList | Array, g: Array, window: Window, groups: int, steps: int = 1) -> Array:
    """Return the gradient (kh, kw, C / groups, outputs) of the weight, x (frames, H, W, C), g like the output.

    Frames are ordered by step, then sample. The number of steps determines the order of the sum.
    """
    if isinstance(x, SpikeList):
        return conv_spikes.weight_adjoint(x, g, window, groups, steps)
    parts = np.zeros((PARTS, *window.kernel, x.shape[3] // groups, g.shape[3]), g.dtype)
    with single_threaded_blas():
        parallel_for(_weight_adjoint_of_numbers, PARTS, bounds(len(x)), x, g, parts, window, groups, grain=1)
    return parts.sum(axis=0)


def _conv_of_numbers(first: int, last: int, x: Array, w: Array, maps: Array, window: Window, groups: int) -> None:
    maps[first:last] = matrix.conv(x[first:last], w, window, groups)


def _weight_adjoint_of_numbers(
    first: int, last: int, parts_at: Array, x: Array, g: Array, parts: Array, window: Window, groups: int
) -> None:
    for part in range(first, last):
        mine = slice(parts_at[part], parts_at[part + 1])
        parts[part] = matrix.conv_weight_adjoint(x[mine], g[mine], window, groups)


@compiled
def _scatter(first: int, last: int, patches: Any, x: Any, window: Any) -> None:
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    for frame in range(first, last):
        x[frame] = 0
        for row in range(patches.shape[1]):
            for i in range(kernel_h):
                y = row * down + i * gap_h - top
                if y < 0 or y >= x.shape[1]:
                    continue
                for column in range(patches.shape[2]):
                    for j in range(kernel_w):
                        z = column * across + j * gap_w - left
                        if z < 0 or z >= x.shape[2]:
                            continue
                        pixel = x[frame, y, z]
                        patch = patches[frame, row, column, i, j]
                        for c in range(pixel.size):
                            pixel[c] += patch[c]


def _input_adjoint(first: int, last: int, g: Array, taps: Array, x: Array, window: Window) -> None:
    _, rows, columns, outputs = g.shape
    kernel_h, kernel_w = window.kernel
    step = max(1, _PATCH_BYTES // (rows * columns * taps.shape[1] * g.dtype.itemsize))
    patches = np.empty((step, rows, columns, kernel_h, kernel_w, x.shape[3]), g.dtype)
    for low in range(first, last, step):
        high = min(low + step, last)
        filled = patches[: high - low]
        np.matmul(g[low:high].reshape(-1, outputs), taps, out=filled.reshape(-1, taps.shape[1]))
        _scatter(0, high - low, filled, x[low:high], window)


def input_adjoint(g: Array, w: Array, image: tuple[int, int], window: Window, groups: int) -> Array:
    """Return the gradient (frames, H, W, C) of an image (H, W), g of the shape of the output."""
    if winograd.fits(window, groups):
        return winograd.conv_input_adjoint(g, w, image, window)
    x = empty((len(g), *image, w.shape[2] * groups), g.dtype)
    with single_threaded_blas():
        if groups == 1:
            taps = np.ascontiguousarray(w.reshape(-1, w.shape[3]).T)
            parallel_for(_input_adjoint, len(g), g, taps, x, window, grain=_GRAIN)
        else:
            parallel_for(_input_adjoint_of_groups, len(g), g, w, x, window, groups, grain=_GRAIN)
    return x


def _input_adjoint_of_groups(first: int, last: int, g: Array, w: Array, x: Array, window: Window, groups: int) -> None:
    x[first:last] = matrix.conv_input_adjoint(g[first:last], w, (x.shape[1], x.shape[2]), window, groups)
