"""Dropout of whole neurons."""

from __future__ import annotations

from typing import Any

from cuslayer import check, functions
from cuslayer.layers.base import Layer
from cuslayer.tape import Tensor


class Dropout(Layer):
    """In training, silence each neuron of each sample with chance p for all its time; see `functions.dropout`.

    Out of training the input passes as it is.

    Args:
        p: the chance of silence, 0 <= p < 1.

    Raises:
        ValueError: p lies outside [0, 1).
        TypeError: p is no number.

    >>> import numpy as np
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
