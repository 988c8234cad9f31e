"""Input that is the same at every step, such as an image as a constant current: layers map one step of it."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Pullback, Tensor, as_tensor, differentiable, saves
from cuslayer.backend import Array, namespace
from cuslayer.kernels.host.elementwise import sum_of_first

Call = TypeVar("Call", bound=Callable[..., Tensor])


def repeat_step(step: Tensor, steps: int) -> Tensor:
    """Return a tensor (steps, N, ...) that has `step` (1, N, ...) at every step; the arrays share memory."""
    repeated = _repeat(step, steps=steps)
    repeated.step = step
    return repeated


@differentiable
@saves("nothing")
def _repeat(step: Array, /, *, steps: int) -> tuple[Array, Pullback]:
    repeated = namespace(step).broadcast_to(step, (steps, *step.shape[1:]))
    return repeated, lambda g: (sum_of_first(g) if namespace(g) is np else g.sum(axis=0))[None]


def still_step(x: Tensor) -> Tensor | None:
    """Return the step that x (T, N, ...) has at every step, (1, N, ...); None if its steps differ.

    On a CPU, numbers without a gradient are compared.
    """
    if x.step is not None or x.ndim < 2 or len(x) < 2 or x.lengths is not None:
        return x.step
    numbers = x.stored
    if x.requires_grad or not isinstance(numbers, np.ndarray) or numbers.dtype == bool:
        return None
    alike = numbers.strides[0] == 0 or all(np.array_equal(numbers[0], later) for later in numbers[1:])
    return as_tensor(numbers[:1]) if alike else None


def each_step_alone(call: Call) -> Call:
    """Decorate the `__call__` of a layer that maps each step by itself while its `memory` is 0.

    The layer then maps a still input once, and the result stands at every step.
    """

    @wraps(call)
    def mapped(layer: Any, x: TensorLike) -> Tensor:
        x = as_tensor(x)
        step = still_step(x) if layer.memory == 0 else None
        if step is None:
            return call(layer, x)
        try:
            return repeat_step(call(layer, step), len(x))
        except (ValueError, TypeError):
            # The message has the shape of x.
            return call(layer, x)

    return check.method(mapped)  # type: ignore[return-value]
