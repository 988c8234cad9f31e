"""A frame repeated over time."""

from __future__ import annotations

from cuslayer import check
from cuslayer.backend import Array, namespace
from cuslayer.tape import Pullback, differentiable


@differentiable
def replicate(x: Array, /, *, steps: int) -> tuple[Array, Pullback]:
    """Repeat x at every step: ``y[t] = x``; backward is the sum over time.

    An image that does not move becomes an input of a spiking network this way: as a current, or weighted once by a
    layer that stands before.

    Args:
        x: (N, H, W, C), (N, C) or any (N, ...), spikes or numbers.
        steps: how many steps, T.

    Returns:
        The same at every step, (T, N, ...), of x's type.

    Raises:
        ValueError: x is not (N, ...), or steps is negative.
        TypeError: steps is no integer.

    >>> import numpy as np
    >>> replicate(np.array([[1.0, 2.0]]), steps=3).data.tolist()
    [[[1.0, 2.0]], [[1.0, 2.0]], [[1.0, 2.0]]]
    """
    if x.ndim < 1:
        raise ValueError(f"replicate: x must be (N, ...), got shape {x.shape}")
    steps = check.integer("replicate", "steps", steps, least=0)
    xp = namespace(x)
    return xp.broadcast_to(x, (steps, *x.shape)).copy(), lambda g: g.sum(axis=0)
