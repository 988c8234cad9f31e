"""Sum pooling on a GPU, `pool.cu`, and maximum pooling, by CuPy's functions on the pixels of each tap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeAlias

import numpy as np

from cuslayer.backend import Array, namespace
from cuslayer.kernels.constants import Window, lowest
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.images import WARPS, places
from cuslayer.kernels.cuda.launch import TILE, contiguous, empty, zeros
from cuslayer.kernels.spikes.gpu import synapse_input
from cuslayer.kernels.spikes.packed import WORD, PackedSpikes, words_of
from cuslayer.kernels.synapse.matrix import pool_weight_adjoint as weight_adjoint
from cuslayer.kernels.synapse.matrix import weighted_pool, weighted_pool_adjoint

__all__ = [
    "adjoint",
    "forward",
    "max_pool",
    "max_pool_adjoint",
    "weight_adjoint",
    "weighted_pool",
    "weighted_pool_adjoint",
]


def forward(x: PackedSpikes | Array, window: Window, gain: Any, *, ceil: bool = True) -> Array:
    """Sum each window of x (frames, H, W, C) channel by channel, times gain; spikes count as float32."""
    x = synapse_input(x)
    *image, channels = x.shape[-3:]
    frames = x.frames if isinstance(x, PackedSpikes) else len(x)
    source = x.words if isinstance(x, PackedSpikes) else contiguous(x)
    dtype = np.dtype(np.float32) if isinstance(x, PackedSpikes) else x.dtype
    y = empty(source, (frames, *window.outputs(tuple(image), ceil=ceil), channels), dtype)
    arguments = {"x": source, "y": y, "gain": dtype.type(gain), **places(x, y, window)}
    if isinstance(x, PackedSpikes):
        warps = -(-frames // TILE) * y.shape[1] * words_of(y.shape[2] * channels)
        kernel("pool", dtype).launch((-(-warps // WARPS),), (WORD, WARPS), **arguments)
    else:
        kernel("pool_numbers", dtype)(y.size, **arguments)
    return y


def adjoint(g: Array, image: tuple[int, int], window: Window, gain: Any) -> Array:
    """Return the gradient of an image (H, W): for each pixel, gain times the sum of its windows' gradients."""
    x = empty(g, (len(g), *image, g.shape[3]), g.dtype)
    gain = g.dtype.type(gain)
    kernel("pool_adjoint", g.dtype)(x.size, g=contiguous(g), x=x, gain=gain, **places(x, g, window))
    return x


def max_pool(x: Array, window: Window) -> tuple[Array, Array]:
    """Return the largest pixel of each window of x (frames, H, W, C) channel by channel, and its tap in row order."""
    image = (x.shape[1], x.shape[2])
    shape = len(x), *window.outputs(image, ceil=False), x.shape[3]
    y = empty(x, shape, x.dtype)
    y[...] = lowest(x.dtype)
    place = zeros(x, shape, window.tap_type)
    choose = namespace(x).where
    for tap, of_windows, of_pixels in _taps_from_last(window, image, shape[1:3]):
        largest = y[of_windows]
        pixels = x[of_pixels]
        wins = (pixels >= largest) | (pixels != pixels)
        y[of_windows] = choose(wins, pixels, largest)
        place[of_windows] = choose(wins, tap, place[of_windows])
    return y, place


def max_pool_adjoint(g: Array, place: Array, image: tuple[int, int], window: Window) -> Array:
    """Return the gradient of an image (H, W) in `max_pool`, g and place (frames, rows, columns, C)."""
    x = zeros(g, (len(g), *image, g.shape[3]), g.dtype)
    choose, zero = namespace(g).where, g.dtype.type(0)
    # The CPU adds the errors of a pixel by window: the last tap of the first one comes first.
    for tap, of_windows, of_pixels in _taps_from_last(window, image, g.shape[1:3]):
        x[of_pixels] += choose(place[of_windows] == tap, g[of_windows], zero)
    return x


_Part: TypeAlias = "tuple[slice, slice, slice]"


def _taps_from_last(
    window: Window, image: tuple[int, int], maps: tuple[int, ...]
) -> Iterator[tuple[Any, _Part, _Part]]:
    """Yield each tap, the windows where it lies in the image, and its pixels there."""
    for i in reversed(range(window.kernel[0])):
        rows, down = _span(window, 0, i, image, maps)
        for j in reversed(range(window.kernel[1])):
            columns, across = _span(window, 1, j, image, maps)
            tap = window.tap_type.type(i * window.kernel[1] + j)
            yield tap, (slice(None), rows, columns), (slice(None), down, across)


def _span(window: Window, axis: int, tap: int, image: tuple[int, int], maps: tuple[int, ...]) -> tuple[slice, slice]:
    """Return the windows whose tap lies in the image along an axis, and its pixels there."""
    stride = window.stride[axis]
    start = tap * window.dilation[axis] - window.padding[axis]
    first = max(0, -(start // stride))
    past = max(first, min(maps[axis], (image[axis] - 1 - start) // stride + 1))
    pixel = first * stride + start
    return slice(first, past), slice(pixel, pixel + (past - first) * stride, stride)
