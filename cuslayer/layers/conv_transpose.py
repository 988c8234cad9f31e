"""The transposed convolutional synapse.

The transposed convolutional layer.
"""

from __future__ import annotations

import math
from typing import Any

from cuslayer import check, kernels
from cuslayer.backend import Array, namespace
from cuslayer.kernels.window import Window
from cuslayer.layers.base import WeightHooks, differing
from cuslayer.layers.conv import Convolution
from cuslayer.tape import Gradient, Pullback, Tensor, differentiable


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
    frames = k.spikes.synapse_input(x.reshape(shape[0] * shape[1], *shape[2:]))
    out = k.conv_transpose.forward(frames, weight, image, window, groups)
    maps = out.shape

    def of_input(g: Array) -> Array:
        # Under a dilation, an output padding of a stride or more holds windows of its own, which no input has.
        windows = k.conv.forward(g, weight, window, groups)[:, : shape[2], : shape[3]]
        return namespace(g).ascontiguousarray(windows).reshape(shape)

    def pullback(g: Array) -> tuple[Gradient, Gradient]:
        g = g.reshape(maps)
        return lambda: of_input(g), lambda: k.conv_transpose.weight_adjoint(frames, g, window, groups)

    return out.reshape(*shape[:2], *maps[1:]), pullback


class ConvTranspose(Convolution):
    """A transposed convolution without a bias, the adjoint of one; see `functions.conv_transpose`.

    Args:
        in_channels: channels of the frames.
        out_channels: channels of the result.
        kernel_size: rows and columns of the window, one integer or two.
        stride: rows and columns of the result between inputs.
        padding: rows and columns that are cut from each side of the result.
        dilation: rows and columns between the taps of a window.
        groups: how many groups the channels form; they divide both counts of channels.
        output_padding: rows and columns that the result has more at its end, fewer than stride or dilation.
        weight_scale: weights start uniform in ``+-weight_scale / sqrt(fan_in)``; fan_in is how many inputs reach an
            output at most: ``in_channels / groups`` times the taps that meet there, ``ceil(kernel / stride)`` along
            each axis where the dilation is 1.
        weight_hook: maps the weight before each use; a tuple of hooks, one after the other.

    Attributes:
        weight: (kh, kw, out_channels / groups, in_channels).

    Raises:
        ValueError: a size or the scale is out of range, or the groups do not divide the channels.
        TypeError: a size is no integer, or the hook cannot be called.

    >>> import numpy as np
    >>> layer = ConvTranspose(16, 2, 4, stride=2, padding=1)
    >>> layer.weight.shape, layer(np.zeros((3, 1, 17, 17, 16), bool)).shape
    ((4, 4, 2, 16), (3, 1, 34, 34, 2))
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        groups: int = 1,
        output_padding: int | tuple[int, int] = 0,
        weight_scale: float = 100.0,
        weight_hook: WeightHooks = None,
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size,
            stride=stride,
            padding=padding,
            dilation=dilation,
            groups=groups,
            weight_scale=weight_scale,
            weight_hook=weight_hook,
        )
        self.output_padding = output_padding_of(type(self).__name__, output_padding, self.window)

    def weight_shape(self) -> tuple[int, ...]:
        return (*self.kernel_size, self.out_channels // self.groups, self.in_channels)

    def fan_in(self) -> int:
        # Taps meet where their distance, some dilations, is a multiple of the stride.
        apart = [stride // math.gcd(stride, gap) for stride, gap in zip(self.stride, self.dilation, strict=True)]
        meeting = [-(-size // step) for size, step in zip(self.kernel_size, apart, strict=True)]
        return math.prod(meeting) * self.in_channels // self.groups

    def by_output(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        kernel_h, kernel_w, outputs, _ = self.weight.shape
        inputs = self.in_channels // self.groups
        return (kernel_h, kernel_w, outputs, self.groups, inputs), (1, 1, outputs, self.groups, 1)

    def __call__(self, x: Any) -> Tensor:
        return conv_transpose(x, self.effective_weight(), output_padding=self.output_padding, **self.geometry())

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}{differing(self, output_padding=(0, 0))})"
