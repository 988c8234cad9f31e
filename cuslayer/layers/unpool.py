"""The unpooling layer."""

from __future__ import annotations

from typing import Any

from cuslayer import functions
from cuslayer.layers.windowed import Windowed
from cuslayer.tape import Tensor


class Unpool(Windowed):
    """The transpose of sum pooling with a fixed gain; see `functions.unpool`.

    Each input goes to all of its window: by default to a block of its size, so that H rows become ``H kernel``.

    Args:
        kernel_size: rows and columns of a window, one integer or two.
        stride: rows and columns between windows; by default those of the window.
        padding: rows and columns that are cut from each side of the result.
        dilation: rows and columns between the taps of a window.
        gain: the weight of every input; ``1.1 theta`` lets a lone spike through, as it does in `Pool`.

    Raises:
        ValueError: a constant is out of range.
        TypeError: a size is no integer, gain no number.

    >>> import numpy as np
    >>> Unpool(2, gain=11.0)(np.ones((1, 1, 17, 17, 3), bool)).shape
    (1, 1, 34, 34, 3)
    """

    def __call__(self, x: Any) -> Tensor:
        return functions.unpool(x, **self.geometry())
