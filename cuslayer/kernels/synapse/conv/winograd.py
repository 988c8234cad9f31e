"""The input gradient of a convolution; with a stride of one and many channels, in a third of the multiplications.

`planes.py` has all other convolutions.

The gradient of an image is itself a convolution: of the errors with the flipped window. Winograd's method gives m of
its pixels in a line from 6 errors, by 6 multiplications instead of m kernel, ``m = 7 - kernel``. With constant matrices
B, G and A they are ``A' [(G w) * (B' d)]``, with the product ``*`` element by element; a tile of pixels is
``A' [(G w G') * (B' d B)] A``. Summed over the channels, each element of a tile becomes a matrix product. For windows
of 3 x 3, tiles of 4 x 4 need 36 multiplications instead of 144; for 5 x 5, tiles of 2 x 2 need 36 instead of 100.

A convolution with a dilation of d splits into d^2 ordinary ones, each of every d-th row and column. A band, some rows
of an image, has one row of tiles of each.

The matrices belong to the points 0, 1, -1, 2, -1/2 and infinity. Among points with small factors these lose the least:
for windows of 3 x 3, float32's error has a norm of 1.2e-6 of the gradient's, and 2e-7 in the sum.

Source: Lavin and Gray 2016, arXiv 1509.09308, section 4; the points: Barabasz et al. 2020, arXiv 1803.10986.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache, partial
from typing import NamedTuple

import numpy as np

from cuslayer._base.jit import compiled, uncounted
from cuslayer._base.parallel import parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.host.llvm import Emitted, Emitter, Flat, Int, generated
from cuslayer.kernels.host.memory import aligned_copy, empty
from cuslayer.kernels.host.rows import LANES, copy
from cuslayer.kernels.host.vectors import REGISTER_BYTES, Rows, multiply
from cuslayer.kernels.synapse.conv.planes import by_planes, put_between_zeros
from cuslayer.kernels.synapse.conv.spikes import FULL

# Bytes of the elements of some bands and of their products, which fit in a core's second cache.
_BLOCK_BYTES = 512 << 10
_POINTS = 0.0, 1.0, -1.0, 2.0, -0.5
_ELEMENTS = len(_POINTS) + 1
# The sides of windows for which tiles are faster than planes.
_KERNELS = 3, 5

_tiles_allowed = ContextVar("tiles_allowed", default=True)


@contextmanager
def exact_zeros() -> Iterator[None]:
    """Keep the gradient of a pixel that no error reaches at exactly 0, despite the rounding errors of tiles."""
    before = _tiles_allowed.set(False)
    try:
        yield
    finally:
        _tiles_allowed.reset(before)


class Bands(NamedTuple):
    """The bands of an image, and the memory of an element."""

    kernel: int
    pixels: int  # rows and columns of a tile
    gaps: tuple[int, int]
    padding: tuple[int, int]
    bands: int  # of an image
    columns: int  # tiles of a row of tiles
    tiles: int  # tiles of a band
    at_once: int  # bands, of any frames, that are computed at once
    room: int  # numbers between two elements of a tile

    @classmethod
    def of(cls, g: Array, w: Array, image: tuple[int, int], window: Window) -> Bands:
        """Return the bands for errors g and a weight w (kernel, kernel, C, outputs)."""
        kernel = len(w)
        gap, gap_across = window.dilation
        pixels = _ELEMENTS + 1 - kernel
        bands = -(-image[0] // (pixels * gap))
        columns = -(-image[1] // (pixels * gap_across))
        tiles = columns * gap * gap_across
        at_once = max(1, _BLOCK_BYTES // (_ELEMENTS**2 * tiles * sum(w.shape[2:]) * g.itemsize))
        # An odd number of cache lines: elements at distances of a power of two would evict each other from a cache.
        room = (-(-at_once * tiles * max(w.shape[2:]) // LANES) | 1) * LANES
        return cls(kernel, pixels, window.dilation, window.padding, bands, columns, tiles, at_once, room)

    def memory(self, w: Array) -> tuple[Array, ...]:
        """Return the errors and the pixels of a band, the elements of some bands and their products."""
        gap, gap_across = self.gaps
        channels, outputs = w.shape[2:]
        errors = _ELEMENTS * gap * (self.pixels * self.columns + self.kernel - 1) * gap_across * outputs
        pixels = self.pixels * gap * self.pixels * self.columns * gap_across * channels
        elements = _ELEMENTS**2 * self.room
        return tuple(empty((size,), w.dtype) for size in (errors, pixels, elements, elements))


def _on_both_sides(
    transform: Callable[[Sequence[Emitted]], list[Emitted]], square: list[list[Emitted]]
) -> list[list[Emitted]]:
    """Return the transpose of a square of vectors, transformed along both sides."""
    rows = [transform(row) for row in square]
    return [transform(column) for column in zip(*rows, strict=True)]


def _transform_errors(d: Sequence[Emitted]) -> list[Emitted]:
    """Return ``B' d``."""
    p = d[4] - d[2]
    q = d[3] - d[1]
    return [
        (d[0] - d[2]) + p - q * 1.5,
        p - q * 0.5 - (d[1] + d[2]) * 1.5,
        p - q + (d[2] - d[3]) * 1.5,
        p + q * 0.5,
        p - q * 2.0,
        (d[5] - d[3]) - q - p * 1.5,
    ]


