"""Sum pooling."""

from __future__ import annotations

from cuslayer import check, kernels
from cuslayer.backend import Array
from cuslayer.kernels.geometry import Window
from cuslayer.tape import Pullback, differentiable


@differentiable
def pool(
    x: Array,
    /,
    *,
    kernel_size: int | tuple[int, int],
    gain: float,
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
) -> tuple[Array, Pullback]:
    """Sum each window of each channel: ``y[r, c] = gain sum_{i, j} x[stride r + dilation i - padding, ...]``.

    Channels never mix. Where the windows do not divide the frame, zeros are added at its end.

    Args:
        x: (T, N, H, W, C), spikes (summed as float32) or numbers.
        kernel_size: rows and columns of a window, one integer or two.
        gain: the weight of every input; the paper's is ``1.1 theta``.
        stride: rows and columns between windows; by default those of the window.
        padding: zeros around the frame.
        dilation: rows and columns between the taps of a window.

    Returns:
        The sums (T, N, H', W', C), ``H' = ceil((H + 2 padding - dilation (kernel - 1) - 1) / stride) + 1``.

    Raises:
        ValueError: x is not (T, N, H, W, C), or a constant does not fit.
        TypeError: a constant is no integer, gain no number.

    >>> import numpy as np
    >>> pool(np.ones((1, 1, 3, 2, 1), bool), kernel_size=2, gain=11.0).data.ravel().tolist()
    [44.0, 22.0]
    """
    if x.ndim != 5:
        raise ValueError(f"pool: x must be (T, N, H, W, C), got shape {x.shape}")
    gain = check.number("pool", "gain", gain)
    window = Window.of("pool", kernel_size, kernel_size if stride is None else stride, padding, dilation)
    k = kernels.of(x)
    shape = x.shape
    out = k.pool(x.reshape(shape[0] * shape[1], *shape[2:]), window, gain)
    maps = out.shape
    image = (shape[2], shape[3])
    return (
        out.reshape(*shape[:2], *maps[1:]),
        lambda g: k.pool_adjoint(g.reshape(maps), image, window, gain).reshape(shape),
    )
