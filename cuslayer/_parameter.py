"""Parameters with bounds, and the assignment of values to a parameter."""

from __future__ import annotations

import gc
import math
from typing import Any
from weakref import WeakSet

import numpy as np

from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Tensor, note_change
from cuslayer.backend import namespace

# All optimizers, each with `parameters`.
optimizers: WeakSet[Any] = WeakSet()


class Bounded(Tensor):
    """A parameter that each optimizer step clips to ``[least, most]``.

    Args:
        data: numbers of any shape; see `Tensor`.
        least: the lower bound; None for no bound.
        most: the upper bound; None for no bound.

    Raises:
        ValueError: a bound is not finite, or least is above most.
        TypeError: data does not contain numbers, or a bound is not a number.

    >>> p = Bounded([-0.5, 0.5, 1.5], least=0.0, most=1.0)
    >>> p.clamp(); p.data.tolist()
    [0.0, 0.5, 1.0]
    """

    __slots__ = ("least", "most")

    def __init__(self, data: TensorLike, *, least: float | None = None, most: float | None = None) -> None:
        super().__init__(data, requires_grad=True)
        self.least = -math.inf if least is None else check.number("least", least)
        self.most = math.inf if most is None else check.number("most", most)
        if self.least > self.most:
            raise ValueError(f"least must not be above most, got {self.least:g} and {self.most:g}")

    def prepare(self) -> None:
        """Prepare for an optimizer step, which `clamp` follows."""

    def clamp(self) -> None:
        """Clip the elements to the bounds, in place."""
        note_change(self)
        self.data[...] = self.data.clip(self.least, self.most)


def replaces(name: str, p: Tensor, value: TensorLike) -> bool:
    """Return whether a value takes the place of parameter p; if not, p gets its values.

    Raises:
        TypeError: the value is the result of an operation, whose gradients would be lost.
        ValueError: an optimizer has p, but not the tensor, or None, that would take its place.
    """
    if not isinstance(value, Tensor) and value is not None:
        return False
    left = left_behind(p, value)
    if value is None:
        if left:
            cure = "make the optimizer afterwards"
            raise ValueError(f"{name} must stay the tensor that an optimizer has, got None; {cure}")
        return True
    if not p.requires_grad and not left:
        return True
    if value.node is not None:
        hint = "assign its .data, or compute the weight in a weight_hook"
        raise TypeError(f"{name} must be an array or a leaf Tensor, got the result of an operation; {hint}")
    if value.requires_grad and left:
        cure = "assign its .data, or make the optimizer afterwards"
        raise ValueError(f"{name} must stay the tensor that an optimizer has, got another; {cure}")
    return value.requires_grad


def left_behind(p: Tensor, value: Tensor | None) -> bool:
    """Return whether an optimizer has p without a value in its place."""

    def some() -> bool:
        identities = ({id(parameter) for parameter in optimizer.parameters} for optimizer in list(optimizers))
        return any(id(p) in held and id(value) not in held for held in identities)

    if not some():
        return False
    # An optimizer and its groups refer to each other: without a collection, one that nobody has any more would count.
    gc.collect()
    return some()


def set_values(name: str, p: Tensor, value: Any) -> None:
    """Give a parameter the values of an array of its shape, or of one number.

    The parameter keeps its type, but a Tensor may change it as long as no optimizer has the parameter.

    Raises:
        TypeError: the value does not contain numbers.
        ValueError: the shape differs, or a value is not finite or beyond the parameter's bounds.
    """
    try:
        array = (value if isinstance(value, Tensor) else Tensor(value)).data
    except (AttributeError, TypeError, ValueError):
        raise check.mistyped(name, f"must be a Tensor or an array of shape {p.shape}", value) from None
    if array.shape not in ((), p.shape):
        raise ValueError(f"{name} must have shape {p.shape}, got {array.shape}")
    kept = not isinstance(value, Tensor) or value.dtype.kind != "f" or left_behind(p, value)
    values = namespace(array).empty(p.shape, p.dtype if kept else value.dtype)
    with np.errstate(over="ignore"):
        values[...] = array
    if values.size:
        least, most = float(values.min()), float(values.max())
        check.finite_range(name, least, most)
        if isinstance(p, Bounded) and not p.least <= least <= most <= p.most:
            raise ValueError(f"{name} must lie within {p.least:g} and {p.most:g}, got {least:g} to {most:g}")
    p.data = values
