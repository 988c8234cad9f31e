"""The input gradient of a convolution with any window, from planes: each channel of the errors by itself.

Each phase of an image (`phases.py`) is a sum of shifted planes times a weight, and neighbours in a plane lie together:
a vector has 16 pixels, whatever the number of channels is, of a group or all. The planes of some rows, of one frame or
several, have zeros where a window reaches over an edge; one line of a plane follows the other, so that a shift is a
distance, and what is computed between two lines is left.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, parallel_for
from cuslayer.kernels.constants import Window
from cuslayer.kernels.conv.phases import Rows, phases, put_between_zeros, rows_of_errors
from cuslayer.kernels.host.memory import aligned, empty
from cuslayer.kernels.host.products import multiply_listed
from cuslayer.kernels.host.tiles import LANES, copy, scratch, transpose

# Bytes of the planes of errors and pixels that are made at once: half of what a core's second cache holds.
_BLOCK_BYTES = 256 << 10
# Numbers of a plane, at least, for which frames are taken together.
_LEAST_PLANE = 256


class _Layout(NamedTuple):
    """How planes lie.

    Attributes:
        rows: the rows of an image whose planes are made at once; a row of errors is a line of a plane.
        groups: the number of groups of channels.
        frames_at_once: frames whose planes are made at once.
        room: numbers of a plane, at most.
    """

    rows: Rows
    groups: int
    frames_at_once: int
    room: int


def _layout(window: Window, groups: int, image: tuple[int, int], channels: int, itemsize: int) -> _Layout:
    """Return how planes lie, for the sum of the channels of errors and image."""
    rows = rows_of_errors(window, image, channels * itemsize, _BLOCK_BYTES)
    lines = (rows.at_once - 1) // window.stride[0] + 2 + rows.back[0]
    size, frames = lines * rows.line, 1
    if rows.at_once == image[0] and size < _LEAST_PLANE:
        frames = max(1, min(_LEAST_PLANE // size, _BLOCK_BYTES // (lines * max(1, rows.line * channels * itemsize))))
    # An odd number of cache lines: planes at distances of a power of two would displace each other in a cache.
    return _Layout(rows, groups, frames, (-(-frames * size // LANES) | 1) * LANES)


@compiled
def _exchange(source: Any, stride: int, rows: int, columns: int, target: Any, step: int) -> None:
    """Write the transpose of a matrix (rows, columns) whose rows are `stride` apart, to rows that are `step` apart."""
    if rows >= LANES and columns >= LANES:
        for y in range(0, rows, LANES):
            row = min(y, rows - LANES)
            for z in range(0, columns, LANES):
                column = min(z, columns - LANES)
                transpose(target, column * step + row, step, source, row * stride + column, stride)
        return
    for row in range(rows):
        for column in range(columns):
            target[column * step + row] = source[row * stride + column]


@compiled
def _spread(
    g: Any, first: int, last: int, low: int, high: int, begin: int, p: _Layout, room: int, pixels: Any, planes: Any
) -> None:
    """Write the errors g (frames, rows, columns, outputs) of frames and rows to planes, zeros around them.

    They are put between zeros first, pixel by pixel.
    """
    outputs = g.shape[3]
    for frame in range(first, last):
        at = (frame - first) * (high - low) * p.rows.line * outputs
        put_between_zeros(g, frame, low, high, begin, p.rows.line, pixels, at)
    _exchange(pixels, outputs, (last - first) * (high - low) * p.rows.line, outputs, planes, room)


@compiled
def _blocks(first: int, last: int, g: Any, taps: Any, of_phases: Any, places: Any, x: Any, p: _Layout) -> None:
    """Compute blocks of frames, or of rows of one frame.

    Args:
        first: the first block.
        last: the block after the last.
        g: (frames, rows, columns, outputs).
        taps: the weights of each phase, flat: for each group (C / groups, terms).
        of_phases: (phases, 4), for each phase the rests of its rows and columns, its first weight, its first place.
        places: for each phase and term, how far its plane and its tap lie from the pixel's.
        x: (frames, H, W, C).
        p: the layout.
    """
    _, (down, across), (top, left), _ = p.rows.window
    (frames, height, width, channels), outputs = x.shape, g.shape[3]
    inputs, share, flat, room = channels // p.groups, outputs // p.groups, x.reshape(x.size), p.room
    most = max(outputs, channels)
    planes, sums, pixels = scratch(outputs * room, x), scratch(channels * room, x), scratch(most * room, x)
    parts = -(-height // p.rows.at_once)
    begin = left // across - p.rows.back[1]
    for block in range(first, last):
        since = block // parts * p.frames_at_once
        until = min(since + p.frames_at_once, frames)
        above, below = block % parts * p.rows.at_once, min((block % parts + 1) * p.rows.at_once, height)
        low, high = (above + top) // down - p.rows.back[0], (below - 1 + top) // down + 1
        _spread(g, since, until, low, high, begin, p, room, pixels, planes)
        size = (high - low) * p.rows.line
        for phase in range(len(of_phases) - 1):
            rest, rest_across, weight, place = of_phases[phase]
            # The first pixel of the phase, and the number of its rows and columns.
            y, z = above + (rest - top - above) % down, (rest_across - left) % across
            rows, columns = -(-(below - y) // down), -(-(width - z) // across)
            if rows <= 0 or columns <= 0:
                continue
            terms = of_phases[phase + 1, 3] - place
            start = ((y + top) // down - low) * p.rows.line + (z + left) // across - begin
            span = (until - since - 1) * size + (rows - 1) * p.rows.line + columns
            for group in range(p.groups):
                of_group = weight + group * inputs * terms
                errors, to = start + group * share * room, group * inputs * room
                multiply_listed(sums, to, room, taps, of_group, planes, errors, places, place, terms, inputs, span)
            _exchange(sums, room, channels, span, pixels, channels)
            for frame in range(since, until):
                for row in range(rows):
                    at = ((frame - since) * size + row * p.rows.line) * channels
                    to = ((frame * height + y + row * down) * width + z) * channels
                    for _ in range(columns):
                        copy(flat[to : to + channels], pixels[at : at + channels])
                        at += channels
                        to += across * channels


def input_adjoint(g: Array, w: Array, image: tuple[int, int], window: Window, groups: int) -> Array:
    """Return the gradient (frames, H, W, C) of an image (H, W), g of the shape of the output.

    Args:
        g: (frames, rows, columns, outputs).
        w: (kh, kw, C / groups, outputs).
        image: rows and columns of the image.
        window: the window.
        groups: the number of groups of channels.
    """
    inputs, outputs = w.shape[2], g.shape[3]
    x = empty((len(g), *image, inputs * groups), g.dtype)
    if not x.size:
        return x
    p = _layout(window, groups, image, outputs + inputs * groups, g.itemsize)
    down, across = (phases(*of_side) for of_side in zip(window.kernel, window.stride, window.dilation, strict=True))
    numbers, places, weights = [], list[Array](), list[Array]()
    at = [0, 0]
    for rows in down:
        for columns in across:
            numbers.append((rows.rest, columns.rest, *at))
            back = np.add.outer(np.array(rows.back, int) * p.rows.line, np.array(columns.back, int))
            places.append(np.subtract.outer(np.arange(outputs // groups) * p.room, back).ravel())
            mine = w[list(rows.taps)][:, list(columns.taps)].reshape(*back.shape, inputs, groups, outputs // groups)
            weights.append(mine.transpose(3, 2, 4, 0, 1).ravel())
            at = [at[0] + weights[-1].size, at[1] + places[-1].size]
    numbers.append((0, 0, *at))
    taps = aligned((at[0],), g.dtype)
    taps[...] = np.concatenate(weights)
    blocks = -(-len(g) // p.frames_at_once) * -(-image[0] // p.rows.at_once)
    arrays = (np.ascontiguousarray(g), taps, np.array(numbers, np.int64), np.concatenate(places), x, p)
    parallel_for(_blocks, blocks, *arrays, grain=1)
    return x
