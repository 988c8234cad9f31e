"""A tap on the tape: the same tensor, whose gradient is shown as it passes."""

from __future__ import annotations

from collections.abc import Callable

from cuslayer.backend import Array
from cuslayer.tape import Pullback, differentiable


@differentiable
def tap(x: Array, /, *, show: Callable[[Array], None]) -> tuple[Array, Pullback]:
    """Return x, and show its gradient as backward passes.

    Neither x nor the gradient changes by a bit. Where no gradient is wanted, nothing is shown.

    Args:
        x: an array of any shape.
        show: called with the gradient, of x's shape. The array is the tape's: it is not to be written to.

    Returns:
        x itself.

    >>> import numpy as np
    >>> from cuslayer.tape import Tensor
    >>> x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    >>> (tap(x, show=lambda g: print(g.tolist())) * 3.0).sum().backward()
    [3.0, 3.0]
    """

    def pullback(g: Array) -> Array:
        show(g)
        return g

    return x, pullback
