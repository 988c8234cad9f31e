"""Watching a network run: who asks, gets every pass to run himself.

A tap on the tape: the same tensor, whose gradient is shown as it passes.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

from cuslayer.backend import Array
from cuslayer.network.fusion import Step
from cuslayer.tape import Pullback, Tensor, differentiable

# Runs a step of a plan on its input.
Run: TypeAlias = "Callable[[Step, Tensor], Tensor]"
# Runs a step in a network's place, by way of the run that it is given.
Watch: TypeAlias = "Callable[[Run, Step, Tensor], Tensor]"

_state = threading.local()


@contextmanager
def watching(net: Any, watch: Watch) -> Iterator[None]:
    """Let `watch` run every pass of a network within this block (of this thread).

    It may take a pass apart into its stages, and is to return what the pass would have returned. Of several that watch
    one network, the last runs first.
    """
    before = getattr(_state, "open", ())
    _state.open = (*before, (net, watch))
    try:
        yield
    finally:
        _state.open = before


def watched(net: Any) -> Run:
    """Return how the steps of a network are run: as they are, or by those who watch it."""

    def run(step: Step, x: Tensor) -> Tensor:
        return step(x)

    for other, watch in getattr(_state, "open", ()):
        if other is net:
            run = partial(watch, run)
    return run


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
