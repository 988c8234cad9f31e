"""The transposed convolutional layer."""

from __future__ import annotations

import math
from typing import Any

from cuslayer import functions
from cuslayer.functions.conv_transpose import output_padding_of
from cuslayer.layers.base import WeightHooks, differing
from cuslayer.layers.convolution import Convolution
from cuslayer.tape import Tensor


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
        return functions.conv_transpose(
            x, self.effective_weight(), output_padding=self.output_padding, **self.geometry()
        )

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}{differing(self, output_padding=(0, 0))})"
