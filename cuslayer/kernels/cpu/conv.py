"""Convolution on the CPU: spike by spike for a list of spikes, matrix products of patches for numbers."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels import matrix
from cuslayer.kernels.cpu.events import SpikeList
from cuslayer.kernels.cpu.jit import compiled, spread
from cuslayer.kernels.cpu.memory import empty
from cuslayer.kernels.geometry import Window

# The frames are walked in this many parts, whatever the cores: the weight gradient is a sum over the parts, and its
# bits must not depend on who computes them.
_PARTS = 16
_PATCH_BYTES = 4 << 20


@compiled
def _walk(
    first: int,
    last: int,
    bounds: Any,
    start: Any,
    index: Any,
    image: Any,
    window: Any,
    groups: int,
    weights: Any,
    maps: Any,
    forward: bool,
) -> None:
    """Bring each spike to every place of the map that it reaches, through the tap that leads there.

    Forward, the tap's weights are added to the map; backward, the map's errors are added to the weights of the part.
    """
    _, width, channels = image
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    inputs = channels // groups
    outputs = maps.shape[3] // groups
    for part in range(first, last):
        w = weights[0] if forward else weights[part]
        for frame in range(bounds[part], bounds[part + 1]):
            if forward:
                maps[frame] = 0
            for e in range(start[frame], start[frame + 1]):
                pixel, channel = divmod(index[e], channels)
                row, column = divmod(pixel, width)
                group, channel = divmod(channel, inputs)
                low = group * outputs
                for i in range(kernel_h):
                    y = row + top - i * gap_h
                    if y < 0 or y % down or y // down >= maps.shape[1]:
                        continue
                    for j in range(kernel_w):
                        x = column + left - j * gap_w
                        if x < 0 or x % across or x // across >= maps.shape[2]:
                            continue
                        place = maps[frame, y // down, x // across, low : low + outputs]
                        tap = w[i, j, channel, low : low + outputs]
                        if forward:
                            for c in range(outputs):
                                place[c] += tap[c]
                        else:
                            for c in range(outputs):
                                tap[c] += place[c]


@compiled
def _walk_runs(
    first: int,
    last: int,
    bounds: Any,
    start: Any,
    index: Any,
    image: Any,
    window: Any,
    weights: Any,
    maps: Any,
    forward: bool,
) -> None:
    """Do as `_walk` does where windows neither skip nor gap: a row of taps is then one run of neighbouring numbers.

    A spike at column c reaches the map's columns c + left - j, so that with the taps of a row in reverse, weights
    (kh, C, kw x outputs) and maps (frames, rows, columns x outputs) run along each other.
    """
    _, width, channels = image
    (kernel_h, kernel_w), _, (top, left), _ = window
    outputs = weights.shape[3] // kernel_w
    columns = maps.shape[2] // outputs
    for part in range(first, last):
        w = weights[0] if forward else weights[part]
        for frame in range(bounds[part], bounds[part + 1]):
            if forward:
                maps[frame] = 0
            for e in range(start[frame], start[frame + 1]):
                pixel, channel = divmod(index[e], channels)
                row, column = divmod(pixel, width)
                reach = column + left - kernel_w + 1
                low = max(reach, 0)
                high = min(column + left + 1, columns)
                for i in range(max(0, row + top - maps.shape[1] + 1), min(kernel_h, row + top + 1)):
                    place = maps[frame, row + top - i, low * outputs : high * outputs]
                    taps = w[i, channel, (low - reach) * outputs : (high - reach) * outputs]
                    if forward:
                        for c in range(place.size):
                            place[c] += taps[c]
                    else:
                        for c in range(place.size):
                            taps[c] += place[c]


def _runs(window: Window, groups: int) -> bool:
    return groups == 1 and window.stride == (1, 1) and window.dilation == (1, 1)


def conv(x: SpikeList | Array, w: Array, window: Window, groups: int) -> Array:
    """Convolve x (frames, H, W, C) with w (kh, kw, C / groups, outputs) to (frames, rows, columns, outputs)."""
    if not isinstance(x, SpikeList):
        return matrix.conv(x, w, window, groups)
    frames, *image = x.shape
    rows, columns = window.outputs("conv", tuple(image), ceil=False)
    maps = empty((frames, rows, columns, w.shape[3]), w.dtype)
    bounds = _bounds(frames)
    spikes = (bounds, x.start, x.index, tuple(image), window)
    if _runs(window, groups):
        taps = np.ascontiguousarray(w[:, ::-1].transpose(0, 2, 1, 3)).reshape(1, len(w), w.shape[2], -1)
        spread(_walk_runs, _PARTS, *spikes, taps, maps.reshape(frames, rows, columns * w.shape[3]), True, grain=1)
    else:
        spread(_walk, _PARTS, *spikes, groups, w[None], maps, True, grain=1)
    return maps


def conv_weight_adjoint(x: SpikeList | Array, g: Array, window: Window, groups: int) -> Array:
    """Return the gradient (kh, kw, C / groups, outputs) of the weight, x (frames, H, W, C), g as conv returns."""
    if not isinstance(x, SpikeList):
        return matrix.conv_weight_adjoint(x, g, window, groups)
    frames, *image = x.shape
    (kernel_h, kernel_w), inputs, outputs = window.kernel, image[2] // groups, g.shape[3]
    bounds = _bounds(frames)
    spikes = (bounds, x.start, x.index, tuple(image), window)
    if _runs(window, groups):
        parts = np.zeros((_PARTS, kernel_h, inputs, kernel_w * outputs), g.dtype)
        spread(_walk_runs, _PARTS, *spikes, parts, g.reshape(frames, g.shape[1], g.shape[2] * outputs), False, grain=1)
        total = parts.sum(axis=0).reshape(kernel_h, inputs, kernel_w, outputs)
        return np.ascontiguousarray(total[:, :, ::-1].transpose(0, 2, 1, 3))
    parts = np.zeros((_PARTS, kernel_h, kernel_w, inputs, outputs), g.dtype)
    spread(_walk, _PARTS, *spikes, groups, parts, g, False, grain=1)
    return parts.sum(axis=0)


def _bounds(frames: int) -> Array:
    return np.linspace(0, frames, _PARTS + 1).astype(np.int64)


@compiled
def _scatter(first: int, last: int, patches: Any, x: Any, window: Any) -> None:
    (kernel_h, kernel_w), (down, across), (top, left), (gap_h, gap_w) = window
    for frame in range(first, last):
        x[frame] = 0
        for row in range(patches.shape[1]):
            for i in range(kernel_h):
                y = row * down + i * gap_h - top
                if y < 0 or y >= x.shape[1]:
                    continue
                for column in range(patches.shape[2]):
                    for j in range(kernel_w):
                        z = column * across + j * gap_w - left
                        if z < 0 or z >= x.shape[2]:
                            continue
                        pixel = x[frame, y, z]
                        patch = patches[frame, row, column, i, j]
                        for c in range(pixel.size):
                            pixel[c] += patch[c]


def conv_input_adjoint(g: Array, w: Array, image: tuple[int, int], window: Window, groups: int) -> Array:
    """Return the gradient (frames, H, W, C) of an image (H, W) of conv, g as conv returns."""
    if groups > 1:
        return matrix.conv_input_adjoint(g, w, image, window, groups)
    kernel_h, kernel_w, inputs, outputs = w.shape
    x = empty((len(g), *image, inputs), g.dtype)
    taps = np.ascontiguousarray(w.reshape(-1, outputs).T)
    pixels = g.shape[1] * g.shape[2]
    step = max(2, _PATCH_BYTES // max(1, pixels * taps.shape[1] * g.dtype.itemsize))
    # One buffer for the patches of every block: fresh memory would cost more than the products.
    patches = empty((min(step, len(g)), g.shape[1], g.shape[2], kernel_h, kernel_w, inputs), g.dtype)
    for low in range(0, len(g), step):
        part = g[low : low + step]
        filled = patches[: len(part)]
        np.matmul(part.reshape(-1, outputs), taps, out=filled.reshape(len(part) * pixels, -1))
        spread(_scatter, len(part), filled, x[low : low + step], window, grain=1)
    return x
