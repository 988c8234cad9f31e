"""The transposed convolutional layer."""

from __future__ import annotations

import math
from typing import Any

from cuslayer import check, kernels
from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.layers.base import Shape, WeightHooks, changed_options
from cuslayer.layers.conv import Convolution, check_channels
from cuslayer.layers.window import Pair, check_frames
from cuslayer.operations.base import contiguous, saves
from cuslayer.tape import Gradient, Pullback, Tensor, differentiable, takes_packed


def output_padding_of(op: str, output_padding: Pair, window: Window) -> tuple[int, int]:
    """Return the rows and columns that a transposed convolution adds at the end of its output."""
    extra = check.pair(op, "output_padding", output_padding, least=0)
    for size, *steps in zip(extra, window.stride, window.dilation, strict=True):
        if size >= max(steps):
            raise ValueError(
                f"{op}: output_padding must be smaller than stride {window.stride} or dilation {window.dilation}, "
                f"got {extra}"
            )
    return extra


@differentiable
@takes_packed
@saves("others")
def conv_transpose(
    x: Array,
    weight: Array,
    /,
    *,
    stride: Pair = 1,
    padding: Pair = 0,
    dilation: Pair = 1,
    groups: int = 1,
    output_padding: Pair = 0,
) -> tuple[Array, Pullback]:
    """Add the weights of each input to the output: ``y[stride r + dilation i - padding, ...] += W[i, j] x[r, c]``.

    It is the adjoint of `conv` with the same weight and options: ``<conv(a, W), b> = <a, conv_transpose(b, W)>``. What
    falls into the padding is dropped. Each group maps its share of the input channels to its share of the outputs. On
    the CPU, only spikes cost time, forward and in the gradient of the weight.

    Args:
        x: (T, N, H, W, C), spikes or numbers.
        weight: (kh, kw, outputs / groups, C), float32 or float64.
        stride: rows and columns of the output between inputs, one integer or two.
        padding: rows and columns that are cut from each side of the output.
        dilation: rows and columns between the taps of a window.
        groups: the number of groups of channels.
        output_padding: rows and columns added at the end of the output, fewer than stride or dilation. Under a stride,
            frames of several sizes have convolutions of the same size; this selects one of them.

    Returns:
        The weighted input (T, N, H', W', outputs), in the weight's type,
        ``H' = stride (H - 1) - 2 padding + dilation (kh - 1) + 1 + output_padding``.

    Raises:
        ValueError: a rank, a number of channels or a constant does not fit, or the output would be empty.
        TypeError: weight is not floating, or a constant is not an integer.

    >>> import numpy as np
    >>> x = np.array([True, False, True]).reshape(1, 1, 1, 3, 1)
    >>> conv_transpose(x, np.array([1.0, 2.0, 4.0]).reshape(1, 3, 1, 1), stride=(1, 2)).data.ravel().tolist()
    [1.0, 2.0, 4.0, 0.0, 1.0, 2.0, 4.0]
    """
    check_frames("conv_transpose", x.shape)
    if weight.ndim != 4:
        raise ValueError(
            f"conv_transpose: weight must be (kh, kw, outputs / groups, channels), got shape {weight.shape}"
        )
    check.floating("conv_transpose", "weight", weight)
    groups = check.integer("conv_transpose", "groups", groups, least=1)
    check_channels("conv_transpose", x.shape, weight.shape[3])
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
        # With a dilation, an output padding of a stride or more holds windows that belong to no input.
        windows = k.conv.forward(g, weight, window, groups)[:, : shape[2], : shape[3]]
        return contiguous(windows).reshape(shape)

    def pullback(g: Array) -> tuple[Gradient, Gradient]:
        g = g.reshape(maps)
        return lambda: of_input(g), lambda: k.conv_transpose.weight_adjoint(frames, g, window, groups)

    return out.reshape(*shape[:2], *maps[1:]), pullback


class ConvTranspose(Convolution):
    """A transposed convolution without a bias: the adjoint of a convolution; see `functions.conv_transpose`.

    Args:
        in_channels: channels of the frames.
        out_channels: channels of the output.
        kernel_size: rows and columns of the window, one integer or two.
        stride, padding, dilation, output_padding: as in `functions.conv_transpose`.
        groups: the number of groups of channels; it divides both numbers of channels.
        weight_scale: weights start uniform in ``+-weight_scale / sqrt(fan_in)``; fan_in is the largest number of
            inputs of an output: ``in_channels / groups`` times the taps that overlap there, ``ceil(kernel / stride)``
            along each axis where the dilation is 1.
        weight_hook: a function of the weight that is applied before each use; or a tuple of them, applied in order.

    Attributes:
        weight: (kh, kw, out_channels / groups, in_channels).

    Raises:
        ValueError: a size or the scale is out of range, or the groups do not divide the channels.
        TypeError: a size is not an integer, or the hook is not callable.

    >>> import numpy as np
    >>> layer = ConvTranspose(16, 2, 4, stride=2, padding=1)
    >>> layer.weight.shape, layer(np.zeros((3, 1, 17, 17, 16), bool)).shape
    ((4, 4, 2, 16), (3, 1, 34, 34, 2))
    """

    memory = 0

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Pair,
        *,
        stride: Pair = 1,
        padding: Pair = 0,
        dilation: Pair = 1,
        groups: int = 1,
        output_padding: Pair = 0,
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
        # Taps overlap where their distance, a multiple of the dilation, is a multiple of the stride.
        steps = [stride // math.gcd(stride, gap) for stride, gap in zip(self.stride, self.dilation, strict=True)]
        overlapping = [-(-size // step) for size, step in zip(self.kernel_size, steps, strict=True)]
        return math.prod(overlapping) * self.in_channels // self.groups

    def per_output_shapes(self) -> tuple[Shape, Shape]:
        kernel_h, kernel_w, outputs, _ = self.weight.shape
        inputs = self.in_channels // self.groups
        return (kernel_h, kernel_w, outputs, self.groups, inputs), (1, 1, outputs, self.groups, 1)

    def __call__(self, x: Any) -> Tensor:
        return conv_transpose(x, self.effective_weight(), output_padding=self.output_padding, **self.geometry())

    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape is None:
            return None
        self.check_frame("conv_transpose", shape)
        return (*self.window.image("conv_transpose", shape[:2], self.output_padding), self.out_channels)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}{changed_options(self, output_padding=(0, 0))})"
