"""Dropout of whole neurons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cuslayer import check, kernels
from cuslayer.backend import Array
from cuslayer.layers.base import Layer
from cuslayer.operations.base import saves
from cuslayer.tape import Pullback, Tensor, as_tensor, differentiable, numeric


@differentiable
@saves("nothing")
def dropout(x: Array, /, *, p: float) -> tuple[Array, Pullback]:
    """Silence each neuron of each sample with probability p at all steps; scale the others by ``1 / (1 - p)``.

    The neurons are drawn by the seeded generator; a GPU draws others than the CPU, the same for the same seed. The
    output holds numbers: a scaled spike is not a spike.

    Args:
        x: (T, N, ...), spikes (taken as float32) or numbers.
        p: the probability, 0 <= p < 1.

    Returns:
        The scaled signal, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...), or p lies outside [0, 1).
        TypeError: p is not a number.

    >>> import numpy as np
    >>> dropout(np.ones((2, 1, 3)), p=0.0).data.tolist()
    [[[1.0, 1.0, 1.0]], [[1.0, 1.0, 1.0]]]
    """
    check.time_first("dropout", "x", x)
    p = check.fraction("dropout", "p", p)
    x = numeric(x)
    scale = kernels.of(x).dropout.scale(x, p)
    return x * scale, lambda g: g * scale


class Dropout(Layer):
    """Silence each neuron of each sample with probability p in training; see `functions.dropout`.

    Outside training the output is the input.

    Args:
        p: the probability, 0 <= p < 1.

    Raises:
        ValueError: p lies outside [0, 1).
        TypeError: p is not a number.

    >>> import numpy as np
    >>> layer = Dropout(0.5)
    >>> layer.training = False
    >>> layer(np.ones((1, 1, 2), bool)).data.tolist()
    [[[True, True]]]
    """

    keeps_shape = keeps_steps = True

    def __init__(self, p: float) -> None:
        self.p = check.fraction("Dropout", "p", p)

    def __call__(self, x: Any) -> Tensor:
        if self.training:
            return dropout(x, p=self.p)
        return as_tensor(x)

    def streamed(self) -> Callable[..., Array] | None:
        # A stream is an evaluation.
        return (lambda x: x) if type(self).__call__ is Dropout.__call__ else super().streamed()

    def __repr__(self) -> str:
        return f"Dropout({self.p:g})"
