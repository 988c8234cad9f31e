"""What the operations share: the types of pullbacks, spikes as numbers, broadcasting, axes."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, TypeVar

import numpy as np

from cuslayer.backend import Array, namespace


class Deferred(Protocol):
    """A gradient that is computed where it is used, such as `kernels.dense.product.Product`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""

    def materialize(self) -> Array:
        """Return the array."""


@dataclass(frozen=True, eq=False)
class DeferredGradient:
    """A deferred gradient in the shape of its tensor, for the pullback of an operation that takes it as it is.

    Attributes:
        value: the gradient, a matrix.
        shape: the shape of the tensor.
    """

    value: Deferred
    shape: tuple[int, ...]

    def materialize(self) -> Array:
        """Return the gradient as an array."""
        return self.value.materialize().reshape(self.shape)


# The gradient of one array: an array, None if there is none, or a function that computes it and is called on demand.
Gradient: TypeAlias = "Array | Callable[[], Array] | None"
# Takes the gradient of an operation's result; returns that of its only array, or a tuple or list, one for each array.
Pullback: TypeAlias = "Callable[[Array], Gradient | Sequence[Gradient]]"
# Takes arrays by position and options by keyword. A pullback of None: no gradient passes.
Operation: TypeAlias = "Callable[..., tuple[Array, Pullback | None]]"

Axis: TypeAlias = "int | Sequence[int] | None"
F = TypeVar("F", bound=Callable[..., Any])


def saves(what: str | None) -> Callable[[F], F]:
    """Mark which arrays the pullback of an operation reads: by default all of its arrays, and its result."""

    def mark(operation: F) -> F:
        operation.saves = what  # type: ignore[attr-defined]
        return operation

    return mark


def as_array(g: Any) -> Array:
    """Return a gradient as an array, computed if it was deferred."""
    return g.materialize() if isinstance(g, DeferredGradient) else g


def numeric(x: Array) -> Array:
    """Return x with spikes counted as 1.0, in float32."""
    return x.astype(numeric_type(x.dtype), copy=False)


def numeric_type(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """Return the type of numbers of a type, float32 for spikes."""
    return np.dtype(np.float32) if dtype.kind == "b" else dtype


@dataclass(frozen=True, eq=False)
class Number:
    """A number among the arrays of an operation. It has no gradient, and is an argument of kernels, not an array.

    Attributes:
        value: the number as NumPy's scalar, which has a type, a shape of () and no device.
    """

    value: Any


def number_like(value: Any, x: Any) -> Any:
    """Return value; a plain number becomes a `Number` of the type of x's numbers, so that no result is wider."""
    if isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool):
        return Number(np.asarray(value, numeric_type(x.dtype))[()])
    return value


def to_shape(grad: Array, shape: tuple[int, ...]) -> Array:
    """Sum grad over the axes that broadcasting added or stretched, to the given shape."""
    if grad.shape == shape:
        return grad
    grad = grad.sum(axis=tuple(range(grad.ndim - len(shape))))
    stretched = tuple(i for i, n in enumerate(shape) if n == 1 and grad.shape[i] != 1)
    return grad.sum(axis=stretched, keepdims=True) if stretched else grad


class AxisError(np.exceptions.AxisError):
    """An axis is out of range; NumPy's own error ignores its arguments."""

    def __str__(self) -> str:
        return str(self.args[0])


def one_axis(axis: Any, ndim: int) -> int:
    """Return an axis of an array of `ndim` axes, counted from 0."""
    try:
        found = operator.index(axis)
    except TypeError:
        raise TypeError(f"axis must be an integer, got {type(axis).__name__}") from None
    if not -ndim <= found < ndim:
        raise AxisError(f"axis {found} is out of range for an array of {ndim} axes")
    return found % ndim


def all_axes(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Return the axes that `axis` names, counted from 0: all for None, else one or several."""
    if axis is None:
        return tuple(range(ndim))
    named = axis if isinstance(axis, (tuple, list)) else (axis,)
    found = tuple(one_axis(a, ndim) for a in named)
    if len(set(found)) != len(found):
        raise ValueError(f"axis must name each axis once, got {axis}")
    return found


def contiguous(x: Any) -> Array:
    """Return x as a C-contiguous array of as many axes, copied only if necessary."""
    xp = namespace(x)
    return xp.ascontiguousarray(x) if x.ndim else xp.asarray(x)
