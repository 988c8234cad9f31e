"""The pooling layer."""

from __future__ import annotations

from typing import Any

from cuslayer import check, functions
from cuslayer.kernels.constants import Pooling
from cuslayer.kernels.geometry import Window
from cuslayer.layers.base import Layer, differing
from cuslayer.neuron import SRM
from cuslayer.tape import Tensor


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

    >>> import numpy as np
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
        rest = differing(self, stride=self.kernel_size, padding=(0, 0), dilation=(1, 1))
        return f"Pool({self.kernel_size}{rest}, gain={self.gain:g})"
