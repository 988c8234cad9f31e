"""The convolutional layer."""

from __future__ import annotations

from typing import Any

from cuslayer import check, functions
from cuslayer.layers.base import Synapse, WeightHook, differing
from cuslayer.layers.pool import Pool
from cuslayer.neuron import SRM
from cuslayer.tape import Tensor


class Conv(Synapse):
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

    >>> import numpy as np
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
            self.effective_weight(),
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
            groups=self.groups,
        )

    def fire(self, x: Any, srm: SRM) -> Tensor:
        if type(self).__call__ is not Conv.__call__:
            return super().fire(x, srm)  # a subclass computes something else
        return functions.conv_neuron(x, self.effective_weight(), **self._options(srm))

    def fire_pooled(self, x: Any, srm: SRM, pool: Pool, pool_srm: SRM) -> Tensor:
        """Return ``pool.fire(self.fire(x, srm), pool_srm)``, in one pass where there is one."""
        plain = type(self).__call__ is Conv.__call__ and type(pool).__call__ is Pool.__call__
        if not plain or srm.gradient != pool_srm.gradient:
            return pool.fire(self.fire(x, srm), pool_srm)
        return functions.conv_pool(x, self.effective_weight(), pooling=pool.pooling(pool_srm), **self._options(srm))

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
        rest = differing(self, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1)
        return f"Conv({self.in_channels}, {self.out_channels}, {self.kernel_size}{rest})"
