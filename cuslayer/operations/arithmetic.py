"""Arithmetic of two arrays, broadcast. Spikes count as 1.0."""

from __future__ import annotations

import operator

from cuslayer.backend import Array, namespace
from cuslayer.operations.base import (
    Pullback,
    elementwise,
    masked,
    namespace_of,
    numeric,
    saves,
    to_shape,
    truth,
    where_each,
)


@saves("nothing")
def add(a: Array, b: Array, /) -> tuple[Array, Pullback]:
    """Return a + b."""
    out = elementwise("add", operator.add, numeric(a), numeric(b))
    return out, lambda g: (lambda: to_shape(g, a.shape), lambda: to_shape(g, b.shape))


@saves("nothing")
def subtract(a: Array, b: Array, /) -> tuple[Array, Pullback]:
    """Return a - b."""
    out = elementwise("subtract", operator.sub, numeric(a), numeric(b))
    return out, lambda g: (lambda: to_shape(g, a.shape), lambda: -to_shape(g, b.shape))


@saves("others")
def multiply(a: Array, b: Array, /) -> tuple[Array, Pullback]:
    """Return a b."""
    out = elementwise("multiply", operator.mul, numeric(a), numeric(b))
    return out, lambda g: (lambda: to_shape(g * b, a.shape), lambda: to_shape(g * a, b.shape))


def divide(a: Array, b: Array, /) -> tuple[Array, Pullback]:
    """Return a / b."""
    a, b = numeric(a), numeric(b)
    out = elementwise("divide", operator.truediv, a, b)
    return out, lambda g: (lambda: to_shape(g / b, a.shape), lambda: to_shape(-g * out / b, b.shape))


def power(a: Array, b: Array, /) -> tuple[Array, Pullback]:
    """Return a to the power of b."""
    a, b = numeric(a), numeric(b)
    out = elementwise("power", operator.pow, a, b)

    def of_base() -> Array:
        return b * a ** where_each(b == 0, b + 1, b - 1)  # 0 at b = 0, where a may be 0 too

    def of_exponent() -> Array:
        base = where_each(a == 0, a + 1, a)
        return where_each(a == 0, out * 0, out * namespace(base).log(base))

    return out, lambda g: (lambda: to_shape(g * of_base(), a.shape), lambda: to_shape(g * of_exponent(), b.shape))


def maximum(a: Array, b: Array, /) -> tuple[Array, Pullback]:
    """Return the larger of a and b; where they are equal, each has half the gradient."""
    a, b = numeric(a), numeric(b)
    out = elementwise("maximum", namespace_of(a, b).maximum, a, b)
    return out, lambda g: (lambda: _chosen(g, a > b, a == b, a.shape), lambda: _chosen(g, b > a, b == a, b.shape))


def minimum(a: Array, b: Array, /) -> tuple[Array, Pullback]:
    """Return the smaller of a and b; where they are equal, each has half the gradient."""
    a, b = numeric(a), numeric(b)
    out = elementwise("minimum", namespace_of(a, b).minimum, a, b)
    return out, lambda g: (lambda: _chosen(g, a < b, a == b, a.shape), lambda: _chosen(g, b < a, b == a, b.shape))


def _chosen(g: Array, chosen: Array, tie: Array, shape: tuple[int, ...]) -> Array:
    """Return the gradient of an operand: all of g where it was chosen, half where both are equal."""
    return to_shape(masked(chosen, g) + masked(tie, g / 2), shape)


def where(condition: Array, a: Array, b: Array, /) -> tuple[Array, Pullback]:
    """Return a where the condition is not 0, and b elsewhere."""
    chosen = truth(condition)
    out = elementwise("where", namespace(chosen).where, chosen, a, b)
    return out, lambda g: (
        None,
        lambda: to_shape(masked(chosen, g), a.shape),
        lambda: to_shape(masked(~chosen, g), b.shape),
    )
