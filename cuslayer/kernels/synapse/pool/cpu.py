"""Sum and maximum pooling on the CPU; a sum has a gain for all or a weight for each tap of the window.

A window's terms are added in the order of its taps, as on a GPU, without pixels beyond the edges of an image.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer._base.jit import compiled, inlined
from cuslayer._base.parallel import parallel_for
from cuslayer.backend import Array, numeric_type
from cuslayer.kernels.constants import Window, lowest
from cuslayer.kernels.host.llvm import chosen
from cuslayer.kernels.host.memory import empty

__all__ = [
    "adjoint",
    "forward",
    "max_pool",
    "max_pool_adjoint",
    "weight_adjoint",
    "weighted_pool",
    "weighted_pool_adjoint",
]

# From so many channels on, a sum over the channels of a pixel fills a vector.
_MANY_CHANNELS = 8
# So many rows of a window are counted in uint8.
_COUNTED = 255


@inlined
def _add(total: Any, pixel: Any, weight: Any, weighted: bool) -> None:
    """Add a pixel to a sum, times its weight if there are weights."""
    if weighted:
        for c in range(total.size):
            total[c] += weight * total.dtype.type(pixel[c])
    else:
        for c in range(total.size):
            total[c] += pixel[c]


@compiled
def _pool(first: int, last: int, x: Array, w: Array, out: Array, window: Window, gain: float) -> None:
    """Sum windows times their taps w (kh, kw); without taps, (0, 0), times the gain."""
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    weighted = w.size > 0
    real = out.dtype.type
    for frame in range(first, last):
        for row in range(out.shape[1]):
            for column in range(out.shape[2]):
                total = out[frame, row, column]
                total[:] = 0
                for i in range(kernel_h):
                    y = row * down + i * gap_h - top
                    if y < 0 or y >= x.shape[1]:
                        continue
                    for j in range(kernel_w):
                        z = column * across + j * gap_w - left
                        if z < 0 or z >= x.shape[2]:
                            continue
                        _add(total, x[frame, y, z], w[i, j] if weighted else real(1), weighted)
                for c in range(0 if weighted else total.size):
                    total[c] *= gain


@compiled
def _pool_spikes(first: int, last: int, x: Array, out: Array, window: Window, gain: float) -> None:
    """Count the spikes x (frames, rows, columns channels) of windows, times the gain: by columns, then of windows."""
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    channels = out.shape[3]
    width = x.shape[2] // channels
    counts = np.empty(x.shape[2], np.uint8)
    for frame in range(first, last):
        for row in range(out.shape[1]):
            counts[:] = 0
            for i in range(kernel_h):
                y = row * down + i * gap_h - top
                if y < 0 or y >= x.shape[1]:
                    continue
                for k in range(counts.size):
                    counts[k] += x[frame, y, k]
            total = out[frame, row].reshape(-1)
            total[:] = 0
            for j in range(kernel_w):
                begin = j * gap_w - left
                # The columns whose tap is within the image.
                least, end = max(0, -(begin // across)), min(out.shape[2], -((begin - width) // across))
                for c in range(channels):
                    for column in range(least, end):
                        at = np.uint64((begin + column * across) * channels + c)
                        total[np.uint64(column * channels + c)] += counts[at]
            for k in range(total.size):
                total[k] *= gain


@compiled
def _pool_adjoint(first: int, last: int, g: Array, w: Array, x: Array, window: Window, gain: float) -> None:
    """Sum for each pixel the errors of its windows, times taps or the gain as in `_pool`."""
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    weighted = w.size > 0
    real = x.dtype.type
    for frame in range(first, last):
        for y in range(x.shape[1]):
            for z in range(x.shape[2]):
                total = x[frame, y, z]
                total[:] = 0
                for i in range(kernel_h):
                    row = y + top - i * gap_h
                    if row < 0 or row % down or row // down >= g.shape[1]:
                        continue
                    for j in range(kernel_w):
                        column = z + left - j * gap_w
                        if column < 0 or column % across or column // across >= g.shape[2]:
                            continue
                        error = g[frame, row // down, column // across]
                        _add(total, error, w[i, j] if weighted else real(1), weighted)
                for c in range(0 if weighted else total.size):
                    total[c] *= gain


@compiled
def _pool_adjoint_of_tiles(first: int, last: int, g: Array, x: Array, window: Window, gain: float) -> None:
    """Compute `_pool_adjoint` for windows that tile the image: each pixel is in one window, so nothing is summed."""
    (kernel_h, kernel_w), _, _, _ = window
    for frame in range(first, last):
        for y in range(x.shape[1]):
            for column in range(g.shape[2]):
                error = g[frame, y // kernel_h, column]
                for z in range(column * kernel_w, min((column + 1) * kernel_w, x.shape[2])):
                    pixel = x[frame, y, z]
                    for c in range(pixel.size):
                        pixel[c] = gain * error[c]


@compiled
def _weight_adjoint(first: int, last: int, x: Array, g: Array, parts: Array, window: Window) -> None:
    """A part is the sum of a frame, each channel by itself: its bits do not depend on the number of cores."""
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    sums = np.empty((kernel_h * kernel_w, g.shape[3]), g.dtype)
    for frame in range(first, last):
        sums[:] = 0
        for row in range(g.shape[1]):
            for column in range(g.shape[2]):
                error = g[frame, row, column]
                for i in range(kernel_h):
                    y = row * down + i * gap_h - top
                    if y < 0 or y >= x.shape[1]:
                        continue
                    for j in range(kernel_w):
                        z = column * across + j * gap_w - left
                        if z < 0 or z >= x.shape[2]:
                            continue
                        pixel = x[frame, y, z]
                        total = sums[i * kernel_w + j]
                        for c in range(error.size):
                            total[c] += pixel[c] * error[c]
        for tap in range(len(sums)):
            total = 0.0
            for c in range(g.shape[3]):
                total += sums[tap, c]
            parts[frame, tap] = total


@compiled
def _max_pool(first: int, last: int, x: Array, least: float, y: Array, place: Array, window: Window) -> None:
    """Write the largest pixels and their taps; the last taps come first, so that the first of equal ones wins."""
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    for frame in range(first, last):
        for row in range(y.shape[1]):
            for column in range(y.shape[2]):
                largest = y[frame, row, column]
                taps = place[frame, row, column]
                largest[:] = least
                taps[:] = 0
                for i in range(kernel_h - 1, -1, -1):
                    line = row * down + i * gap_h - top
                    if line < 0 or line >= x.shape[1]:
                        continue
                    for j in range(kernel_w - 1, -1, -1):
                        z = column * across + j * gap_w - left
                        if z < 0 or z >= x.shape[2]:
                            continue
                        pixel = x[frame, line, z]
                        tap = place.dtype.type(i * kernel_w + j)
                        for c in range(pixel.size):
                            value = pixel[c]
                            before = largest[c]
                            wins = (value >= before) | (value != value)
                            largest[c] = chosen(value, before, wins)
                            taps[c] = chosen(tap, taps[c], wins)


@compiled
def _max_pool_adjoint(first: int, last: int, g: Array, place: Array, x: Array, window: Window) -> None:
    """Add the error of each window to its largest pixel."""
    nothing = x.dtype.type(0)
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    for frame in range(first, last):
        x[frame] = 0
        for row in range(g.shape[1]):
            for column in range(g.shape[2]):
                error = g[frame, row, column]
                taps = place[frame, row, column]
                for i in range(kernel_h):
                    line = row * down + i * gap_h - top
                    if line < 0 or line >= x.shape[1]:
                        continue
                    for j in range(kernel_w):
                        z = column * across + j * gap_w - left
                        if z < 0 or z >= x.shape[2]:
                            continue
                        pixel = x[frame, line, z]
                        tap = place.dtype.type(i * kernel_w + j)
                        for c in range(pixel.size):
                            pixel[c] += chosen(error[c], nothing, taps[c] == tap)


def forward(x: Array, window: Window, gain: float, *, ceil: bool = True) -> Array:
    """Sum each window of x (frames, H, W, C) channel by channel, times gain; spikes count as float32."""
    dtype = numeric_type(x.dtype)
    out = empty((len(x), *window.outputs(x.shape[1:3], ceil=ceil), x.shape[3]), dtype)
    of_all = dtype.type(gain)
    if x.dtype == bool and x.shape[3] < _MANY_CHANNELS and window.kernel[0] <= _COUNTED:
        lines = np.ascontiguousarray(x).view(np.uint8).reshape(*x.shape[:2], x.shape[2] * x.shape[3])
        parallel_for(_pool_spikes, len(x), lines, out, window, of_all, grain=1)
    else:
        numbers = x.view(np.uint8) if x.dtype == bool else x
        parallel_for(_pool, len(x), numbers, np.empty((0, 0), dtype), out, window, of_all, grain=1)
    return out


def adjoint(g: Array, image: tuple[int, int], window: Window, gain: float) -> Array:
    """Return the gradient of an image (H, W): for each pixel, gain times the sum of its windows' gradients."""
    x = empty((len(g), *image, g.shape[3]), g.dtype)
    of_all = g.dtype.type(gain)
    if window.tiles and all(size <= n * k for size, n, k in zip(image, g.shape[1:3], window.kernel, strict=True)):
        parallel_for(_pool_adjoint_of_tiles, len(g), g, x, window, of_all, grain=1)
    else:
        parallel_for(_pool_adjoint, len(g), g, np.empty((0, 0), g.dtype), x, window, of_all, grain=1)
    return x