def _transform_products(m: Sequence[Emitted], pixels: int) -> list[Emitted]:
    """Return ``A' m``: row i of A' has the powers of the points, and its last row also infinity."""
    p = m[1] + m[2]
    q = m[1] - m[2]
    powers = [
        m[0] + p + (m[3] + m[4]),
        q + m[3] * 2.0 - m[4] * 0.5,
        p + m[3] * 4.0 + m[4] * 0.25,
        q + m[3] * 8.0 - m[4] * 0.125,
    ]
    return [*powers[: pixels - 1], powers[pixels - 1] + m[5]]


@generated
def _cut_tile(
    code: Emitter, g: Flat, at: Int, down: Int, across: Int, elements: Flat, to: Int, apart: Int, width: Int
) -> None:
    """Write ``B' d B`` of a vector of channels: pixels d are `down` and `across` apart, elements `apart`."""
    rows = Rows(code, g, 1, width)
    sides = range(_ELEMENTS)
    pixels = [[rows.load(g, at + down * i + across * j)[0] for j in sides] for i in sides]
    for j, column in enumerate(_on_both_sides(_transform_errors, pixels)):
        for i, element in enumerate(column):
            rows.store([element], elements, to + apart * (_ELEMENTS * i + j))


@generated
def _join_tile(
    code: Emitter, m: Flat, at: Int, apart: Int, x: Flat, to: Int, down: Int, across: Int, width: Int, kernel: Int
) -> None:
    """Write ``A' m A`` of a vector of channels: elements m are `apart`, pixels `down` and `across` apart."""

    def of_kernel(size: int) -> None:
        rows = Rows(code, x, 1, width)
        sides = range(_ELEMENTS)
        elements = [[rows.load(m, at + apart * (_ELEMENTS * i + j))[0] for j in sides] for i in sides]
        transform = partial(_transform_products, pixels=_ELEMENTS + 1 - size)
        for j, column in enumerate(_on_both_sides(transform, elements)):
            for i, pixel in enumerate(column):
                rows.store([pixel], x, to + down * i + across * j)

    code.cases(kernel, {size: partial(of_kernel, size) for size in _KERNELS})


@uncounted
def _first_pixel(tile: int, line: int, b: Bands) -> int:
    """Return the first pixel of a tile of a band whose rows have `line` pixels."""
    image = tile // b.columns
    number = tile % b.columns
    return image // b.gaps[1] * line + image % b.gaps[1] + number * b.pixels * b.gaps[1]


@uncounted
def _cut(frame: int, band: int, tile: int, g: Array, b: Bands, errors: Array, elements: Array) -> None:
    """Write the elements of the errors of a band, whose first tile has a number."""
    gap, gap_across = b.gaps
    outputs = g.shape[3]
    lanes = REGISTER_BYTES // g.itemsize
    line = (b.pixels * b.columns + b.kernel - 1) * gap_across
    low = band * b.pixels * gap + b.padding[0] - (b.kernel - 1) * gap
    begin = b.padding[1] - (b.kernel - 1) * gap_across
    put_between_zeros(g, frame, low, low + _ELEMENTS * gap, begin, line, errors, 0)
    down = gap * line * outputs
    across = gap_across * outputs
    for number in range(b.tiles):
        at = _first_pixel(number, line, b) * outputs
        to = (tile + number) * outputs
        for c in range(0, outputs, lanes):
            _cut_tile(errors, at + c, down, across, elements, to + c, b.room, min(lanes, outputs - c))


