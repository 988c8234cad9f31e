"""Layers: operations with their weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cuslayer import check, functions
from cuslayer.backend import generator
from cuslayer.kernels.constants import Pooling
from cuslayer.kernels.geometry import Window
from cuslayer.neuron import SRM
from cuslayer.tape import Tensor, grad_enabled

WeightHook = Callable[[Tensor], Tensor]


class Layer:
    """A callable with parameters.

    Attributes:
        training: whether layers that differ in training, as dropout does, behave as in training.
    """

    training = True

    def parameters(self) -> list[Tensor]:
        """Return the tensors that an optimizer shall move."""
        return []

    def __call__(self, x: Any) -> Tensor:
        """Return the layer's output for x (T, N, ...)."""
        raise TypeError(f"{type(self).__name__}: a layer must define __call__")

    def fire(self, x: Any, srm: SRM) -> Tensor:
        """Return the spikes of neurons behind the layer, ``srm(self(x))``, in one pass where there is one."""
        return srm(self(x))


class _Synapse(Layer):
    """A layer with one weight, uniform in ``+-weight_scale / sqrt(fan_in)`` at first."""

    def __init__(self, shape: tuple[int, ...], weight_scale: float, weight_hook: WeightHook | None) -> None:
        op = type(self).__name__
        scale = check.positive(op, "weight_scale", weight_scale)
        if weight_hook is not None and not callable(weight_hook):
            raise TypeError(f"{op}: weight_hook must be callable, got {type(weight_hook).__name__}")
        bound = scale / math.sqrt(math.prod(shape[:-1]))
        self.weight = Tensor(generator().uniform(-bound, bound, shape).astype(np.float32), requires_grad=True)
        self.weight_hook = weight_hook

    def parameters(self) -> list[Tensor]:
        return [self.weight]

    def _effective_weight(self) -> Tensor:
        return self.weight if self.weight_hook is None else self.weight_hook(self.weight)


class Dense(_Synapse):
    """Every input weighted to every output, without a bias: ``y[t, n] = x[t, n] W``; see `functions.dense`.

    Args:
        in_features: how many inputs each step has, or their shape (H, W, C).
        out_features: how many outputs.
        weight_scale: weights start uniform in ``+-weight_scale / sqrt(inputs)``.
        weight_hook: maps the weight before each use.

    Attributes:
        weight: (inputs, outputs), inputs in H, W, C order.

    Raises:
        ValueError: a size or the scale is out of range.
        TypeError: a size is no integer, or the hook cannot be called.

    >>> layer = Dense((2, 2, 1), 3)
    >>> layer.weight.shape, layer(np.zeros((5, 1, 2, 2, 1), bool)).shape
    ((4, 3), (5, 1, 3))
    """

    def __init__(
        self,
        in_features: int | tuple[int, ...],
        out_features: int,
        *,
        weight_scale: float = 10.0,
        weight_hook: WeightHook | None = None,
    ) -> None:
        sizes = in_features if isinstance(in_features, tuple) else (in_features,)
        self.in_features = tuple(check.integer("Dense", "in_features", n, least=1) for n in sizes)
        self.out_features = check.integer("Dense", "out_features", out_features, least=1)
        super().__init__((math.prod(self.in_features), self.out_features), weight_scale, weight_hook)

    def __call__(self, x: Any) -> Tensor:
        return functions.dense(x, self._effective_weight())

    def fire(self, x: Any, srm: SRM) -> Tensor:
        if grad_enabled() or type(self).__call__ is not Dense.__call__:
            return super().fire(x, srm)
        return functions.dense_neuron(x, self._effective_weight(), response=srm.filter, spiking=srm.spiking)

    def __repr__(self) -> str:
        sizes = self.in_features
        return f"Dense({sizes if len(sizes) > 1 else sizes[0]}, {self.out_features})"


