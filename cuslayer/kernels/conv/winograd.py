"""The input gradient of a convolution by 3 x 3 windows, with 16 multiplications where the sum has 36.

The gradient of an image is itself a convolution: of the errors with the flipped window. Winograd's F(2 x 2, 3 x 3)
gives four of its pixels, a tile, from the 4 x 4 errors around them: with constant matrices B, G and A, the tile is
``A' [(G w G') * (B' d B)] A``, the product ``*`` being element by element. Summed over the channels, each of the 16
elements becomes a matrix product. B and A hold 0 and +-1, G besides 1/2: float32 loses no more than the sum does.

Source: Lavin and Gray 2016, arXiv 1509.09308, section 4.1.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Window
from cuslayer.kernels.host.blas import single_threaded_blas
from cuslayer.kernels.host.memory import empty

# Frames that a thread takes at once, and how many bytes of tiles it makes of them at a time: what its cache holds.
_GRAIN = 16
_TILE_BYTES = 512 << 10
_G = np.array([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])


def fits(window: Window, groups: int) -> bool:
    """Return whether a convolution is one of those whose gradient is computed here."""
    return groups == 1 and window.kernel == (3, 3) and window.stride == (1, 1) and window.dilation == (1, 1)


@compiled
def _cut(g: Any, top: int, left: int, lines: Any, tiles: Any, rows: int, columns: int) -> None:
    """Write ``B' d B`` of each tile of g (frames, H, W, outputs) into tiles (16, frames x rows x columns, outputs).

    lines (4, 2 columns + 2, outputs) holds ``B' d`` of a row of tiles; what of it lies outside g stays 0.
    """
    frames, height, width, outputs = g.shape
    nothing = np.zeros(width * outputs, g.dtype)
    begin, end = max(0, 2 - left), min(lines.shape[1], width + 2 - left)
    source = slice(begin + left - 2, end + left - 2)
    lines[:] = 0
    flat = lines.reshape(4, lines.shape[1] * outputs)
    inside = slice(begin * outputs, end * outputs)
    for frame in range(frames):
        for row in range(rows):
            y = 2 * row + top - 2
            d0 = g[frame, y, source].reshape(-1) if 0 <= y < height else nothing
            d1 = g[frame, y + 1, source].reshape(-1) if 0 <= y + 1 < height else nothing
            d2 = g[frame, y + 2, source].reshape(-1) if 0 <= y + 2 < height else nothing
            d3 = g[frame, y + 3, source].reshape(-1) if 0 <= y + 3 < height else nothing
            l0, l1, l2, l3 = flat[0, inside], flat[1, inside], flat[2, inside], flat[3, inside]
            for j in range(l0.size):
                e0, e1, e2, e3 = d0[j], d1[j], d2[j], d3[j]
                l0[j] = e0 - e2
                l1[j] = e1 + e2
                l2[j] = e2 - e1
                l3[j] = e1 - e3
            for i in range(4):
                for column in range(columns):
                    tile = (frame * rows + row) * columns + column
                    s0, s1 = lines[i, 2 * column], lines[i, 2 * column + 1]
                    s2, s3 = lines[i, 2 * column + 2], lines[i, 2 * column + 3]
                    t0, t1 = tiles[4 * i, tile], tiles[4 * i + 1, tile]
                    t2, t3 = tiles[4 * i + 2, tile], tiles[4 * i + 3, tile]
                    for j in range(outputs):
                        e0, e1, e2, e3 = s0[j], s1[j], s2[j], s3[j]
                        t0[j] = e0 - e2
                        t1[j] = e1 + e2
                        t2[j] = e2 - e1
                        t3[j] = e1 - e3


@compiled
def _join(m: Any, x: Any, rows: int, columns: int) -> None:
    """Write ``A' m A`` of each tile of m (16, frames x rows x columns, C) into x (frames, H, W, C), as it fits."""
    frames, height, width, channels = x.shape
    for frame in range(frames):
        for row in range(rows):
            for column in range(columns):
                t = (frame * rows + row) * columns + column
                below, right = 2 * row + 1 < height, 2 * column + 1 < width
                pixel = x[frame, 2 * row, 2 * column]
                for c in range(channels):
                    pixel[c] = (
                        (m[0, t, c] + m[1, t, c] + m[2, t, c])
                        + (m[4, t, c] + m[5, t, c] + m[6, t, c])
                        + (m[8, t, c] + m[9, t, c] + m[10, t, c])
                    )
                if right:
                    pixel = x[frame, 2 * row, 2 * column + 1]
                    for c in range(channels):
                        pixel[c] = (
                            (m[1, t, c] - m[2, t, c] - m[3, t, c])
                            + (m[5, t, c] - m[6, t, c] - m[7, t, c])
                            + (m[9, t, c] - m[10, t, c] - m[11, t, c])
                        )
                if below:
                    pixel = x[frame, 2 * row + 1, 2 * column]
                    for c in range(channels):
                        pixel[c] = (
                            (m[4, t, c] + m[5, t, c] + m[6, t, c])
                            - (m[8, t, c] + m[9, t, c] + m[10, t, c])
                            - (m[12, t, c] + m[13, t, c] + m[14, t, c])
                        )
                if below and right:
                    pixel = x[frame, 2 * row + 1, 2 * column + 1]
                    for c in range(channels):
                        pixel[c] = (
                            (m[5, t, c] - m[6, t, c] - m[7, t, c])
                            - (m[9, t, c] - m[10, t, c] - m[11, t, c])
                            - (m[13, t, c] - m[14, t, c] - m[15, t, c])
                        )


def _part(first: int, last: int, g: Array, taps: Array, x: Array, padding: tuple[int, int]) -> None:
    rows, columns = -(-x.shape[1] // 2), -(-x.shape[2] // 2)
    outputs, channels = taps.shape[1:]
    step = _TILE_BYTES // max(1, 16 * rows * columns * outputs * g.dtype.itemsize) + 1
    lines = empty((4, 2 * columns + 2, outputs), g.dtype)
    # One tile too many: at distances of a power of two, the 16 would push one another out of the first cache.
    room = min(step, last - first) * rows * columns + 1
    tiles, products = empty((16, room, outputs), g.dtype), empty((16, room, channels), g.dtype)
    for low in range(first, last, step):
        high = min(low + step, last)
        count = (high - low) * rows * columns
        _cut(g[low:high], *padding, lines, tiles, rows, columns)
        np.matmul(tiles[:, :count], taps, out=products[:, :count])
        _join(products, x[low:high], rows, columns)


def conv_input_adjoint(g: Array, w: Array, image: tuple[int, int], window: Window) -> Array:
    """Return the gradient (frames, H, W, C) of an image (H, W), w (3, 3, C, outputs), g as conv returns.

    The windows step by one and have no gaps.
    """
    x = empty((len(g), *image, w.shape[2]), g.dtype)
    flipped = w[::-1, ::-1].astype(np.float64)
    taps = np.einsum("ai,bj,ijco->aboc", _G, _G, flipped).reshape(16, w.shape[3], w.shape[2])
    taps = np.ascontiguousarray(taps, g.dtype)
    with single_threaded_blas():
        parallel_for(_part, len(g), g, taps, x, window.padding, grain=_GRAIN)
    return x
