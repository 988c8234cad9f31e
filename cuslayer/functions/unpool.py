"""Unpooling: the transpose of sum pooling."""

from __future__ import annotations

from cuslayer import check, kernels
from cuslayer.backend import Array
from cuslayer.kernels.geometry import Window
from cuslayer.tape import Pullback, differentiable, numeric


@differentiable
def unpool(
    x: Array,
    /,
    *,
    kernel_size: int | tuple[int, int],
    gain: float,
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
) -> tuple[Array, Pullback]:
    """Hand each input to all of its window: ``y[stride r + dilation i - padding, ...] += gain x[r, c]``.

    It is the adjoint of `pool` with the same options: ``<pool(a), b> = <a, unpool(b)>``. Channels never mix. The result
    is the smallest frame that holds all the windows: by default each input becomes a block of the window's size, and H
    rows become ``H kernel``.

    Args:
        x: (T, N, H, W, C), spikes (counted as float32) or numbers.
        kernel_size: rows and columns of a window, one integer or two.
        gain: the weight of every input.
        stride: rows and columns between windows; by default those of the window.
        padding: rows and columns that are cut from each side of the result.
        dilation: rows and columns between the taps of a window.

    Returns:
        The sums (T, N, H', W', C), ``H' = stride (H - 1) - 2 padding + dilation (kernel - 1) + 1``.

    Raises:
        ValueError: x is not (T, N, H, W, C), a constant does not fit, or nothing is left of the result.
        TypeError: a constant is no integer, gain no number.

    >>> import numpy as np
    >>> unpool(np.array([[[[[True], [False]]]]]), kernel_size=(1, 2), gain=11.0).data.ravel().tolist()
    [11.0, 11.0, 0.0, 0.0]
    """
    if x.ndim != 5:
        raise ValueError(f"unpool: x must be (T, N, H, W, C), got shape {x.shape}")
    gain = check.number("unpool", "gain", gain)
    window = Window.of("unpool", kernel_size, kernel_size if stride is None else stride, padding, dilation)
    shape = x.shape
    image = window.image("unpool", shape[2:4])
    k = kernels.of(x)
    out = k.pool_adjoint(numeric(x).reshape(shape[0] * shape[1], *shape[2:]), image, window, gain)
    maps = out.shape
    return (
        out.reshape(*shape[:2], *maps[1:]),
        lambda g: k.pool(g.reshape(maps), window, gain).reshape(shape),
    )
