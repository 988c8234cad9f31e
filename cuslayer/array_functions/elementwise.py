"""Arithmetic and functions of each element, on tensors."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.operations import arithmetic, elementwise
from cuslayer.operations.base import Operation, number_like
from cuslayer.operations.numpy_calls import implements
from cuslayer.tape import Tensor, apply, as_tensor


def operands(a: Any, b: Any) -> tuple[Any, Any]:
    """Return two operands, of which at least one is a tensor; a plain number does not widen the other."""
    if not isinstance(a, Tensor) and not isinstance(b, Tensor):
        a, b = (a, as_tensor(b)) if isinstance(a, (int, float)) else (as_tensor(a), b)
    return (a, number_like(b, a)) if isinstance(a, Tensor) else (number_like(a, b), b)


def binary(operation: Operation, a: Any, b: Any) -> Tensor:
    """Return the result of an operation on two operands."""
    return apply(operation, *operands(a, b))


@implements(np.add)
def add(x1: Any, x2: Any) -> Tensor:
    """Return x1 + x2, broadcast.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand is not made of real numbers or booleans.

    >>> add([1.0, 2.0], 1).tolist()
    [2.0, 3.0]
    """
    return binary(arithmetic.add, x1, x2)


@implements(np.subtract)
def subtract(x1: Any, x2: Any) -> Tensor:
    """Return x1 - x2, broadcast.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand is not made of real numbers or booleans.

    >>> subtract([1.0, 2.0], 1).tolist()
    [0.0, 1.0]
    """
    return binary(arithmetic.subtract, x1, x2)


@implements(np.multiply)
def multiply(x1: Any, x2: Any) -> Tensor:
    """Return x1 x2, element by element, broadcast.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand is not made of real numbers or booleans.

    >>> multiply([1.0, 2.0], [[2.0], [3.0]]).tolist()
    [[2.0, 4.0], [3.0, 6.0]]
    """
    return binary(arithmetic.multiply, x1, x2)


@implements(np.divide)
def divide(x1: Any, x2: Any) -> Tensor:
    """Return x1 / x2, element by element, broadcast.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand is not made of real numbers or booleans.

    >>> divide([1.0, 2.0], 2).tolist()
    [0.5, 1.0]
    """
    return binary(arithmetic.divide, x1, x2)


@implements(np.power)
def power(x1: Any, x2: Any) -> Tensor:
    """Return x1 to the power of x2, element by element, broadcast.

    The gradient of the exponent is ``out log(x1)``, 0 where x1 is 0.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand is not made of real numbers or booleans.

    >>> power([1.0, 2.0, 3.0], 2).tolist()
    [1.0, 4.0, 9.0]
    """
    return binary(arithmetic.power, x1, x2)


@implements(np.maximum)
def maximum(x1: Any, x2: Any) -> Tensor:
    """Return the larger of x1 and x2, element by element, broadcast. Where they are equal, each has half the gradient.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand is not made of real numbers or booleans.

    >>> maximum([-1.0, 2.0], 0).tolist()
    [0.0, 2.0]
    """
    return binary(arithmetic.maximum, x1, x2)


@implements(np.minimum)
def minimum(x1: Any, x2: Any) -> Tensor:
    """Return the smaller of x1 and x2, element by element, broadcast. Where they are equal, each has half the gradient.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand is not made of real numbers or booleans.

    >>> minimum([-1.0, 2.0], 0).tolist()
    [-1.0, 0.0]
    """
    return binary(arithmetic.minimum, x1, x2)


@implements(np.where)
def where(condition: Any, x: Any, y: Any) -> Tensor:
    """Return x where the condition is true, and y elsewhere, broadcast.

    Args:
        condition: booleans, or numbers of which 0 is false. It has no gradient.
        x: values where it is true.
        y: values where it is false. Two boolean arrays give a boolean one.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> where([True, False], [1.0, 2.0], 0).tolist()
    [1.0, 0.0]
    """
    return apply(arithmetic.where, condition, *operands(x, y))


@implements(np.negative)
def negative(x: Any) -> Tensor:
    """Return -x.

    Raises:
        TypeError: x is not made of real numbers or booleans.

    >>> negative([1.0, -2.0]).tolist()
    [-1.0, 2.0]
    """
    return apply(elementwise.negative, x)


# What np.positive(x) and +x are: a copy.
implements(np.positive)(lambda x: as_tensor(x).copy())


@implements(np.absolute)
def absolute(x: Any) -> Tensor:
    """Return the absolute value of x, with gradient 0 at 0.

    Raises:
        TypeError: x is not made of real numbers or booleans.

    >>> absolute([-1.0, 2.0]).tolist()
    [1.0, 2.0]
    """
    return apply(elementwise.absolute, x)


abs = absolute


@implements(np.exp)
def exp(x: Any) -> Tensor:
    """Return the exponential of x.

    Raises:
        TypeError: x is not made of real numbers or booleans.

    >>> exp([0.0]).tolist()
    [1.0]
    """
    return apply(elementwise.exp, x)


@implements(np.log)
def log(x: Any) -> Tensor:
    """Return the natural logarithm of x. At 0 it is -inf, below NaN, with NumPy's warnings.

    Raises:
        TypeError: x is not made of real numbers or booleans.

    >>> log([1.0]).tolist()
    [0.0]
    """
    return apply(elementwise.log, x)


@implements(np.sqrt)
def sqrt(x: Any) -> Tensor:
    """Return the square root of x, with an infinite gradient at 0.

    Raises:
        TypeError: x is not made of real numbers or booleans.

    >>> sqrt([4.0]).tolist()
    [2.0]
    """
    return apply(elementwise.sqrt, x)


@implements(np.square)
def square(x: Any) -> Tensor:
    """Return x x, element by element.

    Raises:
        TypeError: x is not made of real numbers or booleans.

    >>> square([3.0]).tolist()
    [9.0]
    """
    return apply(elementwise.square, x)


@implements(np.tanh)
def tanh(x: Any) -> Tensor:
    """Return the hyperbolic tangent of x.

    Raises:
        TypeError: x is not made of real numbers or booleans.

    >>> tanh([0.0]).tolist()
    [0.0]
    """
    return apply(elementwise.tanh, x)


def sigmoid(x: Any) -> Tensor:
    """Return ``1 / (1 + exp(-x))``, for x of any size without overflow.

    Raises:
        TypeError: x is not made of real numbers or booleans.

    >>> sigmoid([-1000.0, 0.0, 1000.0]).tolist()
    [0.0, 0.5, 1.0]
    """
    return apply(elementwise.sigmoid, x)


@implements(np.clip)
def clip(a: Any, a_min: Any = None, a_max: Any = None, *, min: Any = None, max: Any = None) -> Tensor:
    """Return a limited to ``[a_min, a_max]``. The gradient passes where a lies within, bounds included.

    Args:
        a: numbers of any shape.
        a_min: the lower bound, a number or an array that broadcasts to a; None for none. Where a lies below it, it
            gets the gradient if it requires one.
        a_max: the upper bound, likewise. Where it is below a_min, the result is a_max.
        min: another name of a_min.
        max: another name of a_max.

    Raises:
        TypeError: a bound is not made of numbers or is given twice.
        ValueError: a bound does not broadcast to the shape of a.

    >>> clip([-2.0, 0.5, 2.0], -1, 1).tolist()
    [-1.0, 0.5, 1.0]
    """
    if (a_min is not None and min is not None) or (a_max is not None and max is not None):
        raise TypeError("clip: a bound must be given once, got a_min or a_max and min or max")
    return as_tensor(a).clip(a_min if min is None else min, a_max if max is None else max)


@implements(*([np.astype] if hasattr(np, "astype") else []))
def astype(x: Any, dtype: Any) -> Tensor:
    """Return x in another type; its gradient is converted back to the type of x.

    Args:
        x: numbers or spikes of any shape.
        dtype: float32, float64 or bool. A boolean result has no gradient.

    Raises:
        TypeError: the type is another.

    >>> astype([0.0, 1.0], bool).tolist()
    [False, True]
    """
    return as_tensor(x).astype(dtype)
