"""Dense layers and convolution of numbers as matrix products, and weighted pooling as sums of shifted views.

Convolution copies the patches of one block of frames at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array, namespace
from cuslayer.kernels.constants import Window
from cuslayer.kernels.synapse.dense.matmul import matmul

# Bytes of the patches of a block: enough for a fast product, little compared with the memory of a network.
_BLOCK_BYTES = 8 << 20


def product(a: Array, b: Array) -> Array:
    """Return a b, a (rows, inner), b (inner, columns); on a GPU by a kernel that a CUDA graph can capture."""
    return a @ b if namespace(a) is np else matmul(a, b)


def product_of_transposed(a: Array, b: Array) -> Array:
    """Return a' b, a (inner, rows), b (inner, columns); see `product`."""
    return a.T @ b if namespace(a) is np else matmul(a, b, a_transposed=True)


def dense(x: Array, w: Array) -> Array:
    """Return x w, x (rows, inputs), w (inputs, outputs)."""
    return product(x.astype(w.dtype, copy=False), w)


def dense_weight_adjoint(x: Array, g: Array) -> Array:
    """Return x' g, x (rows, inputs), g (rows, outputs): the gradient of w in x w."""
    return product_of_transposed(x.astype(g.dtype, copy=False), g)


def _blocks(frames: int, bytes_per_frame: int) -> Iterator[slice]:
    step = max(1, _BLOCK_BYTES // max(1, bytes_per_frame))
    for first in range(0, frames, step):
        yield slice(first, first + step)


def _taps(window: Window, rows: int, columns: int) -> Iterator[tuple[int, int, slice, slice]]:
    """Yield each tap of a window and the rows and columns of the padded image that it multiplies."""
    for i in range(window.kernel[0]):
        top = i * window.dilation[0]
        for j in range(window.kernel[1]):
            left = j * window.dilation[1]
            yield (
                i,
                j,
                slice(top, top + (rows - 1) * window.stride[0] + 1, window.stride[0]),
                slice(left, left + (columns - 1) * window.stride[1] + 1, window.stride[1]),
            )


def _canvas(like: Array, image: tuple[int, int], channels: int, window: Window, out: tuple[int, int]) -> Array:
    """Return zeros (frames, H', W', C) for an image (H, W), its padding and everything that the windows cover."""
    height, width = (
        max(
            window.padding[axis] + image[axis],
            (out[axis] - 1) * window.stride[axis] + (window.kernel[axis] - 1) * window.dilation[axis] + 1,
        )
        for axis in (0, 1)
    )
    return namespace(like).zeros((len(like), height, width, channels), like.dtype)


def _inside(window: Window, image: tuple[int, int]) -> tuple[slice, slice, slice]:
    """Return the position of the image on its canvas."""
    top, left = window.padding
    return slice(None), slice(top, top + image[0]), slice(left, left + image[1])


def _padded(x: Array, window: Window, out: tuple[int, int]) -> Array:
    image = (x.shape[1], x.shape[2])
    canvas = _canvas(x, image, x.shape[3], window, out)
    canvas[_inside(window, image)] = x
    return canvas


def _patches(x: Array, window: Window, rows: int, columns: int, dtype: Any) -> Array:
    """Return the patches (frames, rows, columns, kh, kw, C) of x (frames, H, W, C)."""
    padded = _padded(x, window, (rows, columns))
    patches = namespace(x).empty((len(x), rows, columns, *window.kernel, x.shape[3]), dtype)
    for i, j, down, across in _taps(window, rows, columns):
        patches[:, :, :, i, j] = padded[:, down, across]
    return patches


@check.operation
def conv(x: Array, w: Array, window: Window, groups: int) -> Array:
    """Convolve x (frames, H, W, C) with w (kh, kw, C / groups, outputs) to (frames, rows, columns, outputs)."""
    rows, columns = window.outputs(x.shape[1:3], ceil=False)
    inputs = w.shape[2]
    outputs = w.shape[3] // groups
    out = namespace(x).empty((len(x), rows, columns, w.shape[3]), w.dtype)
    taps = window.kernel[0] * window.kernel[1]
    for block in _blocks(len(x), rows * columns * taps * x.shape[3] * w.dtype.itemsize):
        patches = _patches(x[block], window, rows, columns, w.dtype)
        for group in range(groups):
            patch_matrix = patches[..., group * inputs : (group + 1) * inputs].reshape(-1, taps * inputs)
            own_outputs = slice(group * outputs, (group + 1) * outputs)
            products = product(patch_matrix, w[..., own_outputs].reshape(taps * inputs, outputs))
            out[block, ..., own_outputs] = products.reshape(-1, rows, columns, outputs)
    return out


def conv_weight_adjoint(x: Array, g: Array, window: Window, groups: int) -> Array:
    """Return the gradient (kh, kw, C / groups, outputs) of the weight, x (frames, H, W, C), g as conv returns."""
    rows, columns = g.shape[1:3]
    inputs = x.shape[3] // groups
    outputs = g.shape[3] // groups
    w = namespace(g).zeros((*window.kernel, inputs, g.shape[3]), g.dtype)
    taps = window.kernel[0] * window.kernel[1]
    for block in _blocks(len(x), rows * columns * taps * x.shape[3] * g.dtype.itemsize):
        patches = _patches(x[block], window, rows, columns, g.dtype)
        for group in range(groups):
            patch_matrix = patches[..., group * inputs : (group + 1) * inputs].reshape(-1, taps * inputs)
            own_outputs = slice(group * outputs, (group + 1) * outputs)
            products = product_of_transposed(patch_matrix, g[block, ..., own_outputs].reshape(-1, outputs))
            w[..., own_outputs] += products.reshape(*window.kernel, inputs, outputs)
    return w


@check.operation
def weighted_pool(x: Array, w: Array, window: Window) -> Array:
    """Sum each window of x (frames, H, W, C) channel by channel, with a weight w (kh, kw) for each tap."""
    rows, columns = window.outputs(x.shape[1:3], ceil=True)
    padded = _padded(x, window, (rows, columns))
    out = namespace(x).zeros((len(x), rows, columns, x.shape[3]), x.dtype)
    for i, j, down, across in _taps(window, rows, columns):
        out += w[i, j] * padded[:, down, across]
    return out


def weighted_pool_adjoint(g: Array, w: Array, image: tuple[int, int], window: Window) -> Array:
    """Return the gradient of an image (H, W) in `weighted_pool`, g (frames, rows, columns, C)."""
    rows, columns = g.shape[1:3]
    padded = _canvas(g, image, g.shape[3], window, (rows, columns))
    for i, j, down, across in _taps(window, rows, columns):
        padded[:, down, across] += w[i, j] * g
    return padded[_inside(window, image)]


def pool_weight_adjoint(x: Array, g: Array, window: Window) -> Array:
    """Return the gradient (kh, kw) of the weight in `weighted_pool`, x (frames, H, W, C), g like the output."""
    rows, columns = g.shape[1:3]
    padded = _padded(x, window, (rows, columns))
    out = namespace(x).zeros(window.kernel, g.dtype)
    for i, j, down, across in _taps(window, rows, columns):
        out[i, j] = (padded[:, down, across] * g).sum()
    return out