class Conv(_Synapse):
    """A convolution without a bias; see `functions.conv`.

    Args:
        in_channels: channels of the frames.
        out_channels: channels of the maps.
        kernel_size: rows and columns of the window, one integer or two.
        stride: rows and columns between windows.
        padding: zeros around the frame.
        dilation: rows and columns between the taps of a window.
        groups: how many groups the channels form; they divide both counts of channels.
        weight_scale: weights start uniform in ``+-weight_scale / sqrt(inputs of a window)``.
        weight_hook: maps the weight before each use.

    Attributes:
        weight: (kh, kw, in_channels / groups, out_channels).

    Raises:
        ValueError: a size or the scale is out of range, or the groups do not divide the channels.
        TypeError: a size is no integer, or the hook cannot be called.

    >>> layer = Conv(2, 16, 5, padding=1)
    >>> layer.weight.shape, layer(np.zeros((3, 1, 34, 34, 2), bool)).shape
    ((5, 5, 2, 16), (3, 1, 32, 32, 16))
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
        weight_scale: float = 100.0,
        weight_hook: WeightHook | None = None,
    ) -> None:
        self.in_channels = check.integer("Conv", "in_channels", in_channels, least=1)
        self.out_channels = check.integer("Conv", "out_channels", out_channels, least=1)
        self.kernel_size = check.pair("Conv", "kernel_size", kernel_size, least=1)
        self.stride = check.pair("Conv", "stride", stride, least=1)
        self.padding = check.pair("Conv", "padding", padding, least=0)
        self.dilation = check.pair("Conv", "dilation", dilation, least=1)
        self.groups = check.integer("Conv", "groups", groups, least=1)
        for name, channels in (("in_channels", in_channels), ("out_channels", out_channels)):
            if channels % self.groups:
                raise ValueError(f"Conv: {name} must be a multiple of {self.groups} groups, got {channels}")
        shape = (*self.kernel_size, self.in_channels // self.groups, self.out_channels)
        super().__init__(shape, weight_scale, weight_hook)

    def __call__(self, x: Any) -> Tensor:
        return functions.conv(
            x,
            self._effective_weight(),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def fire(self, x: Any, srm: SRM) -> Tensor:
        if type(self).__call__ is not Conv.__call__:
            return super().fire(x, srm)  # a subclass computes something else
        return functions.conv_neuron(x, self._effective_weight(), **self._options(srm))

    def fire_pooled(self, x: Any, srm: SRM, pool: Pool, pool_srm: SRM) -> Tensor:
        """Return ``pool.fire(self.fire(x, srm), pool_srm)``, in one pass where there is one."""
        plain = type(self).__call__ is Conv.__call__ and type(pool).__call__ is Pool.__call__
        if not plain or srm.gradient != pool_srm.gradient:
            return pool.fire(self.fire(x, srm), pool_srm)
        return functions.conv_pool(x, self._effective_weight(), pooling=pool.pooling(pool_srm), **self._options(srm))

    def _options(self, srm: SRM) -> dict[str, Any]:
        return {
            "response": srm.filter,
            "spiking": srm.spiking,
            "exact": srm.gradient == "exact",
            "stride": self.stride,
            "padding": self.padding,
            "dilation": self.dilation,
            "groups": self.groups,
        }

    def __repr__(self) -> str:
        rest = _differing(self, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)
        return f"Conv({self.in_channels}, {self.out_channels}, {self.kernel_size}{rest})"


class Pool(Layer):
    """Sum pooling with a fixed gain; see `functions.pool`.

    Args:
        kernel_size: rows and columns of a window, one integer or two.
        stride: rows and columns between windows; by default those of the window.
        padding: zeros around the frame.
        dilation: rows and columns between the taps of a window.
        gain: the weight of every input; the paper's is ``1.1 theta``.

    Raises:
        ValueError: a constant is out of range.
        TypeError: a size is no integer, gain no number.

    >>> Pool(2, gain=11.0)(np.ones((1, 1, 4, 4, 1), bool)).data.ravel().tolist()
    [44.0, 44.0, 44.0, 44.0]
    """

    def __init__(
        self,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] | None = None,
        padding: int | tuple[int, int] = 0,
        dilation: int | tuple[int, int] = 1,
        gain: float,
    ) -> None:
        self.kernel_size = check.pair("Pool", "kernel_size", kernel_size, least=1)
        self.stride = self.kernel_size if stride is None else check.pair("Pool", "stride", stride, least=1)
        self.padding = check.pair("Pool", "padding", padding, least=0)
        self.dilation = check.pair("Pool", "dilation", dilation, least=1)
        self.gain = check.number("Pool", "gain", gain)

    def __call__(self, x: Any) -> Tensor:
        return functions.pool(
            x,
            kernel_size=self.kernel_size,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            gain=self.gain,
        )

    def pooling(self, srm: SRM) -> Pooling:
        """Return what the layer and neurons behind it do, as `functions.conv_pool` takes it."""
        window = Window(self.kernel_size, self.stride, self.padding, self.dilation)
        return Pooling(window, self.gain, srm.filter, srm.spiking)

    def __repr__(self) -> str:
        rest = _differing(self, stride=self.kernel_size, padding=(0, 0), dilation=(1, 1))
        return f"Pool({self.kernel_size}{rest}, gain={self.gain:g})"


class Dropout(Layer):
    """In training, silence each neuron of each sample with chance p for all its time; see `functions.dropout`.

    Out of training the input passes as it is.

    Args:
        p: the chance of silence, 0 <= p < 1.

    Raises:
        ValueError: p lies outside [0, 1).
        TypeError: p is no number.

    >>> layer = Dropout(0.5)
    >>> layer.training = False
    >>> layer(np.ones((1, 1, 2), bool)).data.tolist()
    [[[True, True]]]
    """

    def __init__(self, p: float) -> None:
        self.p = check.fraction("Dropout", "p", p)

    def __call__(self, x: Any) -> Tensor:
        if self.training:
            return functions.dropout(x, p=self.p)
        return x if isinstance(x, Tensor) else Tensor(x)

    def __repr__(self) -> str:
        return f"Dropout({self.p:g})"


def _differing(layer: Layer, **usual: Any) -> str:
    """Return the options of a layer that are not the usual ones, as they are written in a call."""
    return "".join(f", {name}={getattr(layer, name)}" for name, value in usual.items() if getattr(layer, name) != value)
