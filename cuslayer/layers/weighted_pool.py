"""Pooling and unpooling with a weight for each tap of the window: the operations of pooling layers with hooks."""

from __future__ import annotations

from typing import Any

from cuslayer import check, kernels
from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.layers.window import Pair, check_frames
from cuslayer.operations.base import saves
from cuslayer.tape import Gradient, Pullback, differentiable


@differentiable
@saves("others")
def weighted_pool(
    x: Array, weight: Array, /, *, stride: Pair | None = None, padding: Pair = 0, dilation: Pair = 1
) -> tuple[Array, Pullback]:
    """Sum each window of each channel with a weight for each tap: `pool` with more than one gain.

    ``y[r, c] = sum_{i, j} W[i, j] x[stride r + dilation i - padding, ...]``. Channels do not mix, and share the weight.
    Where the windows do not divide the frame, zeros are added at its end. A weight that is the same at all taps gives
    the bits of `pool`. Backward also gives the gradient of the weight.

    Args:
        x: (T, N, H, W, C), spikes (which count in the weight's type) or numbers.
        weight: (kh, kw, 1, 1), float32 or float64.
        stride: rows and columns between windows; by default those of the window.
        padding: zeros around the frame.
        dilation: rows and columns between the taps of a window.

    Returns:
        The sums (T, N, H', W', C), as of `pool`.

    Raises:
        ValueError: x is not (T, N, H, W, C), weight is not (kh, kw, 1, 1), or a constant does not fit.
        TypeError: weight is not floating, or a constant is not an integer.

    >>> import numpy as np
    >>> weight = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)
    >>> weighted_pool(np.ones((1, 1, 3, 2, 1), bool), weight).data.ravel().tolist()
    [10.0, 3.0]
    """
    x, k, taps, window, shape = _prepared("weighted_pool", x, weight, stride, padding, dilation)
    out = _forward(k, x, taps, window)
    maps = out.shape

    def pullback(g: Array) -> tuple[Gradient, Gradient]:
        g = g.reshape(maps)
        return (
            lambda: _adjoint(k, g, taps, (shape[2], shape[3]), window).reshape(shape),
            lambda: k.pool.weight_adjoint(x, g, window).reshape(weight.shape).astype(weight.dtype, copy=False),
        )

    return out.reshape(*shape[:2], *maps[1:]), pullback


@differentiable
@saves("others")
def weighted_unpool(
    x: Array, weight: Array, /, *, stride: Pair | None = None, padding: Pair = 0, dilation: Pair = 1
) -> tuple[Array, Pullback]:
    """Add each input to all pixels of its window with a weight for each tap: `unpool` with more than one gain.

    ``y[stride r + dilation i - padding, ...] += W[i, j] x[r, c]``. It is the adjoint of `weighted_pool` with the same
    weight and options.

    Args:
        x: (T, N, H, W, C), spikes (which count in the weight's type) or numbers.
        weight: (kh, kw, 1, 1), float32 or float64.
        stride: rows and columns between windows; by default those of the window.
        padding: rows and columns that are cut from each side of the output.
        dilation: rows and columns between the taps of a window.

    Returns:
        The sums (T, N, H', W', C), as of `unpool`.

    Raises:
        ValueError: x is not (T, N, H, W, C), weight is not (kh, kw, 1, 1), a constant does not fit, or the output would
            be empty.
        TypeError: weight is not floating, or a constant is not an integer.

    >>> import numpy as np
    >>> weight = np.array([1.0, 2.0]).reshape(1, 2, 1, 1)
    >>> weighted_unpool(np.array([[[[[True], [False]]]]]), weight).data.ravel().tolist()
    [1.0, 2.0, 0.0, 0.0]
    """
    x, k, taps, window, shape = _prepared("weighted_unpool", x, weight, stride, padding, dilation)
    image = window.image("weighted_unpool", shape[2:4])
    out = _adjoint(k, x, taps, image, window)
    maps = out.shape

    def pullback(g: Array) -> tuple[Gradient, Gradient]:
        g = g.reshape(maps)
        return (
            lambda: _forward(k, g, taps, window).reshape(shape),
            lambda: k.pool.weight_adjoint(g, x, window).reshape(weight.shape).astype(weight.dtype, copy=False),
        )

    return out.reshape(*shape[:2], *maps[1:]), pullback


def _prepared(
    op: str, x: Array, weight: Array, stride: Pair | None, padding: Pair, dilation: Pair
) -> tuple[Array, Any, Array | float, Window, tuple[int, ...]]:
    """Validate the arguments; return the frames as numbers, the kernels, the taps, the window, and x's shape.

    The taps are an array (kh, kw), or one number where all are the same.
    """
    check_frames(op, x.shape)
    check.floating(op, "weight", weight)
    if weight.ndim != 4 or weight.shape[2:] != (1, 1):
        raise ValueError(f"{op}: weight must be (kh, kw, 1, 1), got shape {weight.shape}")
    kernel_size = weight.shape[:2]
    window = Window.of(op, kernel_size, kernel_size if stride is None else stride, padding, dilation)
    dtype = weight.dtype if x.dtype.kind in "biu" else x.dtype
    frames = x.reshape(x.shape[0] * x.shape[1], *x.shape[2:]).astype(dtype, copy=False)
    taps = weight[:, :, 0, 0].astype(dtype, copy=False)
    same = (taps == taps[0, 0]).all()
    return frames, kernels.of(x), taps[0, 0].item() if same else taps, window, x.shape


def _forward(k: Any, x: Array, taps: Array | float, window: Window) -> Array:
    """Return the pooled frames, by the sum of `pool` and one factor where all taps are the same."""
    if isinstance(taps, float):
        return k.pool.forward(x, window, taps)
    return k.pool.weighted_pool(x, taps, window)


def _adjoint(k: Any, g: Array, taps: Array | float, image: tuple[int, int], window: Window) -> Array:
    """Return the adjoint of `_forward`, for an image (H, W)."""
    if isinstance(taps, float):
        return k.pool.adjoint(g, image, window, taps)
    return k.pool.weighted_pool_adjoint(g, taps, image, window)
