"""Convolution of numbers on the CPU, and the gradient of its weight, from lines of an image between zeros.

For each row of a window, the pixels that an output sums lie one after the other in a line: an output is a sum over the
rows of the window and these numbers. All outputs of a line are one matrix product, whose first factor is the line
itself: its rows overlap. The gradient of the weight is the same product with outputs and terms exchanged.

With a dilation of d, a line has first all columns of rest 0 by d, then of rest 1, and so on: then the pixels of a
window are neighbours again. Each group of channels has a part of a line of its own.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np

from cuslayer._base.jit import compiled
from cuslayer._base.parallel import parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.host.memory import aligned_copy, empty
from cuslayer.kernels.host.rows import add_row, copy, scratch
from cuslayer.kernels.host.vectors import REGISTER_BYTES, multiply, product_columns
from cuslayer.kernels.synapse.conv.planes import put_between_zeros
from cuslayer.kernels.synapse.conv.weight_sums import bounds

# Bytes of the lines that are made at once, a part of a core's second cache.
_BLOCK_BYTES = 512 << 10


class _Lines(NamedTuple):
    """The layout of the lines of an image."""

    window: Window
    groups: int
    inputs: int  # channels of a group
    line: int  # columns of a line, a multiple of the dilation
    rows_at_once: int  # rows of the result whose lines are made at once
    # Outputs of a row whose windows begin at the same rest by the dilation are `starts` apart, and there are so many
    # sets of them. Their windows are `shift` columns apart in a line.
    starts: int
    shift: int

    @classmethod
    def of(cls, x: Array, window: Window, groups: int, out: tuple[int, int]) -> _Lines:
        """Return the layout for images x (frames, H, W, C) and results with some rows and columns."""
        (high, wide), (down, across), _, (gap, gap_across) = window
        rows, columns = out
        reach = (columns - 1) * across + gap_across * (wide - 1) + 1
        line = -(-reach // gap_across) * gap_across
        lines = _BLOCK_BYTES // max(1, line * x.shape[3] * x.itemsize)
        at_once = max(1, min(rows, (lines - gap * (high - 1) - 1) // down + 1))
        common = math.gcd(across, gap_across)
        return cls(window, groups, x.shape[3] // groups, line, at_once, gap_across // common, across // common)


@compiled
def _height(rows: int, s: _Lines) -> int:
    """Return the lines that some rows of the result read."""
    return (rows - 1) * s.window.stride[0] + s.window.dilation[0] * (s.window.kernel[0] - 1) + 1


@compiled
def _in_order(s: _Lines) -> bool:
    """Return whether lines are rows of an image as they are, between zeros."""
    return s.window.dilation[1] == 1 and s.groups == 1


@compiled
def _lay(x: Array, frame: int, top: int, end: int, s: _Lines, lines: Array, pixels: Array) -> None:
    """Write the lines that the rows [top, end) of the result read."""
    channels = x.shape[3]
    height = _height(end - top, s)
    gap = s.window.dilation[1]
    low = top * s.window.stride[0] - s.window.padding[0]
    in_order = _in_order(s)
    put_between_zeros(x, frame, low, low + height, -s.window.padding[1], s.line, lines if in_order else pixels, 0)
    if in_order:
        return
    of_rest = s.line // gap
    for row in range(height):
        for column in range(s.line):
            source = (row * s.line + column) * channels
            place = column % gap * of_rest + column // gap
            for group in range(s.groups):
                target = ((row * s.groups + group) * s.line + place) * s.inputs
                at = source + group * s.inputs
                copy(lines[target : target + s.inputs], pixels[at : at + s.inputs])


@compiled
def _first(row: int, start: int, group: int, s: _Lines) -> int:
    """Return where the window of an output begins in the lines: of a row of the block, and a column below `starts`."""
    gap = s.window.dilation[1]
    column = start * s.window.stride[1]
    place = column % gap * (s.line // gap) + column // gap
    return ((row * s.groups + group) * s.line + place) * s.inputs


@compiled
def _room(s: _Lines, channels: int) -> int:
    """Return the numbers of the lines of a block."""
    return _height(s.rows_at_once, s) * s.line * channels


@compiled
def _convolve(first: int, last: int, x: Any, taps: Any, y: Any, s: _Lines) -> None:
    """Compute blocks of rows of the results; for the taps see `_in_blocks`."""
    high, wide = s.window.kernel
    _, rows, columns, outputs = y.shape
    channels = x.shape[3]
    share = outputs // s.groups
    lines = scratch(_room(s, channels), y)
    pixels = scratch(0 if _in_order(s) else _room(s, channels), y)
    flat = y.reshape(y.size)
    terms = wide * s.inputs
    line = s.line * channels
    at_once = product_columns(share, y.itemsize)
    blocks = -(-rows // s.rows_at_once)
    for block in range(first, last):
        frame = block // blocks
        top = block % blocks * s.rows_at_once
        end = min(top + s.rows_at_once, rows)
        _lay(x, frame, top, end, s, lines, pixels)
        for group in range(s.groups):
            # A block of the taps stays in the cache for all rows.
            for low in range(group * share, (group + 1) * share, at_once):
                width = min(at_once, (group + 1) * share - low)
                of_taps = taps, low * high * terms, width, terms * width
                for row in range(top, end):
                    to = (frame * rows + row) * columns * outputs + low
                    for start in range(min(s.starts, columns)):
                        count = -(-(columns - start) // s.starts)
                        of_line = _first((row - top) * s.window.stride[0], start, group, s)
                        factor = lines, of_line, s.shift * s.inputs, 1, s.window.dilation[0] * line
                        target = flat, to + start * outputs, s.starts * outputs
                        multiply(*target, *factor, *of_taps, terms, high, count, width)


def _in_blocks(w: Array, groups: int) -> Array:
    """Return a weight as flat taps: some outputs of a group, those of a product's block, after the others."""
    outputs = w.shape[3]
    share = outputs // groups
    at_once = product_columns(share, w.itemsize)
    rows = w.reshape(math.prod(w.shape[:3]), outputs)
    blocks = [rows[:, :0].ravel()]
    for begin in range(0, outputs, max(share, 1)):
        for low in range(begin, begin + share, at_once):
            blocks.append(rows[:, low : min(low + at_once, begin + share)].ravel())
    return np.concatenate(blocks)


