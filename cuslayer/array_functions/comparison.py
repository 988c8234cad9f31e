"""Comparisons and logic of tensors, element by element. Results are boolean and have no gradient."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from cuslayer.array_functions.elementwise import binary
from cuslayer.operations import comparison
from cuslayer.operations.numpy_calls import implements
from cuslayer.tape import Tensor, apply


@implements(np.equal)
def equal(x1: Any, x2: Any) -> Tensor:
    """Return x1 == x2, element by element, broadcast.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand is not made of real numbers or booleans.

    >>> equal([1.0, 2.0], 2).tolist()
    [False, True]
    """
    return binary(comparison.equal, x1, x2)


@implements(np.not_equal)
def not_equal(x1: Any, x2: Any) -> Tensor:
    """Return x1 != x2, element by element, broadcast.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand is not made of real numbers or booleans.

    >>> not_equal([1.0, 2.0], 2).tolist()
    [True, False]
    """
    return binary(comparison.not_equal, x1, x2)


@implements(np.less)
def less(x1: Any, x2: Any) -> Tensor:
    """Return x1 < x2, element by element, broadcast.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand is not made of real numbers or booleans.

    >>> less([1.0, 2.0], 2).tolist()
    [True, False]
    """
    return binary(comparison.less, x1, x2)


@implements(np.less_equal)
def less_equal(x1: Any, x2: Any) -> Tensor:
    """Return x1 <= x2, element by element, broadcast.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand is not made of real numbers or booleans.

    >>> less_equal([1.0, 3.0], 2).tolist()
    [True, False]
    """
    return binary(comparison.less_equal, x1, x2)


@implements(np.greater)
def greater(x1: Any, x2: Any) -> Tensor:
    """Return x1 > x2, element by element, broadcast.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand is not made of real numbers or booleans.

    >>> greater([1.0, 3.0], 2).tolist()
    [False, True]
    """
    return binary(comparison.greater, x1, x2)


@implements(np.greater_equal)
def greater_equal(x1: Any, x2: Any) -> Tensor:
    """Return x1 >= x2, element by element, broadcast.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand is not made of real numbers or booleans.

    >>> greater_equal([1.0, 2.0], 2).tolist()
    [False, True]
    """
    return binary(comparison.greater_equal, x1, x2)


@implements(np.logical_and)
def logical_and(x1: Any, x2: Any) -> Tensor:
    """Return where x1 and x2 are not 0.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand is not made of real numbers or booleans.

    >>> logical_and([True, True], [True, False]).tolist()
    [True, False]
    """
    return binary(comparison.logical_and, x1, x2)


@implements(np.logical_or)
def logical_or(x1: Any, x2: Any) -> Tensor:
    """Return where x1 or x2 is not 0.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand is not made of real numbers or booleans.

    >>> logical_or([True, False], [False, False]).tolist()
    [True, False]
    """
    return binary(comparison.logical_or, x1, x2)


@implements(np.logical_xor)
def logical_xor(x1: Any, x2: Any) -> Tensor:
    """Return where exactly one of x1 and x2 is not 0.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand is not made of real numbers or booleans.

    >>> logical_xor([True, True], [True, False]).tolist()
    [False, True]
    """
    return binary(comparison.logical_xor, x1, x2)


@implements(np.logical_not)
def logical_not(x: Any) -> Tensor:
    """Return where x is 0.

    Raises:
        TypeError: x is not made of real numbers or booleans.

    >>> logical_not([True, False]).tolist()
    [False, True]
    """
    return apply(comparison.logical_not, x)


# What `array & x` and `~x` call.
implements(np.bitwise_and)(partial(binary, comparison.bitwise_and))
implements(np.bitwise_or)(partial(binary, comparison.bitwise_or))
implements(np.bitwise_xor)(partial(binary, comparison.bitwise_xor))
implements(np.invert)(partial(apply, comparison.invert))
