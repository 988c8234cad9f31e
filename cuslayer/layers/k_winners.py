"""Competition: of the weighted input of a layer, the largest alone reach its neurons."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer import check
from cuslayer.backend import Array, namespace
from cuslayer.layers.base import Layer, Shape
from cuslayer.operations.base import saves
from cuslayer.tape import Pullback, Tensor, differentiable

AMONG = ("layer", "channels")


@differentiable
@saves("nothing")
def k_winners(x: Array, /, *, k: int, among: str = "layer") -> tuple[Array, Pullback]:
    """Keep the k largest elements of each step and sample, and set all others to 0.

    Of equal elements, those of the lowest index win. The gradient is that of the winners; all others have 0.

    Args:
        x: (T, N, ...), numbers.
        k: the number of winners.
        among: "layer", for winners of all neurons, or "channels", for winners of the channels of each pixel.

    Returns:
        The winners, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...), k is under 1 or above the number of neurons, or among is unknown.
        TypeError: x is not floating, or k is not an integer.

    >>> import numpy as np
    >>> k_winners(np.array([[[3.0, 1.0, 2.0, 3.0]]]), k=2).data.tolist()
    [[[3.0, 0.0, 0.0, 3.0]]]
    """
    check.time_first("k_winners", "x", x, least_dimensions=3)
    check.floating("k_winners", "x", x)
    k = check.integer("k_winners", "k", k, least=1)
    check.one_of("k_winners", "among", among, AMONG)
    count = _check_count(k, among, x.shape[2:])
    xp, shape = namespace(x), x.shape
    rows = x.reshape(x.size // count, count)
    # Either finds the k-th largest; on a CPU a partition is faster.
    ordered = np.partition(rows, count - k, axis=1) if xp is np else xp.sort(rows, axis=1)
    least = ordered[:, count - k : count - k + 1]
    above, equal = rows > least, rows == least
    left = k - above.sum(axis=1, keepdims=True)
    wins = (above | (equal & (equal.cumsum(axis=1) <= left))).reshape(shape)
    return xp.where(wins, x, x.dtype.type(0)), lambda g: xp.where(wins, g, g.dtype.type(0))


def _check_count(k: int, among: str, shape: Shape) -> int:
    """Return the number of neurons of a layer that compete; raise ValueError if k is more."""
    # Rows and columns of frames may not be known yet.
    known = among == "channels" or all(isinstance(size, int) for size in shape)
    count = shape[-1] if among == "channels" else math.prod(shape) if known else k
    if k > count:
        raise ValueError(f"k_winners: k must be at most the {count} neurons that compete, got {k}")
    return count


class KWinners(Layer):
    """Competition before neurons: at each step the k largest weighted inputs pass, all others are 0.

    See `functions.k_winners`. It stands between a layer and its neurons.

    Args:
        k: the number of winners.
        among: "layer", for winners of all neurons, or "channels", for winners of the channels of each pixel.

    Raises:
        ValueError: k is under 1, or among is unknown.
        TypeError: k is not an integer.

    >>> import numpy as np
    >>> KWinners(1)(np.array([[[0.5, 2.0]], [[-1.0, -3.0]]])).data.tolist()
    [[[0.0, 2.0]], [[-1.0, 0.0]]]
    """

    keeps_shape = keeps_steps = True
    memory = 0

    def __init__(self, k: int, *, among: str = "layer") -> None:
        self.k = check.integer("KWinners", "k", k, least=1)
        self.among = check.one_of("KWinners", "among", among, AMONG)

    def output_shape(self, shape: Shape | None) -> Shape | None:
        if shape is not None:
            _check_count(self.k, self.among, shape)
        return shape

    def __call__(self, x: Any) -> Tensor:
        return k_winners(x, k=self.k, among=self.among)

    def __repr__(self) -> str:
        return f"KWinners({self.k}{'' if self.among == 'layer' else ', among=' + repr(self.among)})"
