"""Functions of each element of one array. Spikes count as 1.0."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array, namespace, to_numpy
from cuslayer.operations.base import Gradient, Pullback, elementwise, masked, numeric, saves, to_shape


@saves("nothing")
def negative(x: Array, /) -> tuple[Array, Pullback]:
    """Return -x."""
    return -numeric(x), lambda g: -g


def absolute(x: Array, /) -> tuple[Array, Pullback]:
    """Return the absolute value of x, with gradient 0 at 0."""
    x = numeric(x)
    return abs(x), lambda g: g * namespace(x).sign(x)


@saves("result")
def exp(x: Array, /) -> tuple[Array, Pullback]:
    """Return e to the power of x."""
    out = namespace(x).exp(numeric(x))
    return out, lambda g: g * out


def log(x: Array, /) -> tuple[Array, Pullback]:
    """Return the natural logarithm of x."""
    x = numeric(x)
    return namespace(x).log(x), lambda g: g / x


@saves("result")
def sqrt(x: Array, /) -> tuple[Array, Pullback]:
    """Return the square root of x, with an infinite gradient at 0."""
    out = namespace(x).sqrt(numeric(x))
    return out, lambda g: g / (2 * out)


def square(x: Array, /) -> tuple[Array, Pullback]:
    """Return x x."""
    x = numeric(x)
    return x * x, lambda g: 2 * g * x


def tanh(x: Array, /) -> tuple[Array, Pullback]:
    """Return the hyperbolic tangent of x."""
    x = numeric(x)
    xp = namespace(x)

    def pullback(g: Array) -> Array:
        # 1 - tanh(x)^2, which would be 0 far from 0.
        tail = xp.exp(-2 * abs(x))
        return g * (4 * tail / ((1 + tail) * (1 + tail)))

    return xp.tanh(x), pullback


@saves("nothing")
def sigmoid(x: Array, /) -> tuple[Array, Pullback]:
    """Return 1 / (1 + exp(-x)), without overflow."""
    x = numeric(x)
    xp = namespace(x)
    tail = xp.exp(-abs(x))
    one = x.dtype.type(1)
    out = xp.where(x >= 0, one, tail) / (one + tail)
    # 1 - out would be 0 far above 0.
    return out, lambda g: g * (tail / ((one + tail) * (one + tail)))


def clip(x: Array, /, *, least: Any, most: Any) -> tuple[Array, Pullback]:
    """Return x limited to [least, most]; the gradient passes where x lies within, bounds included."""
    x = numeric(x)
    xp = namespace(x)
    try:
        low, high = (
            x.dtype.type(bound)
            if isinstance(bound, (int, float, np.number))
            else xp.asarray(to_numpy(bound) if isinstance(bound, np.ndarray) else bound, x.dtype)
            for bound in (-np.inf if least is None else least, np.inf if most is None else most)
        )
    except (TypeError, ValueError):
        raise TypeError(f"clip: bounds must be numbers, arrays or None, got {least!r} and {most!r}") from None
    out = elementwise("clip", lambda x, low, high: xp.minimum(xp.maximum(x, low), high), x, low, high)
    if out.shape != x.shape:
        raise ValueError(f"clip: bounds of shape {low.shape} and {high.shape} do not fit x of shape {x.shape}")
    return out, lambda g: masked((x >= low) & (x <= high), g)


def clip_to(x: Array, /, *bounds: Array, has: tuple[bool, bool]) -> tuple[Array, Pullback]:
    """Return x limited to bounds that have a gradient too: where x lies outside, it goes to the bound.

    Args:
        x: numbers.
        bounds: the lower bound, the upper one, or both.
        has: whether there is a lower and an upper bound.
    """
    x = numeric(x)
    given, xp = iter(bounds), namespace(x)
    low, high = (next(given).astype(x.dtype) if each else None for each in has)
    out, _ = clip(x, least=low, most=high)
    raised = x if low is None else xp.maximum(x, low)
    above = xp.zeros(x.shape, bool) if high is None else raised > high
    below = xp.zeros(x.shape, bool) if low is None else (x < low) & ~above

    def pullback(g: Array) -> list[Gradient]:
        outside = [to_shape(masked(where, g), b.shape) for where, b in ((below, low), (above, high)) if b is not None]
        return [masked(~(below | above), g), *outside]

    return out, pullback


@saves("nothing")
def astype(x: Array, /, *, dtype: Any) -> tuple[Array, Pullback | None]:
    """Return x in another type; the gradient is converted back."""
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"astype: dtype must be float32, float64 or bool, got {dtype!r}") from None
    if wanted not in (np.float32, np.float64, np.bool_):
        raise TypeError(f"astype: dtype must be float32, float64 or bool, got {wanted}")
    before = numeric(x[:0] if x.ndim else x).dtype
    return x.astype(wanted), None if wanted.kind == "b" else lambda g: g.astype(before)
