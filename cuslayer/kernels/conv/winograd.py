"""The input gradient of a convolution; with a stride of one, it takes a third of the multiplications of its sum.

`planes.py` has other windows.

A convolution with a dilation of d splits into d^2 ordinary ones, each of every d-th row and column.

The gradient of an image is itself a convolution: of the errors with the flipped window. Winograd's method gives m of
its pixels in a line from n = m + kernel - 1 errors, by n multiplications instead of m kernel. With constant matrices B,
G and A they are ``A' [(G w) * (B' d)]``, with the product ``*`` element by element; a tile of pixels is
``A' [(G w G') * (B' d B)] A``. Summed over the channels, each element of a tile becomes a matrix product. For windows
of 3 x 3, tiles of 4 x 4 need 36 multiplications instead of 144, tiles of 3 x 3 need 25 instead of 81. For 5 x 5, tiles
of 2 x 2 need 36 instead of 100. Each side of an image takes the size that wastes less at its end.

The matrices belong to the points 0, 1, -1, 2, -1/2 and infinity (n = 6) or 0, 1, -1, 2 and infinity (n = 5). Among
points with small factors these lose the least: for windows of 3 x 3, float32's error has a norm of 1.2e-6 of the
gradient's, and 2e-7 in the sum.

Source: Lavin and Gray 2016, arXiv 1509.09308, section 4; the points: Barabasz et al. 2020, arXiv 1803.10986.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np

from cuslayer._base.jit import compiled, parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.conv import planes
from cuslayer.kernels.conv.spikes import FULL
from cuslayer.kernels.host.memory import aligned_copy, empty
from cuslayer.kernels.host.vectors import multiply

# Bytes of the elements of a block of tiles and of their products, which fit in a core's second cache.
_BLOCK_BYTES = 512 << 10
# Numbers of one element of all tiles of a block, at most, and the distance between elements: a constant, which shows
# the compiler that they do not overlap. It is no power of two, which would put them into the same lines of a cache.
_ROOM = 8192
_FAR = 8336
_1, _2, _3, _4, _5, _6 = (np.uint64(i * _FAR) for i in range(1, 7))
# Indices of loops are unsigned: NumPy's negative indices would cost a comparison each, and SIMD.
_UNSIGNED = np.uint64
_POINTS: dict[int, tuple[float, ...]] = {5: (0, 1, -1, 2), 6: (0, 1, -1, 2, -0.5)}


_tiles_allowed = ContextVar("tiles_allowed", default=True)


@contextmanager
def exact_zeros() -> Iterator[None]:
    """Keep the gradient of a pixel that no error reaches at exactly 0, despite the rounding errors of tiles."""
    before = _tiles_allowed.set(False)
    try:
        yield
    finally:
        _tiles_allowed.reset(before)


class Tiling(NamedTuple):
    """The tiles of an image: all numbers but the last are pairs of rows and columns."""

    elements: tuple[int, int]
    pixels: tuple[int, int]
    # Tiles of all images of every gap-th row and column.
    tiles: tuple[int, int]
    padding: tuple[int, int]
    gaps: tuple[int, int]
    # Rows of tiles, of any frames, that are computed at once.
    lines: int


def _elements(size: int, kernel: int) -> int:
    """Return the elements of a tile, 5 or 6, that need fewer multiplications for a side of an image."""
    # A tile has four pixels at most.
    cost = {n: -(-size // (n + 1 - kernel)) * n for n in _POINTS if n + 1 - kernel <= 4}
    return min(cost, key=lambda n: cost[n])


def tiling(w: Array, image: tuple[int, int], window: Window, groups: int) -> Tiling | None:
    """Return the tiles for the gradient of an image, or None if it is not computed here.

    It depends on shapes alone, and on `exact_zeros`.
    """
    small = all(2 <= size <= 5 for size in window.kernel)
    if not _tiles_allowed.get() or window.stride != (1, 1) or not small:
        return None
    parts = [-(-size // gap) for size, gap in zip(image, window.dilation, strict=True)]
    n = tuple(map(_elements, parts, window.kernel))
    m = tuple(count + 1 - kernel for count, kernel in zip(n, window.kernel, strict=True))
    tiles = tuple(-(-size // pixels) * gap for size, pixels, gap in zip(parts, m, window.dilation, strict=True))
    inputs, outputs = w.shape[2], w.shape[3] // groups
    of_a_line = max(1, tiles[1]) * max(inputs, outputs)
    if of_a_line > _ROOM:
        return None
    bytes_of_a_line = n[0] * n[1] * max(1, tiles[1]) * (inputs + outputs) * w.itemsize
    lines = max(1, min(_ROOM // of_a_line, _BLOCK_BYTES // bytes_of_a_line))
    return Tiling((n[0], n[1]), (m[0], m[1]), (tiles[0], tiles[1]), window.padding, window.dilation, lines)


@compiled
def _transform_errors(d: Any, at: Any, out: Any, to: Any, size: Any, elements: int) -> None:
    """Write ``B' d`` to out, from `to` on, for `size` numbers of d from each index of `at` on."""
    a0, a1, a2, a3, a4, a5 = at
    number = d.dtype.type
    half, more, two, three = number(0.5), number(1.5), number(2), number(3)
    if elements == 5:
        for j in range(size):
            d0, d1, d2, d3, d4 = d[a0 + j], d[a1 + j], d[a2 + j], d[a3 + j], d[a4 + j]
            q = d3 - d1
            out[to + j] = two * (d0 - d2) + q
            out[to + _1 + j] = (d3 - d2) - two * d1
            out[to + _2 + j] = q + three * (d1 - d2)
            out[to + _3 + j] = q
            out[to + _4 + j] = (d4 - d2) - two * q
    else:
        for j in range(size):
            d0, d1, d2, d3, d4, d5 = d[a0 + j], d[a1 + j], d[a2 + j], d[a3 + j], d[a4 + j], d[a5 + j]
            p, q = d4 - d2, d3 - d1
            out[to + j] = (d0 - d2) + p - more * q
            out[to + _1 + j] = p - half * q - more * (d1 + d2)
            out[to + _2 + j] = p - q + more * (d2 - d3)
            out[to + _3 + j] = p + half * q
            out[to + _4 + j] = p - two * q
            out[to + _5 + j] = (d5 - d3) - q - more * p