def weighted_pool(x: Array, w: Array, window: Window) -> Array:
    """Sum each window of x (frames, H, W, C) channel by channel, with a weight w (kh, kw) for each tap."""
    out = empty((len(x), *window.outputs(x.shape[1:3], ceil=True), x.shape[3]), x.dtype)
    parallel_for(_pool, len(x), x, w, out, window, x.dtype.type(1), grain=1)
    return out


def weighted_pool_adjoint(g: Array, w: Array, image: tuple[int, int], window: Window) -> Array:
    """Return the gradient of an image (H, W) in `weighted_pool`, g (frames, rows, columns, C)."""
    x = empty((len(g), *image, g.shape[3]), g.dtype)
    parallel_for(_pool_adjoint, len(g), g, w, x, window, g.dtype.type(1), grain=1)
    return x


def weight_adjoint(x: Array, g: Array, window: Window) -> Array:
    """Return the gradient (kh, kw) of the weight in `weighted_pool`, x (frames, H, W, C), g like the output."""
    parts = np.empty((len(g), window.kernel[0] * window.kernel[1]))
    parallel_for(_weight_adjoint, len(g), x, g, parts, window, grain=1)
    return parts.sum(axis=0).reshape(window.kernel).astype(g.dtype)


def max_pool(x: Array, window: Window) -> tuple[Array, Array]:
    """Return the largest pixel of each window of x (frames, H, W, C) channel by channel, and its tap in row order."""
    shape = len(x), *window.outputs(x.shape[1:3], ceil=False), x.shape[3]
    y = empty(shape, x.dtype)
    place = empty(shape, window.tap_type)
    numbers, largest = (a.view(np.uint8) if a.dtype == bool else a for a in (x, y))
    parallel_for(_max_pool, len(x), numbers, lowest(numbers.dtype), largest, place, window, grain=1)
    return y, place


def max_pool_adjoint(g: Array, place: Array, image: tuple[int, int], window: Window) -> Array:
    """Return the gradient of an image (H, W) in `max_pool`, g and place (frames, rows, columns, C)."""
    x = empty((len(g), *image, g.shape[3]), g.dtype)
    parallel_for(_max_pool_adjoint, len(g), g, place, x, window, grain=1)
    return x
