"""The input gradient of a convolution with any window, from planes of errors.

By its row plus the padding, ``y + top = down q + r``, a pixel belongs to a phase r. Its gradient sums the errors of row
``q - (gap i - r) / down`` over the taps i with ``gap i - r`` a multiple of the stride; columns likewise. Zeros surround
the errors of some rows, for windows that reach over an edge.

A phase is a sum of shifted planes times a weight, one for each channel of the errors. Neighbours in a plane lie
together, and a vector has 16 pixels, whatever the number of channels. The planes have some rows of one or more frames.
The lines of a plane follow each other, so a shift is a distance; results between two lines are ignored.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from cuslayer._base.jit import compiled, uncounted
from cuslayer._base.parallel import parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.host.memory import aligned_copy, empty
from cuslayer.kernels.host.rows import LANES, copy, scratch, transpose
from cuslayer.kernels.host.vectors import multiply_listed

# Bytes of the planes of errors and pixels made at once, half of a core's second cache.
_BLOCK_BYTES = 256 << 10
# Numbers of a plane, at least, for which frames are taken together.
_LEAST_PLANE = 256


class _Phase(NamedTuple):
    """The pixels of one phase along rows or columns: every stride-th, from the first with remainder r on."""

    remainder: int  # r in the description above
    taps: tuple[int, ...]  # of the window
    back: tuple[int, ...]  # how many errors each tap lies back


@lru_cache(maxsize=64)
def _phases(kernel: int, stride: int, gap: int) -> list[_Phase]:
    """Return the phases along one side of a window."""
    phases = []
    for remainder in range(stride):
        taps = tuple(i for i in range(kernel) if (gap * i - remainder) % stride == 0)
        phases.append(_Phase(remainder, taps, tuple((gap * i - remainder) // stride for i in taps)))
    return phases


@uncounted
def put_between_zeros(g: Array, frame: int, low: int, high: int, begin: int, line: int, pixels: Array, to: int) -> None:
    """Write the errors of rows [low, high) of a frame between zeros to pixels, rows of `line` from `begin` on."""
    _, rows, columns, outputs = g.shape
    flat = g.reshape(g.size)
    since = min(max(begin, 0), columns)
    until = min(begin + line, columns)
    size = line * outputs
    for y in range(low, high):
        if y < 0 or y >= rows or until <= since:
            pixels[to : to + size] = 0
        else:
            left = to + (since - begin) * outputs
            right = to + (until - begin) * outputs
            pixels[to:left] = 0
            at = ((frame * rows + y) * columns + since) * outputs
            copy(pixels[left:right], flat[at : at + right - left])
            pixels[right : to + size] = 0
        to += size


class _Layout(NamedTuple):
    """The layout of planes."""

    window: Window
    groups: int
    back: tuple[int, int]  # rows and columns that the farthest tap lies back
    line: int  # columns of a line of a plane, which is a row of errors between zeros
    rows_at_once: int  # rows of an image, and frames, whose planes are made at once
    frames_at_once: int
    room: int  # numbers of a plane, at most


def _layout(window: Window, groups: int, image: tuple[int, int], channels: int, itemsize: int) -> _Layout:
    """Return the layout of planes, for the sum of the channels of errors and image."""
    (high, wide), (down, across), (_, left), (gap, gap_across) = window
    height, width = image
    back = gap * (high - 1) // down, gap_across * (wide - 1) // across
    line = (width - 1 + left) // across - left // across + 1 + back[1]
    of_a_line = max(1, line * channels * itemsize)
    rows = min(height, max(1, _BLOCK_BYTES // of_a_line - back[0] - 1) * down)
    lines = (rows - 1) // down + 2 + back[0]
    size = lines * line
    frames = 1
    if rows == height and size < _LEAST_PLANE:
        frames = max(1, min(_LEAST_PLANE // size, _BLOCK_BYTES // (lines * of_a_line)))
    # An odd number of cache lines: planes at distances of a power of two would evict each other from a cache.
    room = (-(-frames * size // LANES) | 1) * LANES
    return _Layout(window, groups, back, line, rows, frames, room)


@uncounted
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


@uncounted
def _spread(
    g: Array,
    first: int,
    last: int,
    low: int,
    high: int,
    begin: int,
    p: _Layout,
    room: int,
    pixels: Array,
    planes: Array,
) -> None:
    """Write the errors g of frames and rows to planes, zeros around them."""
    outputs = g.shape[3]
    for frame in range(first, last):
        at = (frame - first) * (high - low) * p.line * outputs
        put_between_zeros(g, frame, low, high, begin, p.line, pixels, at)
    _exchange(pixels, outputs, (last - first) * (high - low) * p.line, outputs, planes, room)


@compiled
def _plane_blocks(
    first: int, last: int, g: Array, taps: Array, of_phases: Array, places: Array, x: Array, p: _Layout
) -> None:
    """Compute blocks of frames, or of rows of one frame; for the taps, phases and places see `by_planes`."""
    _, (down, across), (top, left), _ = p.window
    frames, height, width, channels = x.shape
    outputs = g.shape[3]
    inputs = channels // p.groups
    share = outputs // p.groups
    flat = x.reshape(x.size)
    room = p.room
    most = max(outputs, channels)
    planes = scratch(outputs * room, x)
    sums = scratch(channels * room, x)
    pixels = scratch(most * room, x)
    parts = -(-height // p.rows_at_once)
    begin = left // across - p.back[1]
    for block in range(first, last):
        since = block // parts * p.frames_at_once
        until = min(since + p.frames_at_once, frames)
        above = block % parts * p.rows_at_once
        below = min((block % parts + 1) * p.rows_at_once, height)
        low = (above + top) // down - p.back[0]
        high = (below - 1 + top) // down + 1
        _spread(g, since, until, low, high, begin, p, room, pixels, planes)
        size = (high - low) * p.line
        for phase in range(len(of_phases) - 1):
            remainder, remainder_across, weight, place = of_phases[phase]
            # The first pixel of the phase, and the number of its rows and columns.
            y = above + (remainder - top - above) % down
            z = (remainder_across - left) % across
            rows = -(-(below - y) // down)
            columns = -(-(width - z) // across)
            if rows <= 0 or columns <= 0:
                continue
            terms = of_phases[phase + 1, 3] - place
            listed = places[place:]
            start = ((y + top) // down - low) * p.line + (z + left) // across - begin
            span = (until - since - 1) * size + (rows - 1) * p.line + columns
            for group in range(p.groups):
                of_group = weight + group * inputs * terms
                errors = start + group * share * room
                to = group * inputs * room
                multiply_listed(
                    sums, to, room, taps, of_group, terms, 1, 0, planes, errors, 0, 0, listed, terms, 1, inputs, span
                )
            _exchange(sums, room, channels, span, pixels, channels)
            for frame in range(since, until):
                for row in range(rows):
                    at = ((frame - since) * size + row * p.line) * channels
                    to = ((frame * height + y + row * down) * width + z) * channels
                    for _ in range(columns):
                        copy(flat[to : to + channels], pixels[at : at + channels])
                        at += channels
                        to += across * channels


def by_planes(g: Array, w: Array, image: tuple[int, int], window: Window, groups: int) -> Array:
    """Return the gradient (frames, H, W, C) of an image (H, W), g like the output, w (kh, kw, C / groups, outputs)."""
    inputs = w.shape[2]
    outputs = g.shape[3]
    x = empty((len(g), *image, inputs * groups), g.dtype)
    if not x.size:
        return x
    p = _layout(window, groups, image, outputs + inputs * groups, g.itemsize)
    down, across = (_phases(*of_side) for of_side in zip(window.kernel, window.stride, window.dilation, strict=True))
    numbers = []
    places = list[Array]()
    weights = list[Array]()
    at = [0, 0]
    for rows in down:
        for columns in across:
            numbers.append((rows.remainder, columns.remainder, *at))
            back = np.add.outer(np.array(rows.back, int) * p.line, np.array(columns.back, int))
            places.append(np.subtract.outer(np.arange(outputs // groups) * p.room, back).ravel())
            phase_weight = w[list(rows.taps)][:, list(columns.taps)].reshape(
                *back.shape, inputs, groups, outputs // groups
            )
            weights.append(phase_weight.transpose(3, 2, 4, 0, 1).ravel())
            at = [at[0] + weights[-1].size, at[1] + places[-1].size]
    numbers.append((0, 0, *at))
    taps = aligned_copy(np.concatenate(weights), g.dtype)
    blocks = -(-len(g) // p.frames_at_once) * -(-image[0] // p.rows_at_once)
    parallel_for(
        _plane_blocks,
        blocks,
        np.ascontiguousarray(g),
        taps,
        np.array(numbers, np.int64),
        np.concatenate(places),
        x,
        p,
        grain=1,
    )
    return x
