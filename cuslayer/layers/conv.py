"""The convolutional layer, and the base class that it shares with the transposed one."""

from __future__ import annotations

import math
from typing import Any

from cuslayer import check, instead, kernels
from cuslayer.backend import Array
from cuslayer.kernels.constants import Window
from cuslayer.layers.base import Shape, Synapse, WeightHooks, changed_options
from cuslayer.layers.window import Pair, Sliding, check_frames
from cuslayer.operations.base import saves
from cuslayer.tape import Gradient, Pullback, Tensor, differentiable, takes_packed


def prepare(
    op: str, x: Array, weight: Array, stride: Pair, padding: Pair, dilation: Pair, groups: int
) -> tuple[Any, Array, Window, int]:
    """Validate the arguments of a convolution; return the kernels, the frames (T N, H, W, C), window and groups."""
    check_frames(op, x.shape)
    if weight.ndim != 4:
        raise ValueError(f"{op}: weight must be (kh, kw, channels / groups, outputs), got shape {weight.shape}")
    check.floating(op, "weight", weight)
    groups = check.integer(op, "groups", groups, least=1)
    check_channels(op, x.shape, weight.shape[2] * groups)
    if weight.shape[3] % groups:
        raise ValueError(f"{op}: weight has {weight.shape[3]} outputs, not a multiple of {groups} groups")
    window, k = Window.of(op, weight.shape[:2], stride, padding, dilation), kernels.of(weight)
    return k, k.spikes.synapse_input(x.reshape(x.shape[0] * x.shape[1], *x.shape[2:])), window, groups


def check_channels(op: str, shape: tuple[Any, ...], expected: int) -> None:
    """Raise ValueError unless a shape (T, N, H, W, C) has the channels that a weight expects."""
    if shape[4] != expected:
        hint = "; channels come last, np.moveaxis(x, 2, -1)" if shape[2] == expected else ""
        raise ValueError(f"{op}: x has {shape[4]} channels, weight expects {expected}{hint}")


@differentiable
@takes_packed
@saves("others")
def conv(
    x: Array, weight: Array, /, *, stride: Pair = 1, padding: Pair = 0, dilation: Pair = 1, groups: int = 1
) -> tuple[Array, Pullback]:
    """Convolve each frame: ``y[r, c] = sum_{i, j} x[stride r + dilation i - padding, ...] W[i, j]``.

    The window is not flipped. Each group maps its share of the input channels to its share of the outputs. On the CPU,
    only spikes cost time, forward and in the gradient of the weight.

    Args:
        x: (T, N, H, W, C), spikes or numbers.
        weight: (kh, kw, C / groups, outputs), float32 or float64.
        stride: rows and columns between windows, one integer or two.
        padding: zeros around the frame.
        dilation: rows and columns between the taps of a window.
        groups: the number of groups of channels.

    Returns:
        The weighted input (T, N, H', W', outputs), ``H' = (H + 2 padding - dilation (kh - 1) - 1) // stride + 1``.

    Raises:
        ValueError: a rank, a number of channels or a constant does not fit.
        TypeError: weight is not floating, or a constant is not an integer.

    >>> import numpy as np
    >>> x = np.zeros((1, 1, 3, 3, 1), bool); x[0, 0, 1, 1] = True
    >>> conv(x, np.arange(9.0).reshape(3, 3, 1, 1), padding=1).data.reshape(3, 3).tolist()
    [[8.0, 7.0, 6.0], [5.0, 4.0, 3.0], [2.0, 1.0, 0.0]]
    """
    k, frames, window, groups = prepare("conv", x, weight, stride, padding, dilation, groups)
    out, shape = k.conv.forward(frames, weight, window, groups), x.shape
    maps = out.shape

    def pullback(g: Array) -> tuple[Gradient, Gradient]:
        g = g.reshape(maps)
        return (
            lambda: k.conv.input_adjoint(g, weight, shape[2:4], window, groups).reshape(shape),
            lambda: k.conv.weight_adjoint(frames, g, window, groups, shape[0]),
        )

    return out.reshape(*shape[:2], *maps[1:]), pullback


class Convolution(Sliding, Synapse):
    """Base class of `Conv` and `ConvTranspose`: channels, a window, groups and one weight."""

    usual_scale = 100.0

    @instead.constructor
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
        weight_scale: float = 100.0,
        weight_hook: WeightHooks = None,
        bias: bool | Tensor | None = False,
    ) -> None:
        op = type(self).__name__
        self.in_channels = check.integer(op, "in_channels", in_channels, least=1)
        self.out_channels = check.integer(op, "out_channels", out_channels, least=1)
        self._set_window(kernel_size, stride, padding, dilation)
        self.groups = check.integer(op, "groups", groups, least=1)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % self.groups:
                raise ValueError(f"{op}: {name} must be a multiple of {self.groups} groups, got {channels}")
        super().__init__(self.weight_shape(), self.fan_in(), weight_scale, weight_hook, bias)

    def weight_shape(self) -> tuple[int, ...]:
        """Return the shape of the weight, (kh, kw, in_channels / groups, out_channels)."""
        return (*self.kernel_size, self.in_channels // self.groups, self.out_channels)

    def fan_in(self) -> int:
        """Return the largest number of inputs of an output."""
        return math.prod(self.kernel_size) * self.in_channels // self.groups

    def check_frame(self, op: str, shape: Shape) -> None:
        """Raise ValueError unless frames of a shape (H, W, C) fit the layer."""
        check_frames(op, ("T", "N", *shape))
        check_channels(op, ("T", "N", *shape), self.in_channels)

    def geometry(self) -> dict[str, Any]:
        """Return the options of the operation."""
        return {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}

    def __repr__(self) -> str:
        rest = changed_options(self, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)
        rest += "" if self.bias is None else ", bias=True"
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels}, {self.kernel_size}{rest})"


class Conv(Convolution):
    """A convolution; see `functions.conv`. One with a bias and its neurons are two passes, not one.

    Args:
        in_channels: channels of the frames.
        out_channels: channels of the maps.
        kernel_size: rows and columns of the window, one integer or two.
        stride, padding, dilation: as in `functions.conv`.
        groups: the number of groups of channels; it divides both numbers of channels.
        weight_scale: weights start uniform in ``+-weight_scale / sqrt(inputs of a window)``.
        weight_hook: a function of the weight that is applied before each use; or a tuple of them, applied in order.
        bias: whether a trained constant is added to each map at each step, initially 0; or the parameter
            (out_channels,) itself.

    Attributes:
        weight: (kh, kw, in_channels / groups, out_channels).
        bias: (out_channels,); None for none.

    Raises:
        ValueError: a size or the scale is out of range, the groups do not divide the channels, or a bias has another
            shape.
        TypeError: a size is not an integer, the hook is not callable, or bias is neither a bool nor a tensor.

    >>> import numpy as np
    >>> layer = Conv(2, 16, 5, padding=1)
    >>> layer.weight.shape, layer(np.zeros((3, 1, 34, 34, 2), bool)).shape
    ((5, 5, 2, 16), (3, 1, 32, 32, 16))
    """

    memory = 0

    def __call__(self, x: Any) -> Tensor:
        return self.biased(conv(x, self.effective_weight(), **self.geometry()))

    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape is None:
            return None
        self.check_frame("conv", shape)
        return (*self.window.outputs("conv", shape[:2], ceil=False), self.out_channels)
