"""A hook on the gradient at a tensor."""

from __future__ import annotations

from collections.abc import Callable

from cuslayer.backend import Array
from cuslayer.operations.base import saves
from cuslayer.tape import Pullback, differentiable


@differentiable
@saves("nothing")
def on_gradient(x: Array, /, *, callback: Callable[[Array], None]) -> tuple[Array, Pullback]:
    """Identity with a gradient hook: return x, and call back with its gradient during backward.

    Neither x nor the gradient changes. Without gradients, the callback is not called.

    Args:
        x: an array of any shape.
        callback: called with the gradient, of x's shape. It must not write to the array.

    Returns:
        x itself.

    >>> import numpy as np
    >>> from cuslayer.tape import Tensor
    >>> x = Tensor(np.array([1.0, 2.0]), requires_grad=True)
    >>> (on_gradient(x, callback=lambda g: print(g.tolist())) * 3.0).sum().backward()
    [3.0, 3.0]
    """

    def pullback(g: Array) -> Array:
        callback(g)
        return g

    return x, pullback
