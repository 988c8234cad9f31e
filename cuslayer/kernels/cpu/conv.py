"""Convolution on the CPU: spike by spike for a list of spikes, matrix products for numbers."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import compiled, spread
from cuslayer.kernels import matrix
from cuslayer.kernels.cpu import winograd
from cuslayer.kernels.cpu.events import SpikeList
from cuslayer.kernels.cpu.memory import empty
from cuslayer.kernels.cpu.product import single_threaded_blas
from cuslayer.kernels.geometry import Window

# The frames are walked in this many parts, whatever the cores: the weight gradient is a sum over the parts, and its
# bits must not depend on who computes them.
_PARTS = 16
# Frames that a thread takes at once, and how many bytes of patches it makes of them at a time: what its cache holds.
_GRAIN = 16
_PATCH_BYTES = 512 << 10


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
    places: Any,
    window: Any,
    weights: Any,
    maps: Any,
    forward: bool,
) -> None:
    """Do as `_walk` does where windows neither skip nor gap: a row of taps is then one run of neighbouring numbers.

    A spike at column c reaches the map's columns c + left - j, so that with the taps of a row in reverse, weights
    (kh, C, kw x outputs) and maps (frames, rows, columns x outputs) run along each other.
    """
    (kernel_h, kernel_w), _, (top, left), _ = window
    outputs = weights.shape[3] // kernel_w
    columns = maps.shape[2] // outputs
    for part in range(first, last):
        w = weights[0] if forward else weights[part]
        for frame in range(bounds[part], bounds[part + 1]):
            if forward:
                maps[frame] = 0
            for e in range(start[frame], start[frame + 1]):
                row, column, channel = places[index[e], 0], places[index[e], 1], places[index[e], 2]
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


def _places(image: tuple[int, ...]) -> Array:
    """Return the row, column and channel of each pixel of an image (H, W, C): to look up costs less than to divide."""
    return np.stack(np.unravel_index(np.arange(math.prod(image)), image), axis=1)


def _runs(window: Window, groups: int) -> bool:
    return groups == 1 and window.stride == (1, 1) and window.dilation == (1, 1)


def conv(x: SpikeList | Array, w: Array, window: Window, groups: int) -> Array:
    """Convolve x (frames, H, W, C) with w (kh, kw, C / groups, outputs) to (frames, rows, columns, outputs)."""
    frames, *image = x.shape
    rows, columns = window.outputs("conv", tuple(image), ceil=False)
    maps = empty((frames, rows, columns, w.shape[3]), w.dtype)
    if not isinstance(x, SpikeList):
        with single_threaded_blas():
            spread(_conv_of_numbers, frames, x, w, maps, window, groups, grain=_GRAIN)
        return maps
    bounds = _bounds(frames)
    spikes = (bounds, x.start, x.index)
    if _runs(window, groups):
        taps = np.ascontiguousarray(w[:, ::-1].transpose(0, 2, 1, 3)).reshape(1, len(w), w.shape[2], -1)
        spread(
            _walk_runs,
            _PARTS,
            *spikes,
            _places(tuple(image)),
            window,
            taps,
            maps.reshape(frames, rows, columns * w.shape[3]),
            True,
            grain=1,
        )
    else:
        spread(_walk, _PARTS, *spikes, tuple(image), window, groups, w[None], maps, True, grain=1)
    return maps


def conv_weight_adjoint(x: SpikeList | Array, g: Array, window: Window, groups: int) -> Array:
    """Return the gradient (kh, kw, C / groups, outputs) of the weight, x (frames, H, W, C), g as conv returns."""
    frames, *image = x.shape
    (kernel_h, kernel_w), inputs, outputs = window.kernel, image[2] // groups, g.shape[3]
    bounds = _bounds(frames)
    if not isinstance(x, SpikeList):
        parts = np.zeros((_PARTS, kernel_h, kernel_w, inputs, outputs), g.dtype)
        with single_threaded_blas():
            spread(_weight_adjoint_of_numbers, _PARTS, bounds, x, g, parts, window, groups, grain=1)
        return parts.sum(axis=0)
    spikes = (bounds, x.start, x.index)
    if _runs(window, groups):
        parts = np.zeros((_PARTS, kernel_h, inputs, kernel_w * outputs), g.dtype)
        spread(
            _walk_runs,
            _PARTS,
            *spikes,
            _places(tuple(image)),
            window,
            parts,
            g.reshape(frames, g.shape[1], g.shape[2] * outputs),
            False,
            grain=1,
        )
        total = parts.sum(axis=0).reshape(kernel_h, inputs, kernel_w, outputs)
        return np.ascontiguousarray(total[:, :, ::-1].transpose(0, 2, 1, 3))
    parts = np.zeros((_PARTS, kernel_h, kernel_w, inputs, outputs), g.dtype)
    spread(_walk, _PARTS, *spikes, tuple(image), window, groups, parts, g, False, grain=1)
    return parts.sum(axis=0)


def _conv_of_numbers(first: int, last: int, x: Array, w: Array, maps: Array, window: Window, groups: int) -> None:
    maps[first:last] = matrix.conv(x[first:last], w, window, groups)


def _weight_adjoint_of_numbers(
    first: int, last: int, bounds: Array, x: Array, g: Array, parts: Array, window: Window, groups: int
) -> None:
    for part in range(first, last):
        mine = slice(bounds[part], bounds[part + 1])
        parts[part] = matrix.conv_weight_adjoint(x[mine], g[mine], window, groups)


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


def _input_adjoint(first: int, last: int, g: Array, taps: Array, x: Array, window: Window) -> None:
    _, rows, columns, outputs = g.shape
    kernel_h, kernel_w = window.kernel
    step = max(1, _PATCH_BYTES // (rows * columns * taps.shape[1] * g.dtype.itemsize))
    patches = np.empty((step, rows, columns, kernel_h, kernel_w, x.shape[3]), g.dtype)
    for low in range(first, last, step):
        high = min(low + step, last)
        filled = patches[: high - low]
        np.matmul(g[low:high].reshape(-1, outputs), taps, out=filled.reshape(-1, taps.shape[1]))
        _scatter(0, high - low, filled, x[low:high], window)


def conv_input_adjoint(g: Array, w: Array, image: tuple[int, int], window: Window, groups: int) -> Array:
    """Return the gradient (frames, H, W, C) of an image (H, W) of conv, g as conv returns."""
    if winograd.fits(window, groups):
        return winograd.conv_input_adjoint(g, w, image, window)
    x = empty((len(g), *image, w.shape[2] * groups), g.dtype)
    with single_threaded_blas():
        if groups == 1:
            taps = np.ascontiguousarray(w.reshape(-1, w.shape[3]).T)
            spread(_input_adjoint, len(g), g, taps, x, window, grain=_GRAIN)
        else:
            spread(_input_adjoint_of_groups, len(g), g, w, x, window, groups, grain=_GRAIN)
    return x


def _input_adjoint_of_groups(first: int, last: int, g: Array, w: Array, x: Array, window: Window, groups: int) -> None:
    x[first:last] = matrix.conv_input_adjoint(g[first:last], w, (x.shape[1], x.shape[2]), window, groups)
