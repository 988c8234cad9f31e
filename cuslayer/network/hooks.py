"""Hooks on a network: observers of the steps of a forward pass, and of the gradient at a tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, TypeAlias

from cuslayer.backend import Array
from cuslayer.context import Setting
from cuslayer.network.fusion import Step
from cuslayer.tape import Pullback, Tensor, differentiable

# Runs a step of a plan on its input.
Run: TypeAlias = "Callable[[Step, Tensor], Tensor]"
# Runs a step in a network's place: called with the run that it replaces, the step and its input.
Observer: TypeAlias = "Callable[[Run, Step, Tensor], Tensor]"

_observers: Setting[tuple[tuple[Any, Observer], ...]] = Setting(())


@contextmanager
def observe(net: Any, observer: Observer) -> Iterator[None]:
    """Let an observer run every step of a network's forward passes within this block (of this thread).

    It may split a step into its parts, and returns what the step would have returned. Of several observers of one
    network, the last one is called first.
    """
    with _observers.set((*_observers.get(), (net, observer))):
        yield


def observed(net: Any) -> Run:
    """Return the function that runs the steps of a network: plainly, or through its observers."""

    def run(step: Step, x: Tensor) -> Tensor:
        return step(x)

    for other, observer in _observers.get():
        if other is net:
            run = partial(observer, run)
    return run


@differentiable
def on_gradient(x: Array, /, *, callback: Callable[[Array], None]) -> tuple[Array, Pullback]:
    """Return x, and call back with its gradient during backward: the identity with a gradient hook.

    Neither x nor the gradient changes by a bit. Where no gradient is wanted, the callback is not called.

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
