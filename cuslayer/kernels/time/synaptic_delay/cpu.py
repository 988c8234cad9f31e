"""A convolution whose synapses have one delay each, on the CPU: a spike adds each of its weights once.

The sums equal to the bit the sums of `synapse/conv/spikes.py` for the lags of each channel side by side, where most
weights are 0: weights are added one by one, in the order of the taps, for each tap from the last step to the first. A
thread takes some outputs of a pixel, whose sums at all steps stay in its cache.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer._base.jit import compiled
from cuslayer._base.parallel import parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.spikes.cpu import find_spikes

# Outputs of a thread at most.
_TOGETHER = 64


@compiled
def _sort(
    first: int, last: int, start: Array, index: Array, begin: Array, step: Array, channel: Array, inputs: int
) -> None:
    """Sort the spikes of samples by pixel and group, within these from the last step to the first.

    `begin` (samples, pixels + 2) begins with the place of a sample's first spike, twice; its other elements must be 0.
    """
    samples = len(begin)
    for n in range(first, last):
        at = begin[n]
        steps = (start.size - 1) // samples
        for s in range(steps):
            for e in range(start[s * samples + n], start[s * samples + n + 1]):
                at[index[e] // inputs + 2] += 1
        for pixel in range(2, at.size):
            at[pixel] += at[pixel - 1]
        for s in range(steps - 1, -1, -1):
            for e in range(start[s * samples + n], start[s * samples + n + 1]):
                pixel = index[e] // inputs
                place = at[pixel + 1]
                step[place] = s
                channel[place] = index[e] - pixel * inputs
                at[pixel + 1] = place + 1


@compiled
def _add_taps(
    first: int,
    last: int,
    begin: Array,
    spikes: Any,
    taps: Any,
    out: Array,
    since: int,
    size: int,
    image: tuple[int, ...],
    window: Window,
) -> None:
    height, width, groups = image
    step, channel = spikes
    w, to, inputs, together = taps
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    steps, _, rows, columns, outputs = out.shape
    share = outputs // groups
    sums = np.empty(size * together, out.dtype)
    blocks = -(-share // together)
    for part in range(first, last):
        block = part % blocks
        group = part // blocks % groups
        pixel = part // blocks // groups
        n = pixel // columns // rows
        row = pixel // columns % rows
        column = pixel % columns
        low = group * share + block * together
        count = min(together, share - block * together)
        sums[:] = 0
        for tap in range(kernel_h * kernel_w):
            y = row * down + tap // kernel_w * gap_h - top
            x = column * across + tap % kernel_w * gap_w - left
            if y < 0 or y >= height or x < 0 or x >= width:
                continue
            of_pixel = (y * width + x) * groups + group
            for e in range(begin[n, of_pixel], begin[n, of_pixel + 1]):
                at = (tap * inputs + channel[e]) * outputs + low
                place = np.uint64(step[e] * together)
                for o in range(np.uint64(at), np.uint64(at + count)):
                    sums[place + np.uint64(to[o])] += w[o]
        for t in range(steps):
            for o in range(count):
                out[t, n, row, column, low + o] = sums[(since + t) * together + o]


def forward(x: Array, weight: Array, lag: Array, lags: int, since: int, window: Window, groups: int) -> Array | None:
    """Return the weighted input of spikes x (T, N, H, W, C) from step `since` on; None where all lags are faster.

    Args:
        x: the spikes.
        weight: (kh, kw, C / groups, outputs).
        lag: the delay of each weight in steps, int32, less than `lags`.
        lags: the number of lags.
        since: the first step of the result.
        window: the window.
        groups: groups of channels.
    """
    steps, samples, height, width, _ = x.shape
    *kernel, inputs, outputs = weight.shape
    share = outputs // groups
    pixels = height * width * groups
    # Nanoseconds of a core, measured on an AMD EPYC: of an addition, and of the sums, spikes and weights of all lags.
    reached = np.count_nonzero(x) * math.prod(kernel) / math.prod(window.stride)
    of_lags = lags * (reached * 0.4 * (1 + share / 16) + 0.6 * x.size + 10.0 * weight.size)
    if reached * share * 1.5 > of_lags:
        return None
    listed = find_spikes(x.reshape(steps * samples, pixels * inputs))
    begin = np.zeros((samples, pixels + 2), np.int64)
    begin[1:, :2] = np.cumsum(np.diff(listed.start).reshape(steps, samples).sum(axis=0))[:-1, None]
    spikes = empty((listed.count,), np.int32), empty((listed.count,), np.int32)
    parallel_for(_sort, samples, listed.start, listed.index, begin, *spikes, inputs, grain=1)
    together = min(share, _TOGETHER)
    to = lag.reshape(-1, share) * np.int32(together) + np.arange(share, dtype=np.int32) % np.int32(together)
    out = empty((steps - since, samples, *window.outputs((height, width), ceil=False), outputs), weight.dtype)
    parts = math.prod(out.shape[1:4]) * groups * -(-share // together)
    taps = (weight.reshape(-1), to.reshape(-1), inputs, together)
    image = height, width, groups
    parallel_for(_add_taps, parts, begin, spikes, taps, out, since, steps + lags, image, window, grain=1)
    return out
