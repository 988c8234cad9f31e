"""The input gradient of a convolution from products at its pixels: the channels of a pixel are a row of a product.

A phase of an image (`phases.py`) is a product of the errors that its pixels see, which lie together along a row where
the window has no gaps in its columns, and the taps of the phase. The errors of some rows are put between zeros, for
windows that reach over an edge; nothing is transposed.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Window
from cuslayer.kernels.conv.phases import Rows, phases, put_between_zeros, rows_of_errors
from cuslayer.kernels.host.memory import aligned, empty
from cuslayer.kernels.host.products import multiply
from cuslayer.kernels.host.simd import VECTOR_BYTES
from cuslayer.kernels.host.tiles import scratch

# Bytes of errors that are put between zeros at once: a quarter of what a core's second cache holds.
_BLOCK_BYTES = 128 << 10
# The share of a pixel's vectors that channels must fill, and the least terms of a row of taps: fewer are added faster
# than a product begins.
_FILLED, _LEAST_TERMS = 0.75, 64


def pays(w: Array, window: Window, groups: int) -> bool:
    """Return whether this is the way for a weight (kh, kw, C, outputs): one group, no gaps in columns, full vectors."""
    of_pixel, terms = w.shape[2] * w.itemsize, -(-w.shape[1] // window.stride[1]) * w.shape[3]
    full = of_pixel >= _FILLED * -(-of_pixel // VECTOR_BYTES) * VECTOR_BYTES
    return groups == 1 and window.dilation[1] == 1 and full and terms >= _LEAST_TERMS


@compiled
def _blocks(first: int, last: int, g: Any, taps: Any, of_phases: Any, x: Any, p: Rows) -> None:
    """Compute blocks of rows of a frame.

    Args:
        first: the first block.
        last: the block after the last.
        g: (frames, rows, columns, outputs).
        taps: the weights of each phase, flat: (rows of taps, columns of taps, outputs, C).
        of_phases: for each phase the rests of its rows and columns, how many rows and columns of taps it has, how far
            the first row lies back, how far each further one does, how far the last column does, and its first weight.
        x: (frames, H, W, C).
        p: the rows that are computed at once.
    """
    _, (down, across), (top, left), _ = p.window
    (_, height, width, channels), outputs, flat = x.shape, g.shape[3], x.reshape(x.size)
    line, begin, parts = p.line * outputs, left // across - p.back[1], -(-height // p.at_once)
    pixels = scratch(((p.at_once - 1) // down + 2 + p.back[0]) * line, x)
    for block in range(first, last):
        frame, above = block // parts, block % parts * p.at_once
        below = min(above + p.at_once, height)
        low, high = (above + top) // down - p.back[0], (below - 1 + top) // down + 1
        put_between_zeros(g, frame, low, high, begin, p.line, pixels, 0)
        for rest, rest_across, rows, columns, nearest, further, farthest, weight in of_phases:
            # The first pixel of the phase; its columns are a row of a product.
            y, z = above + (rest - top - above) % down, (rest_across - left) % across
            count, terms = -(-(width - z) // across), columns * outputs
            seen = ((z + left) // across - begin - farthest) * outputs
            while y < below:
                errors = ((y + top) // down - low - nearest) * line + seen
                to = ((frame * height + y) * width + z) * channels
                given = (pixels, errors, outputs, 1, -further * line, taps, weight, channels, terms * channels)
                multiply(flat, to, across * channels, *given, terms, rows, count, channels)
                y += down


def input_adjoint(g: Array, w: Array, image: tuple[int, int], window: Window) -> Array:
    """Return the gradient (frames, H, W, C) of an image (H, W), g of the shape of the output.

    Args:
        g: (frames, rows, columns, outputs).
        w: (kh, kw, C, outputs).
        image: rows and columns of the image.
        window: the window.
    """
    inputs, outputs = w.shape[2:]
    x = empty((len(g), *image, inputs), g.dtype)
    if not x.size:
        return x
    p = rows_of_errors(window, image, outputs * g.itemsize, _BLOCK_BYTES)
    down, across = (phases(*of_side) for of_side in zip(window.kernel, window.stride, window.dilation, strict=True))
    numbers, weights, at = [], list[Array](), 0
    for rows in down:
        for columns in across:
            nearest, *others = [*rows.back, 0]
            further, farthest = others[0] - nearest if len(rows.back) > 1 else 0, max(columns.back, default=0)
            taps = (len(rows.taps), len(columns.taps))
            numbers.append((rows.rest, columns.rest, *taps, nearest, further, farthest, at))
            mine = w[list(rows.taps)][:, list(reversed(columns.taps))].reshape(*taps, inputs, outputs)
            weights.append(mine.swapaxes(2, 3).ravel())
            at += weights[-1].size
    taps_of_all = aligned((at,), g.dtype)
    taps_of_all[...] = np.concatenate(weights)
    blocks = len(g) * -(-image[0] // p.at_once)
    arrays = (np.ascontiguousarray(g), taps_of_all, np.array(numbers, np.int64), x, p)
    parallel_for(_blocks, blocks, *arrays, grain=1)
    return x
