"""The convolutional layer, the transposed one, and their base class."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, cast

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._still import each_step_alone
from cuslayer._tape import Gradient, Pullback, Tensor, as_tensor, differentiable, grad_enabled, saves, takes_packed
from cuslayer.backend import Array, contiguous
from cuslayer.kernels.constants import Window
from cuslayer.layers.base import (
    FRAME,
    Pair,
    Shape,
    Sliding,
    Synapse,
    WeightHooks,
    changed_options,
    check_frame,
    prepare,
)
from cuslayer.layers.synaptic_delay import SynapticDelays, lagged
from cuslayer.neurons.states import Remembering


@differentiable
@takes_packed
@saves("others")
@check.operation
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
    >>> conv(x, np.arange(9, dtype=np.float32).reshape(3, 3, 1, 1), padding=1).data.reshape(3, 3).tolist()
    [[8.0, 7.0, 6.0], [5.0, 4.0, 3.0], [2.0, 1.0, 0.0]]
    """
    k, frames, window, groups = prepare(x, weight, stride, padding, dilation, groups)
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
    options = (*Sliding.options, "groups")

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
        weight_scale: float | None = None,
        weight_hook: WeightHooks = None,
        bias: bool | Tensor | None = False,
        delays: SynapticDelays | None = None,
    ) -> None:
        self.in_channels = check.integer("in_channels", in_channels, least=1)
        self.out_channels = check.integer("out_channels", out_channels, least=1)
        self._set_window(kernel_size, stride, padding, dilation)
        self.groups = check.integer("groups", groups, least=1)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % self.groups:
                raise ValueError(f"{name} must be a multiple of {self.groups} groups, got {channels}")
        super().__init__(self.weight_shape(), self.fan_in(), weight_scale, weight_hook, bias)
        self._set_delays(delays)

    def _partial_shape(self, shape: Any) -> Any:
        if shape is not None:
            check_frame(cast(Any, (*FRAME, shape[-1])), self.in_channels)
        return (*FRAME, self.out_channels)

    def weight_shape(self) -> tuple[int, ...]:
        """Return the shape of the weight, (kh, kw, in_channels / groups, out_channels)."""
        return (*self.kernel_size, self.in_channels // self.groups, self.out_channels)

    def fan_in(self) -> int:
        """Return the largest number of inputs of an output."""
        return math.prod(self.kernel_size) * self.in_channels // self.groups

    def __repr__(self) -> str:
        rest = changed_options(self, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)
        rest += "" if self.bias is None else ", bias=True"
        rest += "" if self.delays is None else f", delays={self.delays!r}"
        return f"{type(self).__name__}({self.in_channels}, {self.out_channels}, {self.kernel_size}{rest})"


class Delaying(Synapse):
    """Base class of layers whose synapses may have delays.

    In evaluation without gradients, a spike adds each of its weights once, by a convolution; a dense layer has frames
    of one pixel. With gradients, all lags are side by side, and the sums have the same bits.
    """

    memory = Synapse.memory  # of this __call__, not of a subclass's

    def _operate(self, x: Any, weight: Tensor) -> Tensor:
        """Return the weighted input without delays and bias; in evaluation with delays, summed one by one."""
        raise NotImplementedError

    @each_step_alone
    def __call__(self, x: TensorLike) -> Tensor:
        return self.biased(self._operate(x, self.effective_weight()) if self.delays is None else self._delayed(x))

    def _delayed(self, x: Any, since: int = 0, lag: Array | None = None) -> Tensor:
        """Return the weighted input of the steps from `since` on; in evaluation delays are whole lags."""
        x, weight, delays = as_tensor(x), self.effective_weight(), cast(SynapticDelays, self.delays)
        check.time_first("x", x, least_dimensions=3)
        # The output's shape after T and N; a dense layer takes its places as samples.
        after = cast(Shape, self.output_shape(x.shape[2:]))
        frames = x
        groups = 1
        window = Window.of(1, 1, 0, 1)
        if isinstance(self, Convolution):
            groups = self.groups
            window = self.window
        else:
            frames = x.reshape(len(x), x.shape[1] * math.prod(after[:-1]), 1, 1, len(weight))
        if not delays.training and x.dtype == bool and not grad_enabled():
            k, lag = kernels.of(weight.data).synaptic_delay, delays.whole_lags() if lag is None else lag
            taps = weight.data.reshape(*window.kernel, *weight.shape[-2:])
            found = k.forward(frames.stored, taps, lag, delays.lags, since, window, groups)
            if found is not None:
                return Tensor(found.reshape(len(found), x.shape[1], *after))
        y = self._operate(lagged(frames, lags=delays.lags, groups=groups), delays.over_lags(weight))[since:]
        return y.reshape(len(y), x.shape[1], *after)

    def continued(self) -> Callable[..., Tensor] | None:
        if self.delays is None or self.delays.training or type(self).__call__ is not Delaying.__call__:
            return super().continued()
        lag = self.delays.whole_lags()
        return Remembering(lambda x: self.biased(self._delayed(x, self.memory, lag)), self.memory)


class Conv(Convolution, Delaying):
    """A convolution; see `functions.conv`.

    Args:
        in_channels: channels of the frames.
        out_channels: channels of the maps.
        kernel_size: rows and columns of the window, one integer or two.
        stride, padding, dilation: as in `functions.conv`.
        groups: the number of groups of channels; it divides both numbers of channels.
        weight_scale: weights start uniform in ``+-weight_scale / sqrt(inputs of a window)``; by default as in `Dense`,
            100 for neurons without a `weight_scale`.
        weight_hook, bias, delays: as in `Dense`, as are the errors; a bias is added to each map.

    Attributes:
        weight: (kh, kw, in_channels / groups, out_channels).
        bias: (out_channels,); None for none.

    >>> import numpy as np
    >>> layer = Conv(2, 16, 5, padding=1)
    >>> layer.weight.shape, layer(np.zeros((3, 1, 34, 34, 2), bool)).shape
    ((5, 5, 2, 16), (3, 1, 32, 32, 16))
    """

    form = "conv"

    def _operate(self, x: Tensor, weight: Tensor) -> Tensor:
        return conv(x, weight, **self.geometry())

    @check.operation("conv")
    def partial_shape(self, shape: Any) -> Any:
        return self._partial_shape(shape)

    @check.operation("conv")
    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape is None:
            return None
        check_frame(shape, self.in_channels)
        return (*self.window.outputs(shape[:2], ceil=False), self.out_channels)


def output_padding_of(output_padding: Pair, window: Window) -> tuple[int, int]:
    """Return the rows and columns that a transposed convolution adds at the end of its output."""
    extra = check.pair("output_padding", output_padding, least=0)
    for size, *steps in zip(extra, window.stride, window.dilation, strict=True):
        if size >= max(steps):
            raise ValueError(
                f"output_padding must be smaller than stride {window.stride} or dilation {window.dilation}, got {extra}"
            )
    return extra


@differentiable
@takes_packed
@saves("others")
@check.operation
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
        dilation: as in `conv`.
        groups: as in `conv`.
        output_padding: rows and columns added at the end of the output, fewer than stride or dilation. Under a stride,
            frames of several sizes have convolutions of the same size; this selects one of them.

    Returns:
        The weighted input (T, N, H', W', outputs), in the weight's type,
        ``H' = stride (H - 1) - 2 padding + dilation (kh - 1) + 1 + output_padding``.

    Raises:
        ValueError, TypeError: as `conv` does; a ValueError too if the output would be empty.

    >>> import numpy as np
    >>> x = np.array([True, False, True]).reshape(1, 1, 1, 3, 1)
    >>> conv_transpose(x, np.float32([1, 2, 4]).reshape(1, 3, 1, 1), stride=(1, 2)).data.ravel().tolist()
    [1.0, 2.0, 4.0, 0.0, 1.0, 2.0, 4.0]
    """
    k, frames, window, groups = prepare(x, weight, stride, padding, dilation, groups, transposed=True)
    shape = x.shape
    image = window.image(shape[2:4], output_padding_of(output_padding, window))
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
        in_channels, out_channels, kernel_size, groups, weight_hook: as in `Conv`, as are the errors.
        stride, padding, dilation, output_padding: as in `functions.conv_transpose`.
        weight_scale: as in `Conv`; weights start uniform in ``+-weight_scale / sqrt(fan_in)``, fan_in is the largest
            number of inputs of an output: ``in_channels / groups`` times the taps that overlap there,
            ``ceil(kernel / stride)`` along each axis where the dilation is 1.

    Attributes:
        weight: (kh, kw, out_channels / groups, in_channels).

    >>> import numpy as np
    >>> layer = ConvTranspose(16, 2, 4, stride=2, padding=1)
    >>> layer.weight.shape, layer(np.zeros((3, 1, 17, 17, 16), bool)).shape
    ((4, 4, 2, 16), (3, 1, 34, 34, 2))
    """

    memory = 0
    form = "conv_transpose"

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
        weight_scale: float | None = None,
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
        self.output_padding = output_padding_of(output_padding, self.window)

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

    @each_step_alone
    def __call__(self, x: TensorLike) -> Tensor:
        return conv_transpose(x, self.effective_weight(), output_padding=self.output_padding, **self.geometry())

    @check.operation("conv_transpose")
    def partial_shape(self, shape: Any) -> Any:
        return self._partial_shape(shape)

    @check.operation("conv_transpose")
    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape is None:
            return None
        check_frame(shape, self.in_channels)
        return (*self.window.image(shape[:2], self.output_padding), self.out_channels)

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}{changed_options(self, output_padding=(0, 0))})"