def convolve(x: Array, w: Array, window: Window, groups: int) -> Array:
    """Convolve x (frames, H, W, C) with w (kh, kw, C / groups, outputs) to (frames, rows, columns, outputs)."""
    out = window.outputs(x.shape[1:3], ceil=False)
    y = empty((len(x), *out, w.shape[3]), w.dtype)
    s = _Lines.of(x, window, groups, out)
    arrays = np.ascontiguousarray(x, w.dtype), aligned_copy(_in_blocks(w, groups), w.dtype), y
    parallel_for(_convolve, len(x) * -(-out[0] // s.rows_at_once), *arrays, s, grain=1)
    return y


@compiled
def _add_gradients(first: int, last: int, parts_at: Array, x: Array, g: Array, parts: Array, s: _Lines) -> None:
    """Add the gradients of the weight of parts of the frames; parts (parts, kh, kw, C / groups, outputs)."""
    high, wide = s.window.kernel
    _, rows, columns, outputs = g.shape
    channels = x.shape[3]
    share = outputs // s.groups
    lines = scratch(_room(s, channels), g)
    pixels = scratch(0 if _in_order(s) else _room(s, channels), g)
    terms = wide * s.inputs
    sums = scratch(terms * share, g)
    # Fewer outputs than numbers of a vector: the terms are the columns of the product.
    few = share < REGISTER_BYTES // g.itemsize and share < terms
    errors = g.reshape(g.size)
    line = s.line * channels
    for part in range(first, last):
        total = parts[part].reshape(high * terms, outputs)
        for frame in range(parts_at[part], parts_at[part + 1]):
            for top in range(0, rows, s.rows_at_once):
                end = min(top + s.rows_at_once, rows)
                _lay(x, frame, top, end, s, lines, pixels)
                at = (frame * rows + top) * columns * outputs
                for group in range(s.groups):
                    for start in range(min(s.starts, columns)):
                        count = -(-(columns - start) // s.starts)
                        of_g = at + start * outputs + group * share
                        of_errors = s.starts * outputs, columns * outputs
                        of_lines = s.shift * s.inputs, s.window.stride[0] * line
                        sizes = count, end - top
                        for i in range(high):
                            at_line = _first(i * s.window.dilation[0], start, group, s)
                            if few:
                                by_output = errors, of_g, 1, *of_errors, lines, at_line, *of_lines
                                multiply(sums, 0, terms, *by_output, *sizes, share, terms)
                            else:
                                by_term = lines, at_line, 1, *of_lines, errors, of_g, *of_errors
                                multiply(sums, 0, share, *by_term, *sizes, terms, share)
                            for term in range(terms):
                                of_term = total[i * terms + term, group * share : (group + 1) * share]
                                if few:
                                    for j in range(share):
                                        of_term[j] += sums[j * terms + term]
                                else:
                                    add_row(of_term, sums[term * share : (term + 1) * share])


def weight_gradient(x: Array, g: Array, window: Window, groups: int) -> Array:
    """Return the gradient (kh, kw, C / groups, outputs) of the weight, x (frames, H, W, C), g like the output."""
    s = _Lines.of(x, window, groups, g.shape[1:3])
    parts_at = bounds(len(x))
    parts = np.zeros((len(parts_at) - 1, *window.kernel, s.inputs, g.shape[3]), g.dtype)
    arrays = np.ascontiguousarray(x, g.dtype), np.ascontiguousarray(g), parts
    parallel_for(_add_gradients, len(parts), parts_at, *arrays, s, grain=1)
    total: Array = parts.sum(axis=0)
    return total
