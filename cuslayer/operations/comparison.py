"""Comparisons and logic, element by element, broadcast. The results are boolean; no gradient passes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.operations.base import elementwise, truth

_SWAPPED: dict[Any, Callable[[Any, Any], Any]] = {
    operator.eq: operator.eq,
    operator.ne: operator.ne,
    operator.lt: operator.gt,
    operator.le: operator.ge,
    operator.gt: operator.lt,
    operator.ge: operator.le,
}


def _comparison(op: str, function: Callable[[Any, Any], Any], doc: str) -> Callable[..., tuple[Array, None]]:
    def compare(a: Array, b: Array, /) -> tuple[Array, None]:
        # NumPy would make an array of a number on the left.
        if isinstance(a, np.generic):
            return elementwise(op, _SWAPPED[function], b, a), None
        return elementwise(op, function, a, b), None

    compare.__name__, compare.__doc__ = op, doc
    return compare


equal = _comparison("equal", operator.eq, "Return a == b.")
not_equal = _comparison("not_equal", operator.ne, "Return a != b.")
less = _comparison("less", operator.lt, "Return a < b.")
less_equal = _comparison("less_equal", operator.le, "Return a <= b.")
greater = _comparison("greater", operator.gt, "Return a > b.")
greater_equal = _comparison("greater_equal", operator.ge, "Return a >= b.")


def _truths(a: Array, b: Array) -> tuple[Array, Array]:
    """Return where each is not 0; a number is the second."""
    return (truth(b), truth(a)) if isinstance(a, np.generic) else (truth(a), truth(b))


def logical_and(a: Array, b: Array, /) -> tuple[Array, None]:
    """Return where both are not 0."""
    return elementwise("logical_and", operator.and_, *_truths(a, b)), None


def logical_or(a: Array, b: Array, /) -> tuple[Array, None]:
    """Return where one or both are not 0."""
    return elementwise("logical_or", operator.or_, *_truths(a, b)), None


def logical_xor(a: Array, b: Array, /) -> tuple[Array, None]:
    """Return where exactly one is not 0."""
    return elementwise("logical_xor", operator.ne, *_truths(a, b)), None


def logical_not(x: Array, /) -> tuple[Array, None]:
    """Return where x is 0."""
    return ~truth(x), None


def _check_boolean(op: str, *arrays: Array) -> None:
    for x in arrays:
        if x.dtype != bool:
            raise TypeError(f"{op}: operands of &, |, ^ and ~ must be boolean, got {x.dtype}")


def bitwise_and(a: Array, b: Array, /) -> tuple[Array, None]:
    """Return a & b of boolean arrays."""
    _check_boolean("bitwise_and", a, b)
    return logical_and(a, b)


def bitwise_or(a: Array, b: Array, /) -> tuple[Array, None]:
    """Return a | b of boolean arrays."""
    _check_boolean("bitwise_or", a, b)
    return logical_or(a, b)


def bitwise_xor(a: Array, b: Array, /) -> tuple[Array, None]:
    """Return a ^ b of boolean arrays."""
    _check_boolean("bitwise_xor", a, b)
    return logical_xor(a, b)


def invert(x: Array, /) -> tuple[Array, None]:
    """Return ~x of a boolean array."""
    _check_boolean("invert", x)
    return logical_not(x)
