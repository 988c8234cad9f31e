"""The convolutional layer."""

from __future__ import annotations

from typing import Any

from cuslayer import functions
from cuslayer.layers.convolution import Convolution
from cuslayer.layers.pool import Pool
from cuslayer.neuron import SRM
from cuslayer.tape import Tensor


class Conv(Convolution):
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
        weight_hook: maps the weight before each use; a tuple of hooks, one after the other.

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

    def __call__(self, x: Any) -> Tensor:
        return functions.conv(x, self.effective_weight(), **self.geometry())

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
        neurons = {"response": srm.filter, "spiking": srm.spiking, "exact": srm.gradient == "exact"}
        return neurons | self.geometry()
