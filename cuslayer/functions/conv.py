"""The convolutional synapse."""

from __future__ import annotations

from cuslayer import check, kernels
from cuslayer.backend import Array
from cuslayer.kernels.geometry import Window
from cuslayer.tape import Pullback, differentiable


def geometry(
    op: str,
    x: Array,
    weight: Array,
    stride: int | tuple[int, int],
    padding: int | tuple[int, int],
    dilation: int | tuple[int, int],
    groups: int,
) -> tuple[Window, int]:
    """Return the window and the groups of a convolution.

    Raises:
        ValueError: a rank, a count of channels or a constant does not fit.
        TypeError: weight is not floating, or a constant is no integer.
    """
    if x.ndim != 5:
        raise ValueError(f"{op}: x must be (T, N, H, W, C), got shape {x.shape}")
    if weight.ndim != 4:
        raise ValueError(f"{op}: weight must be (kh, kw, channels / groups, outputs), got shape {weight.shape}")
    check.floating(op, "weight", weight)
    groups = check.integer(op, "groups", groups, least=1)
    if x.shape[4] != weight.shape[2] * groups:
        raise ValueError(f"{op}: x has {x.shape[4]} channels, weight expects {weight.shape[2] * groups}")
    if weight.shape[3] % groups:
        raise ValueError(f"{op}: weight has {weight.shape[3]} outputs, not a multiple of {groups} groups")
    return Window.of(op, weight.shape[:2], stride, padding, dilation), groups


@differentiable
def conv(
    x: Array,
    weight: Array,
    /,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> tuple[Array, Pullback]:
    """Slide the weights over each frame: ``y[r, c] = sum_{i, j} x[stride r + dilation i - padding, ...] W[i, j]``.

    The window is not flipped. Of ``groups`` groups, each maps its share of the input channels to its share of the
    outputs. On the CPU, spikes are walked one by one, forward and for the weight gradient.

    Args:
        x: (T, N, H, W, C), spikes or numbers.
        weight: (kh, kw, C / groups, outputs), float32 or float64.
        stride: rows and columns between windows, one integer or two.
        padding: zeros around the frame.
        dilation: rows and columns between the taps of a window.
        groups: how many groups the channels form.

    Returns:
        The weighted input (T, N, H', W', outputs), ``H' = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1``.

    Raises:
        ValueError: a rank, a count of channels or a constant does not fit.
        TypeError: weight is not floating, or a constant is no integer.

    >>> import numpy as np
    >>> x = np.zeros((1, 1, 3, 3, 1), bool); x[0, 0, 1, 1] = True
    >>> conv(x, np.arange(9.0).reshape(3, 3, 1, 1), padding=1).data.reshape(3, 3).tolist()
    [[8.0, 7.0, 6.0], [5.0, 4.0, 3.0], [2.0, 1.0, 0.0]]
    """
    window, groups = geometry("conv", x, weight, stride, padding, dilation, groups)
    k = kernels.of(weight)
    shape = x.shape
    frames = k.synapse_input(x.reshape(shape[0] * shape[1], *shape[2:]))
    out = k.conv(frames, weight, window, groups)
    maps = out.shape

    def pullback(g: Array) -> tuple[object, object]:
        g = g.reshape(maps)
        return (
            lambda: k.conv_input_adjoint(g, weight, shape[2:4], window, groups).reshape(shape),
            lambda: k.conv_weight_adjoint(frames, g, window, groups),
        )

    return out.reshape(*shape[:2], *maps[1:]), pullback  # type: ignore[return-value]
