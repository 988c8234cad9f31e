"""Sum pooling on the CPU; with a weight for each tap, that of weighted.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array, numeric_type
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Window
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.pool.weighted import weight_adjoint, weighted_pool, weighted_pool_adjoint

__all__ = ["adjoint", "forward", "weight_adjoint", "weighted_pool", "weighted_pool_adjoint"]


@compiled
def _pool(first: int, last: int, x: Any, out: Any, window: Any, gain: Any) -> None:
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
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
                        pixel = x[frame, y, z]
                        for c in range(total.size):
                            total[c] += pixel[c]
                for c in range(total.size):
                    total[c] *= gain


@compiled
def _pool_adjoint(first: int, last: int, g: Any, x: Any, window: Any, gain: Any) -> None:
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
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
                        for c in range(total.size):
                            total[c] += error[c]
                for c in range(total.size):
                    total[c] *= gain


@compiled
def _pool_adjoint_of_tiles(first: int, last: int, g: Any, x: Any, window: Any, gain: Any) -> None:
    """Compute `_pool_adjoint` for windows side by side: each pixel is in one window, and nothing is summed."""
    (kernel_h, kernel_w), _, _, _ = window
    for frame in range(first, last):
        for y in range(x.shape[1]):
            for column in range(g.shape[2]):
                error = g[frame, y // kernel_h, column]
                for z in range(column * kernel_w, min((column + 1) * kernel_w, x.shape[2])):
                    pixel = x[frame, y, z]
                    for c in range(pixel.size):
                        pixel[c] = gain * error[c]


def forward(x: Array, window: Window, gain: Any) -> Array:
    """Sum each window of x (frames, H, W, C) channel by channel, times gain; spikes count as float32."""
    dtype = numeric_type(x.dtype)
    out = empty((len(x), *window.outputs(x.shape[1:3], ceil=True), x.shape[3]), dtype)
    numbers = x.view(np.uint8) if x.dtype == bool else x
    parallel_for(_pool, len(x), numbers, out, window, dtype.type(gain), grain=1)
    return out


def adjoint(g: Array, image: tuple[int, int], window: Window, gain: Any) -> Array:
    """Return the gradient of an image (H, W): for each pixel, gain times the sum of its windows' gradients."""
    x = empty((len(g), *image, g.shape[3]), g.dtype)
    kernel = _pool_adjoint_of_tiles if window.tiles else _pool_adjoint
    parallel_for(kernel, len(g), g, x, window, g.dtype.type(gain), grain=1)
    return x