@compiled
def _transform_products(m: Any, at: Any, out: Any, to: Any, size: Any, elements: int, pixels: int) -> None:
    """Write ``A' m`` to out, from `to` on, for `size` numbers of m from each index of `at` on; up to four pixels."""
    a0, a1, a2, a3, a4, a5 = at
    number = m.dtype.type
    eighth, quarter, half = number(0.125), number(0.25), number(0.5)
    two, four, eight = number(2), number(4), number(8)
    if elements == 5 and pixels == 3:
        for j in range(size):
            m0, m1, m2, m3, m4 = m[a0 + j], m[a1 + j], m[a2 + j], m[a3 + j], m[a4 + j]
            p = m1 + m2
            out[to + j] = m0 + p + m3
            out[to + _1 + j] = (m1 - m2) + two * m3
            out[to + _2 + j] = p + four * m3 + m4
    elif elements == 6 and pixels == 4:
        for j in range(size):
            m0, m1, m2, m3, m4, m5 = m[a0 + j], m[a1 + j], m[a2 + j], m[a3 + j], m[a4 + j], m[a5 + j]
            p, q = m1 + m2, m1 - m2
            out[to + j] = m0 + p + (m3 + m4)
            out[to + _1 + j] = q + two * m3 - half * m4
            out[to + _2 + j] = p + four * m3 + quarter * m4
            out[to + _3 + j] = q + eight * m3 - eighth * m4 + m5
    else:
        # Windows of other sizes than 3: row i of A' has the powers of the points, and its last row also infinity.
        for i in range(pixels):
            zero, minus, more = number(i == 0), number(1 - 2 * (i % 2)), number(2**i)
            less, end = number((-0.5) ** i) * number(elements == 6), number(i == pixels - 1)
            infinity = a4 if elements == 5 else a5
            row = to + _UNSIGNED(i) * _1
            for j in range(size):
                inner = zero * m[a0 + j] + m[a1 + j] + minus * m[a2 + j] + more * m[a3 + j]
                out[row + j] = inner + less * m[a4 + j] + end * m[infinity + j]


