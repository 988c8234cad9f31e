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
# Replaces the run of a step: called with the replaced run, the step and its input; returns the output.
Observer: TypeAlias = "Callable[[Run, Step, Tensor], Tensor]"

_observers: Setting[tuple[tuple[Any, Observer], ...]] = Setting(())


@contextmanager
def observe(net: Any, observer: Observer) -> Iterator[None]:
    """Let an observer run every step of a network's forward passes, within the block and this thread.

    The observer may run the stages of a step one by one; it must return the output of the step. Of several observers
    of a network, the last one is called first.
    """
    with _observers.set((*_observers.get(), (net, observer))):
        yield


def observed(net: Any) -> Run:
    """Return the function that runs the steps of a network, through its observers if it has any."""

    def run(step: Step, x: Tensor) -> Tensor:
        return step(x)

    for other, observer in _observers.get():
        if other is net:
            run = partial(observer, run)
    return run


@differentiable
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
