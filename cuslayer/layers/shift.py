"""The fixed delay of an axon."""

from __future__ import annotations

from typing import Any

from cuslayer import check, functions
from cuslayer.layers.base import Layer
from cuslayer.tape import Tensor


class Shift(Layer):
    """A fixed delay of everything that passes: ``y[t] = x[t - floor(delay / dt)]``; see `functions.shift`.

    Args:
        delay: milliseconds; a negative delay advances.
        dt: the step in milliseconds.

    Raises:
        ValueError: delay is not finite, or dt is not positive.
        TypeError: either is no number.

    >>> import numpy as np
    >>> Shift(1.0)(np.array([[[1.0]], [[2.0]]])).data.ravel().tolist()
    [0.0, 1.0]
    """

    def __init__(self, delay: float, *, dt: float = 1.0) -> None:
        self.delay = check.number("Shift", "delay", delay)
        self.dt = check.positive("Shift", "dt", dt)

    def __call__(self, x: Any) -> Tensor:
        return functions.shift(x, delay=self.delay, dt=self.dt)

    def __repr__(self) -> str:
        return f"Shift({self.delay:g}, dt={self.dt:g})"
