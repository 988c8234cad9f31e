"""The convolution of busy frames: a product of spikes, 0 or 1, and taps, in the order in which spikes are walked.

A spike that is walked costs one addition for each tap, and each pixel costs loads and stores of the outputs that it
reaches: with few channels these cost more than the additions. Both ways give the same bits, so that the choice between
them may depend on whatever is at hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.jit import compiled
from cuslayer.kernels.host.finite import are_finite
from cuslayer.kernels.host.products import multiply
from cuslayer.kernels.host.simd import VECTOR_BYTES
from cuslayer.kernels.host.tiles import copy, scratch

# Times, as measured, in units of about a cycle: of a row of taps of a pixel that has a spike, and of a vector that a
# spike adds to sums in registers; of a row of taps of a spike that is added by itself, and of a vector of it; and of a
# vector of a product.
_PIXEL, _WALKED, _ALONE, _ALONE_VECTOR, _MULTIPLIED = 35.0, 1.1, 14.0, 2.8, 0.85


@compiled
def activity(first: int, last: int, frames: Any, row: int, rows: int, spikes: Any) -> float:
    """Return the share of spikes in some rows of frames, from `row` on, of which some may lie outside."""
    low, high, found = max(row, 0), min(row + rows, spikes.height), 0
    for t in range(first, last if low < high else first):
        line = (t * frames[0] + frames[1]) * spikes.height
        found += spikes.start[line + high] - spikes.start[line + low]
    return found / max(1, (last - first) * rows * len(spikes.reach.places))


@compiled
def _plain(taps: Any, window: Any, inputs: int, outputs: int, begins: Any, w: Any) -> bool:
    """Write taps (kh, C, kw x piece) to w (kh, kw, C, outputs), and return whether all are finite.

    w is the weight of all groups as one, and 0 before.
    """
    (kernel, across), (_, stride), _, _ = window
    channels, piece, finite = taps.shape[1], taps.shape[2] // across, True
    for i in range(kernel):
        for c in range(channels):
            source, begin = taps[i, c], begins[c // inputs]
            n = 0
            for phase in range(stride):
                for back in range(-(-(across - phase) // stride) - 1, -1, -1):
                    to = ((i * across + phase + back * stride) * channels + c) * outputs + begin
                    row, tap = w[to : to + piece], source[n * piece : (n + 1) * piece]
                    copy(row, tap)
                    n += 1
            finite = finite and are_finite(source)
    return finite


@compiled
def _mark(image: Any, begin: int, position: Any, first: int, last: int) -> None:
    """Write 1 where the spikes [first, last) are in a line of an image that begins at a place."""
    one = image.dtype.type(1)
    # Unsigned indices: NumPy's negative ones would cost more than the rest.
    for e in range(np.uint64(first), np.uint64(last)):
        image[np.uint64(begin) + np.uint64(position[e])] = one


@compiled
def _pays(share: float, spikes: Any, taps: Any) -> bool:
    """Return whether a product takes less time than walking a share of all pixels' channels."""
    (kernel, across), (_, over), _, _ = spikes.window
    channels, groups, lanes = spikes.channels, spikes.channels // spikes.inputs, VECTOR_BYTES // taps.itemsize
    # An output has as many pixels to itself as a stride steps over, and each of them reaches some rows of a map.
    pixels, terms, of_piece = over * kernel, kernel * across * channels, -(-taps.shape[2] // across // lanes)
    together = _PIXEL * pixels * groups * min(1.0, share * spikes.inputs) + _WALKED * share * terms * of_piece
    alone = share * channels * (_ALONE * pixels + _ALONE_VECTOR * kernel * across * of_piece)
    return min(together, alone) > _MULTIPLIED * terms * -(-spikes.reach.outputs // lanes)


@compiled
def multiply_rows(
    first: int, last: int, lines: Any, at: int, frames: Any, low: int, high: int, width: int, spikes: Any, taps: Any
) -> bool:
    """Write the rows [low, high) of maps for the steps [first, last), if a product pays; return whether it does.

    It does not for windows with gaps in a row. The arguments are those of `_walk` in `spikes.py`.
    """
    (kernel, across), (down, over), (top, left), (gap, gap_across) = spikes.window
    row, rows = low * down - top, (high - 1 - low) * down + (kernel - 1) * gap + 1
    share = activity(first, last, frames, row, rows, spikes)
    if gap_across != 1 or taps.size == 0 or not _pays(share, spikes, taps):
        return False
    channels, outputs = spikes.channels, spikes.reach.outputs
    w = scratch(kernel * across * channels * outputs, taps)
    if not _plain(taps, spikes.window, spikes.inputs, outputs, spikes.reach.begins, w):
        # A weight that is not finite must not reach an output without a spike.
        return False
    columns = width // outputs
    line = max(len(spikes.reach.places) // channels + left, (columns - 1) * over + across) * channels
    image, flat = scratch(rows * line, taps), lines.reshape(lines.size)
    for t in range(first, last):
        image[:] = 0
        for n in range(max(row, 0) - row, min(row + rows, spikes.height) - row):
            number = (t * frames[0] + frames[1]) * spikes.height + row + n
            begin = n * line + left * channels
            _mark(image, begin, spikes.position, spikes.start[number], spikes.start[number + 1])
        for y in range(low, high):
            place = t % len(lines) * lines.shape[1] + at + (y - low) * width
            pixels = ((y - low) * down * line, over * channels, 1, gap * line)
            of_taps = (0, outputs, across * channels * outputs)
            multiply(flat, place, outputs, image, *pixels, w, *of_taps, across * channels, kernel, columns, outputs)
    return True