@uncounted
def _join(frame: int, band: int, tile: int, products: Array, b: Bands, pixels: Array, x: Array) -> None:
    """Write the pixels of a band, whose first tile has a number."""
    gap, gap_across = b.gaps
    _, height, width, channels = x.shape
    lanes = REGISTER_BYTES // x.itemsize
    line = b.pixels * b.columns * gap_across
    flat = x.reshape(x.size)
    down = gap * line * channels
    across = gap_across * channels
    for number in range(b.tiles):
        at = (tile + number) * channels
        to = _first_pixel(number, line, b) * channels
        for c in range(0, channels, lanes):
            _join_tile(products, at + c, b.room, pixels, to + c, down, across, min(lanes, channels - c), b.kernel)
    top = band * b.pixels * gap
    for row in range(min(b.pixels * gap, height - top)):
        at = row * line * channels
        to = (frame * height + top + row) * width * channels
        copy(flat[to : to + width * channels], pixels[at : at + width * channels])


@compiled
def _blocks(
    first: int,
    last: int,
    g: Array,
    taps: Array,
    x: Array,
    b: Bands,
    errors: Array,
    pixels: Array,
    elements: Array,
    products: Array,
) -> None:
    """Compute blocks of bands; taps (elements, outputs, C)."""
    outputs = g.shape[3]
    channels = x.shape[3]
    weights = taps.reshape(taps.size)
    for block in range(first, last):
        begin = block * b.at_once
        end = min((block + 1) * b.at_once, len(g) * b.bands)
        for band in range(begin, end):
            _cut(band // b.bands, band % b.bands, (band - begin) * b.tiles, g, b, errors, elements)
        for element in range(_ELEMENTS * _ELEMENTS):
            at = element * b.room
            weight = element * outputs * channels
            tiles = (end - begin) * b.tiles
            multiply(
                products,
                at,
                channels,
                elements,
                at,
                outputs,
                1,
                0,
                weights,
                weight,
                channels,
                0,
                outputs,
                1,
                tiles,
                channels,
            )
        for band in range(begin, end):
            _join(band // b.bands, band % b.bands, (band - begin) * b.tiles, products, b, pixels, x)


@cache
def _of_taps(kernel: int) -> Array:
    """Return the matrix (elements, taps) of ``w -> G w G'``."""
    # A row has the powers of a point over its distance to the others; the last one is infinity's.
    rows = [[p**i / math.prod(p - other for other in _POINTS if other != p) for i in range(kernel)] for p in _POINTS]
    g = np.array([*rows, [0.0] * (kernel - 1) + [1.0]])
    return np.kron(g, g)


def _transform_taps(w: Array) -> Array:
    """Return ``G w G'`` of the flipped windows, (elements, outputs, C), computed in float64."""
    kernel = len(w)
    windows = w[::-1, ::-1].swapaxes(2, 3).reshape(kernel**2, -1).astype(np.float64)
    taps = np.einsum("ek,kn->en", _of_taps(kernel), windows)
    return taps.reshape(_ELEMENTS**2, w.shape[3], w.shape[2])


def by_tiles(g: Array, w: Array, image: tuple[int, int], window: Window) -> Array:
    """Return the gradient (frames, H, W, C) of an image (H, W), g as conv returns, w (kernel, kernel, C, outputs)."""
    x = empty((len(g), *image, w.shape[2]), g.dtype)
    w = w.astype(g.dtype, copy=False)
    if not x.size:
        return x
    b = Bands.of(g, w, image, window)
    errors = np.ascontiguousarray(g)
    taps = aligned_copy(_transform_taps(w), g.dtype)
    parallel_for(_blocks, -(-len(g) * b.bands // b.at_once), errors, taps, x, b, grain=1, memory=lambda: b.memory(w))
    return x


def has_tiles(w: Array, window: Window, groups: int) -> bool:
    """Return whether tiles are faster than planes for a weight (kh, kw, C / groups, outputs)."""
    square = window.kernel in [(size, size) for size in _KERNELS]
    return groups == 1 and window.stride == (1, 1) and square and min(w.shape[2:]) >= FULL


def input_adjoint(g: Array, w: Array, image: tuple[int, int], window: Window, groups: int) -> Array:
    """Return the gradient (frames, H, W, C) of an image (H, W), g of the shape of the output."""
    if _tiles_allowed.get() and has_tiles(w, window, groups):
        return by_tiles(g, w, image, window)
    return by_planes(g, w, image, window, groups)
