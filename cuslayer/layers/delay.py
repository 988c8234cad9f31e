"""Trained delays."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer import check, functions
from cuslayer.backend import generator
from cuslayer.bounded import Bounded
from cuslayer.functions.shift import MODES
from cuslayer.layers.base import Layer, differing
from cuslayer.tape import Tensor


class Delay(Layer):
    """A delay of each neuron or of each channel, trained with the weights: ``y[t] = x[t - floor(delay / dt)]``.

    Spikes stay spikes. In the linear mode, for analog signals, the delay lies between two steps; see `functions.shift`,
    which has the gradients too. Every step of an optimizer leaves the delays within ``0 .. max_delay``.

    Args:
        features: how many delays, one a neuron of flat layers, or one a channel of images; or, for a delay of each
            neuron of an image, its shape (H, W, C).
        dt: the step in milliseconds.
        max_delay: the longest delay in milliseconds; None for no limit.
        mode: "floor", or "linear" for analog signals.

    Attributes:
        delay: milliseconds, of the shape of the features; uniform in 0 to 1 ms, or to max_delay where that is less, at
            first.

    Raises:
        ValueError: a size or a constant is out of range, or mode is an unknown word.
        TypeError: a size is no integer, or a constant no number.

    Source: Shrestha and Orchard 2018, arXiv 1810.08646.

    >>> import numpy as np
    >>> layer = Delay(3, dt=1.0, max_delay=62.0)
    >>> layer.delay.data[:] = [0.0, 1.5, 2.0]
    >>> layer(np.eye(3, dtype=bool)[:, None]).data[:, 0].astype(int).tolist()
    [[1, 0, 0], [0, 0, 0], [0, 1, 0]]
    """

    def __init__(
        self, features: int | tuple[int, ...], *, dt: float, max_delay: float | None = None, mode: str = "floor"
    ) -> None:
        sizes = features if isinstance(features, tuple) else (features,)
        self.features = tuple(check.integer("Delay", "features", n, least=1) for n in sizes)
        self.dt = check.positive("Delay", "dt", dt)
        self.max_delay = None if max_delay is None else check.not_negative("Delay", "max_delay", max_delay)
        self.mode = check.one_of("Delay", "mode", mode, MODES)
        longest = 1.0 if self.max_delay is None else min(1.0, self.max_delay)
        start = generator().uniform(0.0, longest, self.features).astype(np.float32)
        self.delay = Bounded(start, least=0.0, most=self.max_delay)

    def parameters(self) -> list[Tensor]:
        return [self.delay]

    def __call__(self, x: Any) -> Tensor:
        return functions.shift(x, delay=self.delay, dt=self.dt, mode=self.mode)

    def __repr__(self) -> str:
        sizes = self.features
        rest = differing(self, max_delay=None) + ("" if self.mode == "floor" else f", mode={self.mode!r}")
        return f"Delay({sizes if len(sizes) > 1 else sizes[0]}, dt={self.dt:g}{rest})"
