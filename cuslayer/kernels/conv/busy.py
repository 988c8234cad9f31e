"""The convolution of busy frames: a product of spikes, 0 or 1, and taps, in the order in which spikes are walked.

A spike that is walked costs one addition for each tap, and each pixel costs loads and stores of the outputs that it
reaches: with few channels these cost more than the additions. Both ways give the same bits, so that the choice between
them may depend on whatever is at hand.
"""

from __future__ import annotations

from typing import Any

from cuslayer.jit import compiled
from cuslayer.kernels.host.products import multiply
from cuslayer.kernels.host.simd import VECTOR_BYTES
from cuslayer.kernels.host.tiles import scratch

# Cycles, as measured: of a row of taps of a pixel that has a spike, and of a vector that a spike adds to sums in
# registers; of a row of taps of a spike that is added by itself, and of a vector of it; and of a vector of a product.
_PIXEL, _WALKED, _ALONE, _ALONE_VECTOR, _MULTIPLIED = 35.0, 1.1, 14.0, 2.8, 1.2


@compiled
def activity(first: int, last: int, frames: Any, row: int, rows: int, spikes: Any) -> float:
    """Return the share of spikes in some rows of frames, from `row` on, of which some may lie outside."""
    low, high, found = max(row, 0), min(row + rows, spikes.height), 0
    for t in range(first, last if low < high else first):
        line = (t * frames[0] + frames[1]) * spikes.height
        found += spikes.start[line + high] - spikes.start[line + low]
    return found / max(1, (last - first) * rows * len(spikes.reach.places))


@compiled
def _plain(taps: Any, window: Any, outputs: int, w: Any) -> bool:
    """Write taps (kh, C, kw x outputs) to w in the order of the weight, and return whether all are finite."""
    (kernel, across), (_, stride), _, _ = window
    zero, channels = taps.dtype.type(0), taps.shape[1]
    total = zero
    for i in range(kernel):
        for c in range(channels):
            source = taps[i, c]
            n = 0
            for phase in range(stride):
                for back in range(-(-(across - phase) // stride) - 1, -1, -1):
                    to = ((i * across + phase + back * stride) * channels + c) * outputs
                    row, tap = w[to : to + outputs], source[n * outputs : (n + 1) * outputs]
                    for o in range(outputs):
                        row[o] = tap[o]
                        total += zero * tap[o]
                    n += 1
    return total == zero


@compiled
def multiply_rows(
    first: int, last: int, lines: Any, at: int, frames: Any, low: int, high: int, width: int, spikes: Any, taps: Any
) -> bool:
    """Write the rows [low, high) of maps for the steps [first, last), if a product pays; return whether it does.

    It does not for windows with gaps in a row, or groups. The arguments are those of `_walk` in `spikes.py`.
    """
    (kernel, across), (down, over), (top, left), (gap, gap_across) = spikes.window
    channels, outputs = spikes.inputs, taps.shape[2] // across
    terms, vectors = kernel * across * channels, -(-outputs * taps.itemsize // VECTOR_BYTES)
    row, rows = low * down - top, (high - 1 - low) * down + (kernel - 1) * gap + 1
    share = activity(first, last, frames, row, rows, spikes)
    together = _PIXEL * kernel * min(1.0, share * channels) + _WALKED * share * terms * vectors
    walked = min(together, share * kernel * channels * (_ALONE + _ALONE_VECTOR * across * vectors))
    if gap_across != 1 or spikes.channels != channels or taps.size == 0 or walked <= _MULTIPLIED * terms * vectors:
        return False
    w = scratch(taps.size, taps)
    if not _plain(taps, spikes.window, outputs, w):
        # A weight that is not finite must not reach an output without a spike.
        return False
    columns = width // max(1, outputs)
    line = max(len(spikes.reach.places) // channels + left, (columns - 1) * over + across) * channels
    image, flat = scratch(rows * line, taps), lines.reshape(lines.size)
    for t in range(first, last):
        image[:] = 0
        for n in range(max(row, 0) - row, min(row + rows, spikes.height) - row):
            number = (t * frames[0] + frames[1]) * spikes.height + row + n
            begin = n * line + left * channels
            for e in range(spikes.start[number], spikes.start[number + 1]):
                image[begin + spikes.position[e]] = 1
        for y in range(low, high):
            place = t % len(lines) * lines.shape[1] + at + (y - low) * width
            pixels = ((y - low) * down * line, over * channels, 1, gap * line)
            of_taps = (0, outputs, across * channels * outputs)
            multiply(flat, place, outputs, image, *pixels, w, *of_taps, across * channels, kernel, columns, outputs)
    return True
