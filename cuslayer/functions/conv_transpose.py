"""The transposed convolutional synapse."""

from __future__ import annotations

from cuslayer import check, kernels
from cuslayer.backend import Array, namespace
from cuslayer.kernels.geometry import Window
from cuslayer.tape import Pullback, differentiable


def output_padding_of(op: str, output_padding: int | tuple[int, int], window: Window) -> tuple[int, int]:
    """Return the rows and columns that are added to the image of a transposed convolution.

    Raises:
        ValueError: they are negative, or neither smaller than the stride nor than the dilation.
        TypeError: they are no integers.
    """
    extra = check.pair(op, "output_padding", output_padding, least=0)
    for size, *steps in zip(extra, window.stride, window.dilation, strict=True):
        if size >= max(steps):
            raise ValueError(
                f"{op}: output_padding must be smaller than stride {window.stride} or dilation {window.dilation}, "
                f"got {extra}"
            )
    return extra


@differentiable
def conv_transpose(
    x: Array,
    weight: Array,
    /,
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    output_padding: int | tuple[int, int] = 0,
) -> tuple[Array, Pullback]:
    """Lay the weights of each input over the result: ``y[stride r + dilation i - padding, ...] += W[i, j] x[r, c]``.

    It is the adjoint of `conv` with the same weight and options: ``<conv(a, W), b> = <a, conv_transpose(b, W)>``. What
    falls outside the result, by its padding, is lost. Of ``groups`` groups, each maps its share of the input channels
    to its share of the outputs. On the CPU, spikes are walked one by one, forward and for the weight gradient.

    Args:
        x: (T, N, H, W, C), spikes or numbers.
        weight: (kh, kw, outputs / groups, C), float32 or float64.
        stride: rows and columns of the result between inputs, one integer or two.
        padding: rows and columns that are cut from each side of the result.
        dilation: rows and columns between the taps of a window.
        groups: how many groups the channels form.
        output_padding: rows and columns that the result has more at its end, fewer than stride or dilation: several
            frames shrink to the same under a stride, and this says which of them is meant.

    Returns:
        The weighted input (T, N, H', W', outputs), in the weight's type,
        ``H' = stride (H - 1) - 2 padding + dilation (kh - 1) + 1 + output_padding``.

    Raises:
        ValueError: a rank, a count of channels or a constant does not fit, or nothing is left of the result.
        TypeError: weight is not floating, or a constant is no integer.

    >>> import numpy as np
    >>> x = np.array([True, False, True]).reshape(1, 1, 1, 3, 1)
    >>> conv_transpose(x, np.array([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1), stride=(1, 2)).data.ravel().tolist()
    [1.0, 2.0, 4.0, 0.0, 1.0, 2.0, 4.0]
    """
    if x.ndim != 5:
        raise ValueError(f"conv_transpose: x must be (T, N, H, W, C), got shape {x.shape}")
    if weight.ndim != 4:
        raise ValueError(
            f"conv_transpose: weight must be (kh, kw, outputs / groups, channels), got shape {weight.shape}"
        )
    check.floating("conv_transpose", "weight", weight)
    groups = check.integer("conv_transpose", "groups", groups, least=1)
    if x.shape[4] != weight.shape[3]:
        raise ValueError(f"conv_transpose: x has {x.shape[4]} channels, weight expects {weight.shape[3]}")
    if x.shape[4] % groups:
        raise ValueError(f"conv_transpose: x has {x.shape[4]} channels, not a multiple of {groups} groups")
    window = Window.of("conv_transpose", weight.shape[:2], stride, padding, dilation)
    shape = x.shape
    image = window.image("conv_transpose", shape[2:4], output_padding_of("conv_transpose", output_padding, window))
    k = kernels.of(weight)
    frames = k.synapse_input(x.reshape(shape[0] * shape[1], *shape[2:]))
    out = k.conv_transpose(frames, weight, image, window, groups)
    maps = out.shape

    def of_input(g: Array) -> Array:
        # Under a dilation, an output padding of a stride or more holds windows of its own, which no input has.
        windows = k.conv(g, weight, window, groups)[:, : shape[2], : shape[3]]
        return namespace(g).ascontiguousarray(windows).reshape(shape)

    def pullback(g: Array) -> tuple[object, object]:
        g = g.reshape(maps)
        return lambda: of_input(g), lambda: k.conv_transpose_weight_adjoint(frames, g, window, groups)

    return out.reshape(*shape[:2], *maps[1:]), pullback  # type: ignore[return-value]