@compiled
def _split_line(
    g: Any, begin: int, outputs: int, before: int, gap: int, pixels: int, tiles: int, planes: Any, more: int
) -> None:
    """Write every gap-th error of a line g (W, channels) to the plane of its index in a tile, and zeros around them."""
    width = g.shape[0]
    zero = g.dtype.type(0)
    for place in range(tiles * pixels + more):
        at = place % pixels * _FAR + place // pixels * outputs
        plane = planes[at : at + outputs]
        x = place * gap - before
        if 0 <= x < width:
            source = g[x, begin : begin + outputs]
            for j in range(outputs):
                plane[j] = source[j]
        else:
            for j in range(outputs):
                plane[j] = zero


@compiled
def _cut(first: int, last: int, g: Any, begin: int, outputs: int, cut: Tiling, scratch: Any, elements: Any) -> None:
    """Write ``B' d B`` of the rows [first, last) of tiles to the elements, for the channels of g from `begin` on."""
    planes, lines = scratch
    (high, wide), (down, across), (rows, columns), (padding, left), (gap, gap_across), _ = cut
    rows, tiles = rows // gap, columns // gap_across
    part, size = _UNSIGNED(tiles * outputs), _UNSIGNED(columns * outputs)
    at = (
        _UNSIGNED(0),
        _UNSIGNED(1 % across * _FAR + 1 // across * outputs),
        _UNSIGNED(2 % across * _FAR + 2 // across * outputs),
        _UNSIGNED(3 % across * _FAR + 3 // across * outputs),
        _UNSIGNED(4 % across * _FAR + 4 // across * outputs),
        _UNSIGNED(5 % across * _FAR + 5 // across * outputs),
    )
    known = 0
    for line in range(first, last):
        image, top = line // rows, line % rows * down
        frame, above = image // gap, (high - down) * gap - image % gap - padding
        if top == 0 or line == first:
            known = top
        for row in range(known, top + high):
            slot = _UNSIGNED(row % 8) * _6
            y = row * gap - above
            if 0 <= y < g.shape[1]:
                for column in range(gap_across):
                    before = (wide - across) * gap_across - column - left
                    of_line = (begin, outputs, before, gap_across, across, tiles, planes, wide - across)
                    _split_line(g[frame, y], *of_line)
                    _transform_errors(planes, at, lines, slot + _UNSIGNED(column) * part, part, wide)
            else:
                for s in range(wide):
                    for j in range(size):
                        lines[slot + _UNSIGNED(s) * _1 + j] = 0
        known = top + high
        for s in range(wide):
            of_s = _UNSIGNED(s) * _1
            rows_at = (
                _UNSIGNED(top % 8) * _6 + of_s,
                _UNSIGNED((top + 1) % 8) * _6 + of_s,
                _UNSIGNED((top + 2) % 8) * _6 + of_s,
                _UNSIGNED((top + 3) % 8) * _6 + of_s,
                _UNSIGNED((top + 4) % 8) * _6 + of_s,
                _UNSIGNED((top + 5) % 8) * _6 + of_s,
            )
            to = _UNSIGNED(s) * _6 + _UNSIGNED(line - first) * size
            _transform_errors(lines, rows_at, elements, to, size, high)


@compiled
def _join(first: int, last: int, m: Any, x: Any, begin: int, channels: int, cut: Tiling, scratch: Any) -> None:
    """Write ``A' m A`` of the rows [first, last) of tiles to the channels of x from `begin` on, as it fits."""
    planes, lines = scratch
    (high, wide), (down, across), (rows, columns), _, (gap, gap_across), _ = cut
    rows, tiles = rows // gap, columns // gap_across
    size = _UNSIGNED(columns * channels)
    across_at = (_UNSIGNED(0), _6, _6 + _6, _6 * _UNSIGNED(3), _6 * _UNSIGNED(4), _6 * _UNSIGNED(5))
    for line in range(first, last):
        image, top = line // rows, line % rows * down
        frame, y = image // gap, image % gap + top * gap
        for s in range(wide):
            a = _UNSIGNED(s) * _6 + _UNSIGNED(line - first) * size
            of_a = (a, a + _1, a + _2, a + _3, a + _4, a + _5)
            _transform_products(m, of_a, lines, _UNSIGNED(s) * _6, size, high, down)
        for row in range(min(down, -(-(x.shape[1] - y) // gap))):
            a = _UNSIGNED(row) * _1
            a0, a1, a2, a3, a4, a5 = across_at
            of_row = (a + a0, a + a1, a + a2, a + a3, a + a4, a + a5)
            _transform_products(lines, of_row, planes, _UNSIGNED(0), size, wide, across)
            for column in range(x.shape[2]):
                place = column // gap_across
                at = place % across * _FAR + (column % gap_across * tiles + place // across) * channels
                source = planes[at : at + channels]
                pixel = x[frame, y + row * gap, column, begin : begin + channels]
                for c in range(channels):
                    pixel[c] = source[c]


@compiled
def _blocks(first: int, last: int, g: Any, taps: Any, x: Any, cut: Tiling, memory: Any) -> None:
    """Compute the blocks [first, last) of rows of tiles; taps (groups, columns, rows, outputs, C) of elements."""
    groups, wide, high, outputs, channels = taps.shape
    planes, kept, elements, products = memory
    flat = taps.reshape(taps.size)
    lines = len(g) * cut.tiles[0]
    for block in range(first, last):
        low, end = block * cut.lines, min((block + 1) * cut.lines, lines)
        tiles = (end - low) * cut.tiles[1]
        for group in range(groups):
            _cut(low, end, g, group * outputs, outputs, cut, (planes, kept), elements)
            for s in range(wide):
                for i in range(high):
                    at = (6 * s + i) * _FAR
                    weight = ((group * wide + s) * high + i) * outputs * channels
                    errors, of_taps = (at, outputs, 1, 0), (weight, channels, 0)
                    multiply(products, at, channels, elements, *errors, flat, *of_taps, outputs, 1, tiles, channels)
            _join(low, end, products, x, group * channels, channels, cut, (planes, kept))


def _memory(dtype: Any) -> tuple[Array, ...]:
    """Return the memory of a thread: a line of planes, eight lines with ``d B``, the elements and their products."""
    lines = empty((6 + 8 * 6 + 36 + 36, _FAR), dtype).reshape(-1)
    return tuple(np.split(lines, [6 * _FAR, 54 * _FAR, 90 * _FAR]))


def _transform_taps(w: Array, cut: Tiling, groups: int) -> Array:
    """Return ``G w G'`` of the flipped windows, (groups, columns, rows, outputs of a group, C), computed in float64."""
    down, across = (_weights(n, kernel) for n, kernel in zip(cut.elements, w.shape[:2], strict=True))
    flipped = w[::-1, ::-1].reshape(*w.shape[:3], groups, w.shape[3] // groups)
    return aligned_copy(np.einsum("ai,bj,ijcgo->gbaoc", down, across, flipped.astype(np.float64)), w.dtype)


def _weights(elements: int, kernel: int) -> Array:
    """Return G (elements, kernel): the powers of each point p over its distance to the others, and of infinity."""
    points = _POINTS[elements]
    rows = [[p**i / math.prod(p - other for other in points if other != p) for i in range(kernel)] for p in points]
    return np.array([*rows, [0.0] * (kernel - 1) + [1.0]])


def conv_input_adjoint(g: Array, w: Array, image: tuple[int, int], groups: int, cut: Tiling) -> Array:
    """Return the gradient (frames, H, W, C) of an image (H, W), g as conv returns, with the tiles from `tiling`."""
    x = empty((len(g), *image, w.shape[2] * groups), g.dtype)
    g, taps = np.ascontiguousarray(g), _transform_taps(w.astype(g.dtype, copy=False), cut, groups)
    blocks = -(-len(g) * cut.tiles[0] // cut.lines)
    parallel_for(_blocks, blocks, g, taps, x, cut, grain=1, memory=lambda: (_memory(g.dtype),))
    return x


def input_adjoint(g: Array, w: Array, image: tuple[int, int], window: Window, groups: int) -> Array:
    """Return the gradient (frames, H, W, C) of an image (H, W), g of the shape of the output."""
    # A product of tiles has the channels of a group next to each other: few do not fill a vector.
    cut = tiling(w, image, window, groups) if groups == 1 or w.shape[2] >= FULL else None
    return conv_input_adjoint(g, w, image, groups, cut) if cut else planes.input_adjoint(g, w, image, window, groups)
