"""The pooling layer."""

from __future__ import annotations

from typing import Any

from cuslayer import functions
from cuslayer.kernels.constants import Pooling
from cuslayer.layers.windowed import Windowed
from cuslayer.neuron import SRM
from cuslayer.tape import Tensor


class Pool(Windowed):
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

    def __call__(self, x: Any) -> Tensor:
        return functions.pool(x, **self.geometry())

    def pooling(self, srm: SRM) -> Pooling:
        """Return what the layer and neurons behind it do, as `functions.conv_pool` takes it."""
        return Pooling(self.window, self.gain, srm.filter, srm.spiking)
