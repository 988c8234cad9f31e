"""Sum pooling and its transpose, unpooling, both also with a weight for each tap; mean and maximum pooling."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection
from typing import Any

import numpy as np

from cuslayer import kernels
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._still import each_step_alone
from cuslayer._tape import Gradient, Pullback, Tensor, as_tensor, differentiable, saves, takes_packed
from cuslayer.backend import Array, numeric
from cuslayer.kernels.constants import Window
from cuslayer.kernels.host.memory import count_elements
from cuslayer.layers.base import (
    Hooked,
    Layer,
    Pair,
    Shape,
    Sliding,
    WeightHooks,
    changed_options,
    check_frames,
    count_synapses,
)


@differentiable
@takes_packed
@saves("nothing")
@check.operation
def pool(
    x: Array,
    /,
    *,
    kernel_size: Pair,
    gain: float,
    stride: Pair | None = None,
    padding: Pair = 0,
    dilation: Pair = 1,
    ceil: bool = True,
) -> tuple[Array, Pullback]:
    """Sum each window of each channel: ``y[r, c] = gain sum_{i, j} x[stride r + dilation i - padding, ...]``.

    Channels do not mix. If the windows do not divide the frame, zeros extend its end; no window begins there.

    Args:
        x: (T, N, H, W, C), spikes (summed as float32) or numbers.
        kernel_size: rows and columns of a window, one integer or two.
        gain: the weight of every input; the paper's is ``1.1 theta``.
        stride: rows and columns between windows; by default the window's size.
        padding: zeros around the frame.
        dilation: rows and columns between the taps of a window.
        ceil: whether zeros extend the end of the frame; otherwise windows that reach beyond it are left out.

    Returns:
        The sums (T, N, H', W', C), ``H' = max(0, ceil((H + 2 padding - max(reach, stride)) / stride)) + 1``;
        ``reach = dilation (kernel - 1) + 1``. Without `ceil`, ``H' = floor((H + 2 padding - reach) / stride) + 1``.

    Raises:
        ValueError: x is not (T, N, H, W, C), or a constant does not fit.
        TypeError: a constant is not an integer, gain is not a number, or ceil is not a bool.

    >>> import numpy as np
    >>> pool(np.ones((1, 1, 3, 2, 1), bool), kernel_size=2, gain=11.0).data.ravel().tolist()
    [44.0, 22.0]
    """
    window, k, shape = _window(x, kernel_size, stride, padding, dilation), kernels.of(x), x.shape
    gain, image = check.signed_factor("gain", gain), (shape[2], shape[3])
    ceil = check.flag("ceil", ceil)
    out = k.pool.forward(k.spikes.in_frames(x, (shape[0] * shape[1], *shape[2:])), window, gain, ceil=ceil)
    maps = out.shape
    return (
        out.reshape(*shape[:2], *maps[1:]),
        lambda g: k.pool.adjoint(g.reshape(maps), image, window, gain).reshape(shape),
    )


@differentiable
@saves("nothing")
@check.operation
def unpool(
    x: Array, /, *, kernel_size: Pair, gain: float, stride: Pair | None = None, padding: Pair = 0, dilation: Pair = 1
) -> tuple[Array, Pullback]:
    """Add each input to all pixels of its window: ``y[stride r + dilation i - padding, ...] += gain x[r, c]``.

    It is the adjoint of `pool` with the same options: ``<pool(a), b> = <a, unpool(b)>``. Channels do not mix. The
    output is the smallest frame that holds all windows: by default each input becomes a block of the window's size,
    and H rows become ``H kernel``.

    Arguments and errors: see `pool`. ``padding`` is cut from each side of the output, which must not be empty. The
    result is the sums (T, N, H', W', C), ``H' = stride (H - 1) - 2 padding + dilation (kernel - 1) + 1``.

    >>> import numpy as np
    >>> unpool(np.array([[[[[True], [False]]]]]), kernel_size=(1, 2), gain=11.0).data.ravel().tolist()
    [11.0, 11.0, 0.0, 0.0]
    """
    window, k, shape = _window(x, kernel_size, stride, padding, dilation), kernels.of(x), x.shape
    gain, image = check.signed_factor("gain", gain), window.image(shape[2:4])
    out = k.pool.adjoint(numeric(x).reshape(shape[0] * shape[1], *shape[2:]), image, window, gain)
    maps = out.shape
    return (out.reshape(*shape[:2], *maps[1:]), lambda g: k.pool.forward(g.reshape(maps), window, gain).reshape(shape))


@differentiable
@saves("nothing")
@check.operation
def max_pool(
    x: Array, /, *, kernel_size: Pair, stride: Pair | None = None, padding: Pair = 0, dilation: Pair = 1
) -> tuple[Array, Pullback]:
    """Take the largest pixel of each window: ``y[r, c] = max_{i, j} x[stride r + dilation i - padding, ...]``.

    Spikes stay spikes: a window fires if one of its pixels does. Channels do not mix. Padding never wins, and windows
    that reach beyond the end of the padded frame are left out.

    Backward gives the gradient of a window to its largest pixel, to the first one in row order if several are equal. Of
    spikes this is the first that fires, or the first pixel of a silent window.

    Args:
        x: (T, N, H, W, C), spikes or numbers.
        kernel_size: rows and columns of a window, one integer or two.
        stride: rows and columns between windows; by default the window's size.
        padding: rows and columns around the frame, at most half of what the window spans.
        dilation: rows and columns between the taps of a window.

    Returns:
        The maxima (T, N, H', W', C) in the type of x, ``H' = floor((H + 2 padding - reach) / stride) + 1``;
        ``reach = dilation (kernel - 1) + 1``.

    Raises:
        ValueError: x is not (T, N, H, W, C), a constant does not fit, or a window has no pixel.
        TypeError: a constant is not an integer.

    >>> import numpy as np
    >>> max_pool(np.array([[[[[False], [True], [False], [False]]]]]), kernel_size=(1, 2)).data.ravel().tolist()
    [True, False]
    """
    window, k, shape = _window(x, kernel_size, stride, padding, dilation), kernels.of(x).pool, x.shape
    image = (shape[2], shape[3])
    largest_outputs(window, image)
    out, place = k.max_pool(x.reshape(shape[0] * shape[1], *shape[2:]), window)
    return (
        out.reshape(*shape[:2], *out.shape[1:]),
        lambda g: k.max_pool_adjoint(g.reshape(place.shape), place, image, window).reshape(shape),
    )


class Windowed(Sliding, Hooked):
    """Base class of `SumPool` and `Unpool`: a window that slides over each channel, a gain, and weight hooks.

    Attributes:
        gain: the weight of every input, before the hooks.
        weight: the gain for each tap of the window, (kh, kw, 1, 1); not trained.
        weight_hook: the hooks of this weight, as for `Dense` and `Conv`.
    """

    def __init__(
        self,
        kernel_size: Pair,
        gain: float,
        *,
        stride: Pair | None = None,
        padding: Pair = 0,
        dilation: Pair = 1,
        weight_hook: WeightHooks = None,
    ) -> None:
        self._check_hooks(weight_hook)
        self._set_window(kernel_size, kernel_size if stride is None else stride, padding, dilation)
        self.gain = check.signed_factor("gain", gain)
        self._attach_hooks(weight_hook)

    @property
    def weight(self) -> Tensor:  # type: ignore[override]
        count_elements(self.kernel_size)
        return Tensor(np.full((*self.kernel_size, 1, 1), self.gain, np.float32))

    state_numbers = ("gain",)
    scalable = True

    def fan_out(self, shape: Shape) -> Array | None:
        ones = copy.copy(self)
        ones.weight_hook = None
        ones.gain = 1.0
        return count_synapses(ones, shape)

    def usual_scale_of(self, gains: Collection[float]) -> bool:
        return any(math.isclose(self.gain, gain) for gain in gains)

    def scale_setting(self) -> tuple[str, float]:
        return "gain", self.gain

    def scale_output(self, factor: float) -> None:
        self.gain *= factor

    def __repr__(self) -> str:
        rest = changed_options(self, stride=self.kernel_size, padding=(0, 0), dilation=(1, 1))
        return f"{type(self).__name__}({self.kernel_size}{rest}, gain={self.gain:g})"


class SumPool(Windowed):
    """Sum pooling with a fixed gain; see `functions.pool`.

    Args:
        kernel_size, stride, padding, dilation, gain: see `functions.pool`.
        weight_hook: a function that maps the weight (kh, kw, 1, 1), the gain at each tap of the window, before each
            use; or a tuple of functions, applied in order. See `functions.weighted_pool`.

    Raises:
        ValueError: a constant is out of range.
        TypeError: a size is not an integer, gain is not a number, or the hook is not callable.

    >>> import numpy as np
    >>> SumPool(2, gain=11.0)(np.ones((1, 1, 4, 4, 1), bool)).data.ravel().tolist()
    [44.0, 44.0, 44.0, 44.0]
    """

    memory = 0
    form = "pool"

    @each_step_alone
    def __call__(self, x: TensorLike) -> Tensor:
        if self.weight_hook:
            return weighted_pool(x, self.effective_weight(), **self.geometry())
        return pool(x, kernel_size=self.kernel_size, gain=self.gain, **self.geometry())

    @check.operation("pool")
    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape is None:
            return None
        check_frames(("T", "N", *shape))
        return (*self.window.outputs(shape[:2], ceil=True), shape[2])


class Unpool(Windowed):
    """The transpose of sum pooling with a fixed gain; see `functions.unpool`.

    By default each input becomes a block of the window's size, so that H rows become ``H kernel``.

    Args:
        kernel_size, stride, padding, dilation: see `functions.unpool`.
        gain: the weight of every input; with ``1.1 theta``, as in `SumPool`, a single spike makes a neuron fire.
        weight_hook: see `SumPool` and `functions.weighted_unpool`.

    >>> import numpy as np
    >>> Unpool(2, gain=11.0)(np.ones((1, 1, 17, 17, 3), bool)).shape
    (1, 1, 34, 34, 3)
    """

    memory = 0
    form = "unpool"

    @each_step_alone
    def __call__(self, x: TensorLike) -> Tensor:
        if self.weight_hook:
            return weighted_unpool(x, self.effective_weight(), **self.geometry())
        return unpool(x, kernel_size=self.kernel_size, gain=self.gain, **self.geometry())

    @check.operation("unpool")
    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape is None:
            return None
        check_frames(("T", "N", *shape))
        return (*self.window.image(shape[:2]), shape[2])


class WithinFrame(Sliding):
    """Base class of `AvgPool` and `MaxPool`: a window that slides over each channel within the frame."""

    keeps_steps = True
    passes_spikes = True

    def __init__(self, kernel_size: Pair, *, stride: Pair | None = None, padding: Pair = 0, dilation: Pair = 1) -> None:
        self._set_window(kernel_size, kernel_size if stride is None else stride, padding, dilation)
        self._check_window()

    def _check_window(self) -> None:
        """Raise ValueError if the layer has no such window."""

    def __repr__(self) -> str:
        options = changed_options(self, stride=self.kernel_size, padding=(0, 0), dilation=(1, 1))
        return f"{type(self).__name__}({self.kernel_size}{options})"


class AvgPool(WithinFrame):
    """The mean over windows, without neurons after it: numbers from 0 to 1 for spikes.

    ``y[r, c] = sum_{i, j} x[stride r + dilation i - padding, ...] / (kh kw)``: channels do not mix, padding counts as
    zeros, and windows that reach beyond the end of the frame are left out, as in PyTorch's AvgPool2d. `SumPool` is the
    pooling of SLAYER, which has neurons after it.

    Args:
        kernel_size: rows and columns of a window (kh, kw), one integer or two.
        stride: rows and columns between windows; by default the window's size.
        padding: zeros around the frame.
        dilation: rows and columns between the taps of a window.

    Raises:
        ValueError: a constant is out of range.
        TypeError: a constant is not an integer.

    >>> import numpy as np
    >>> AvgPool(2)(np.eye(4, dtype=bool).reshape(1, 1, 4, 4, 1)).data.ravel().tolist()
    [0.5, 0.0, 0.0, 0.5]
    """

    memory = 0
    form = "mean"
    weight_hook = None

    @property
    def gain(self) -> float:
        """The weight of every input, ``1 / (kh kw)``."""
        return 1.0 / math.prod(self.kernel_size)

    def fan_out(self, shape: Shape) -> Array | None:
        return count_synapses(lambda x: self(x) * math.prod(self.kernel_size), shape)

    @each_step_alone
    def __call__(self, x: TensorLike) -> Tensor:
        """Return the means (T, N, H', W', C), ``H' = floor((H + 2 padding - reach) / stride) + 1``.

        Here ``reach = dilation (kernel - 1) + 1``.

        Raises:
            ValueError: x is not (T, N, H, W, C), or the window does not fit.
        """
        return pool(x, kernel_size=self.kernel_size, gain=self.gain, **self.geometry(), ceil=False)

    @check.operation("pool")
    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape is None:
            return None
        check_frames(("T", "N", *shape))
        return (*self.window.outputs(shape[:2], ceil=False), shape[2])


class MaxPool(WithinFrame):
    """The largest of windows, for spikes whether one fires; see `functions.max_pool`.

    Spikes stay spikes, so that the next layer works event by event, and no neurons are needed after it.

    Args:
        kernel_size, stride, padding, dilation: see `functions.max_pool`.

    Raises:
        ValueError: a constant is out of range, or padding is more than half of what the window spans.
        TypeError: a constant is not an integer.

    >>> import numpy as np
    >>> MaxPool(2)(np.arange(16.0).reshape(1, 1, 4, 4, 1)).data.ravel().tolist()
    [5.0, 7.0, 13.0, 15.0]
    """

    memory = 0
    form = "max"

    def _check_window(self) -> None:
        check_padding(self.window)

    @each_step_alone
    def __call__(self, x: TensorLike) -> Tensor:
        return max_pool(x, kernel_size=self.kernel_size, **self.geometry())

    @check.operation("max_pool")
    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape is None:
            return None
        check_frames(("T", "N", *shape))
        return (*largest_outputs(self.window, shape[:2]), shape[2])


class GlobalAvgPool(Layer):
    """The mean of each channel over the whole frame: ``y[t, n, c] = sum_{r, s} x[t, n, r, s, c] / (H W)``.

    It stands before the last dense layer of a convolutional network, as PyTorch's AdaptiveAvgPool2d(1).

    >>> import numpy as np
    >>> GlobalAvgPool()(np.eye(4, dtype=bool).reshape(1, 1, 4, 4, 1)).data.tolist()
    [[[0.25]]]
    """

    memory = 0
    keeps_steps = True
    passes_spikes = True
    form = "global_mean"

    def fan_out(self, shape: Shape) -> Array | None:
        return np.ones(shape)

    def partial_shape(self, shape: Any) -> Any:
        return None if shape is None else (shape[-1],)

    @each_step_alone
    def __call__(self, x: TensorLike) -> Tensor:
        """Return the means (T, N, C) of x (T, N, H, W, C), spikes or numbers.

        Raises:
            ValueError: x is not (T, N, H, W, C), or has no pixels.
        """
        x = as_tensor(x)
        channels = self._channels(x.shape)
        image = x.shape[2:4]
        return pool(x, kernel_size=image, gain=1.0 / math.prod(image)).reshape(*x.shape[:2], channels)

    def _channels(self, shape: tuple[Any, ...]) -> int:
        """Validate a shape (T, N, H, W, C) and return its channels."""
        check_frames(shape)
        if 0 in shape[2:4]:
            raise ValueError(f"x must have pixels, got {shape[2]} rows and {shape[3]} columns")
        return shape[4]

    def output_shape(self, shape: Shape | None) -> Shape | None:
        return None if shape is None else (self._channels(("T", "N", *shape)),)


def check_padding(window: Window) -> None:
    """Raise ValueError if padding is more than half of what a window spans, as a window may then lie within it."""
    for kernel, padding, dilation in zip(window.kernel, window.padding, window.dilation, strict=True):
        reach = dilation * (kernel - 1) + 1
        if padding > reach // 2:
            raise ValueError(f"padding must be at most {reach // 2}, half of what the window spans, got {padding}")


def largest_outputs(window: Window, image: tuple[int, ...]) -> tuple[int, int]:
    """Return the numbers of windows of `max_pool` on an image (H, W), each of which must have a pixel."""
    check_padding(window)
    counts = window.outputs(image, ceil=False)
    for size, count, kernel, stride, padding, dilation in zip(image, counts, *window, strict=True):
        # In other images each window has a pixel.
        if padding and size < dilation:
            starts = range(-padding, count * stride - padding, stride)
            if not all(any(0 <= start + tap * dilation < size for tap in range(kernel)) for start in starts):
                raise ValueError(f"padding of {padding} leaves a window without a pixel of the {size}")
    return counts


@differentiable
@saves("others")
@check.operation
def weighted_pool(
    x: Array, weight: Array, /, *, stride: Pair | None = None, padding: Pair = 0, dilation: Pair = 1
) -> tuple[Array, Pullback]:
    """Sum each window of each channel with a weight for each tap: `pool` with more than one gain.

    ``y[r, c] = sum_{i, j} W[i, j] x[stride r + dilation i - padding, ...]``. Channels do not mix, and share the weight.
    If the windows do not divide the frame, zeros extend its end. Equal weights at all taps give the bits of `pool`.
    Backward also gives the gradient of the weight.

    The weight is (kh, kw, 1, 1), float32 or float64; spikes take its type. Other arguments, result and errors: see
    `pool`.

    >>> import numpy as np
    >>> weight = np.array([[1.0, 2.0], [3.0, 4.0]]).reshape(2, 2, 1, 1)
    >>> weighted_pool(np.ones((1, 1, 3, 2, 1), bool), weight).data.ravel().tolist()
    [10.0, 3.0]
    """
    return _weighted(x, weight, stride, padding, dilation, transposed=False)


@differentiable
@saves("others")
@check.operation
def weighted_unpool(
    x: Array, weight: Array, /, *, stride: Pair | None = None, padding: Pair = 0, dilation: Pair = 1
) -> tuple[Array, Pullback]:
    """Add each input to all pixels of its window with a weight for each tap: `unpool` with more than one gain.

    ``y[stride r + dilation i - padding, ...] += W[i, j] x[r, c]``. It is the adjoint of `weighted_pool` with the same
    weight and options.

    Other arguments, result and errors: see `unpool`.

    >>> import numpy as np
    >>> weight = np.array([1.0, 2.0]).reshape(1, 2, 1, 1)
    >>> weighted_unpool(np.array([[[[[True], [False]]]]]), weight).data.ravel().tolist()
    [1.0, 2.0, 0.0, 0.0]
    """
    return _weighted(x, weight, stride, padding, dilation, transposed=True)


def _window(x: Array, kernel_size: object, stride: Pair | None, padding: Pair, dilation: Pair) -> Window:
    """Validate frames and return the window that slides over them."""
    check_frames(x.shape)
    return Window.of(kernel_size, kernel_size if stride is None else stride, padding, dilation)


def _weighted(
    x: Array, weight: Array, stride: Pair | None, padding: Pair, dilation: Pair, *, transposed: bool
) -> tuple[Array, Pullback]:
    """Return `weighted_pool` or `weighted_unpool`; equal taps are one gain, with the bits of `pool`."""
    check.floating("weight", weight)
    if weight.ndim != 4 or weight.shape[2:] != (1, 1):
        raise ValueError(f"weight must be (kh, kw, 1, 1), got shape {weight.shape}")
    window, k, shape = _window(x, weight.shape[:2], stride, padding, dilation), kernels.of(x).pool, x.shape
    image = window.image(shape[2:4]) if transposed else (shape[2], shape[3])
    dtype = weight.dtype if x.dtype.kind in "biu" else x.dtype
    x = x.reshape(shape[0] * shape[1], *shape[2:]).astype(dtype, copy=False)
    taps = check.as_type("weight", weight[:, :, 0, 0], dtype)
    gain = taps[0, 0].item() if (taps == taps[0, 0]).all() else None

    def pooled(x: Array) -> Array:
        return k.weighted_pool(x, taps, window) if gain is None else k.forward(x, window, gain)

    def spread(x: Array) -> Array:
        return k.weighted_pool_adjoint(x, taps, image, window) if gain is None else k.adjoint(x, image, window, gain)

    forward, backward = (spread, pooled) if transposed else (pooled, spread)
    out = forward(x)
    maps = out.shape

    def pullback(g: Array) -> tuple[Gradient, Gradient]:
        g = g.reshape(maps)
        given = (g, x) if transposed else (x, g)
        return (
            lambda: backward(g).reshape(shape),
            lambda: k.weight_adjoint(*given, window).reshape(weight.shape).astype(weight.dtype, copy=False),
        )

    return out.reshape(*shape[:2], *maps[1:]), pullback
