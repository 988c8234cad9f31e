"""Elementwise functions. Spikes count as 1.0. Comparisons give booleans, through which no gradient passes."""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer._array_functions.table import Row, binary, function, implements, operands
from cuslayer._base import check
from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Gradient, Pullback, Tensor, apply, to_shape
from cuslayer.backend import Array, namespace, numeric, to_numpy
from cuslayer.kernels.host.elementwise import computed

_OPERATORS: dict[Any, Callable[[Any, Any], Any]] = {
    np.add: operator.add,
    np.subtract: operator.sub,
    np.multiply: operator.mul,
}


def _arithmetic(ufunc: np.ufunc, a: Array, b: Array) -> Array:
    """Return a function of NumPy of two arrays that broadcast."""
    # One may be a scalar, which has no device.
    if namespace(b if isinstance(a, np.generic) else a) is np:
        return _broadcast(partial(computed, ufunc), a, b)
    return _broadcast(_OPERATORS[ufunc], numeric(a), numeric(b))


def _broadcast(compute: Callable[..., Array], *arrays: Array) -> Array:
    """Return a function of arrays that broadcast; raise ValueError with their shapes if they do not."""
    try:
        return compute(*arrays)
    except ValueError:
        *first, last = (str(tuple(x.shape)) for x in arrays)
        raise ValueError(f"shapes {', '.join(first)} and {last} do not broadcast") from None


def _masked(chosen: Array, g: Array) -> Array:
    """Return g where chosen, else 0, even where g is infinite."""
    return namespace(g).where(chosen, g, g.dtype.type(0))


def _where(chosen: Array, a: Array, b: Array) -> Array:
    """Return a where chosen, and b elsewhere; all may be scalars."""
    if isinstance(chosen, np.generic):
        return a if chosen else b
    return namespace(chosen).where(chosen, a, b)


def _truth(x: Array) -> Array:
    """Return where x is not 0."""
    return x if x.dtype == bool else x != 0


@binary(np.add, operators="__add__ __radd__", commutes=True, saves="nothing")
def add(x1: Array, x2: Array) -> Row:
    """Return x1 + x2, broadcast.

    Raises:
        ValueError: the shapes do not broadcast.
        TypeError: an operand has other elements than real numbers or booleans.

    >>> add([1.0, 2.0], 1).tolist()
    [2.0, 3.0]
    """
    out = _arithmetic(np.add, x1, x2)
    return out, lambda g: (lambda: to_shape(g, x1.shape), lambda: to_shape(g, x2.shape))


@binary(np.subtract, operators="__sub__ __rsub__", saves="nothing")
def subtract(x1: Array, x2: Array) -> Row:
    """Return x1 - x2, broadcast. Errors: see `add`.

    >>> subtract([1.0, 2.0], 1).tolist()
    [0.0, 1.0]
    """
    out = _arithmetic(np.subtract, x1, x2)
    return out, lambda g: (lambda: to_shape(g, x1.shape), lambda: -to_shape(g, x2.shape))


@binary(np.multiply, operators="__mul__ __rmul__", commutes=True, saves="others")
def multiply(x1: Array, x2: Array) -> Row:
    """Return x1 x2, element by element, broadcast. Errors: see `add`.

    >>> multiply([1.0, 2.0], [[2.0], [3.0]]).tolist()
    [[2.0, 4.0], [3.0, 6.0]]
    """
    return product(x1, x2)


def product(a: Array, b: Array) -> tuple[Array, Pullback]:
    """Return a b and its pullback."""
    out = _arithmetic(np.multiply, a, b)
    return out, lambda g: (
        lambda: to_shape(_arithmetic(np.multiply, g, b), a.shape),
        lambda: to_shape(_arithmetic(np.multiply, g, a), b.shape),
    )


@binary(np.divide, operators="__truediv__ __rtruediv__")
def divide(x1: Array, x2: Array) -> Row:
    """Return x1 / x2, element by element, broadcast. Errors: see `add`.

    >>> divide([1.0, 2.0], 2).tolist()
    [0.5, 1.0]
    """
    a, b = numeric(x1), numeric(x2)
    out = _broadcast(operator.truediv, a, b)
    return out, lambda g: (lambda: to_shape(g / b, a.shape), lambda: to_shape(-g * out / b, b.shape))


@binary(np.power, operators="__pow__ __rpow__")
def power(x1: Array, x2: Array) -> Row:
    """Return x1 to the power of x2, element by element, broadcast. Errors: see `add`.

    The gradient of the exponent is ``out log(x1)``, 0 where x1 is 0.

    >>> power([1.0, 2.0, 3.0], 2).tolist()
    [1.0, 4.0, 9.0]
    """
    a, b = numeric(x1), numeric(x2)
    out = _broadcast(operator.pow, a, b)

    def of_base() -> Array:
        return b * a ** _where(b == 0, b + 1, b - 1)  # 0 at b = 0, where a may be 0 too

    def of_exponent() -> Array:
        base = _where(a == 0, a + 1, a)
        return _where(a == 0, out * 0, out * namespace(base).log(base))

    return out, lambda g: (lambda: to_shape(g * of_base(), a.shape), lambda: to_shape(g * of_exponent(), b.shape))


@binary(np.maximum)
def maximum(x1: Array, x2: Array) -> Row:
    """Return the larger of x1 and x2, element by element, broadcast. Equal elements share the gradient evenly.

    Errors: see `add`.

    >>> maximum([-1.0, 2.0], 0).tolist()
    [0.0, 2.0]
    """
    return _extremum("maximum", operator.gt, x1, x2)


@binary(np.minimum)
def minimum(x1: Array, x2: Array) -> Row:
    """Return the smaller of x1 and x2, element by element, broadcast. Equal elements share the gradient evenly.

    Errors: see `add`.

    >>> minimum([-1.0, 2.0], 0).tolist()
    [-1.0, 0.0]
    """
    return _extremum("minimum", operator.lt, x1, x2)


def _extremum(name: str, wins: Callable[[Array, Array], Array], a: Array, b: Array) -> Row:
    a, b = numeric(a), numeric(b)
    # One may be a scalar, which has no device.
    xp = namespace(b if isinstance(a, np.generic) else a)
    out = _broadcast(getattr(xp, name), a, b)

    def chosen(g: Array, mine: Array, other: Array) -> Array:
        return to_shape(_masked(wins(mine, other), g) + _masked(mine == other, g / 2), mine.shape)

    return out, lambda g: (lambda: chosen(g, a, b), lambda: chosen(g, b, a))


@implements(np.where)
@check.operation
def where(condition: TensorLike, x: TensorLike, y: TensorLike) -> Tensor:
    """Return x where the condition is true, and y elsewhere, broadcast.

    Args:
        condition: booleans, or numbers, with 0 for false. It has no gradient.
        x: values where it is true.
        y: values where it is false. Two boolean arrays give a boolean result.

    Raises:
        ValueError: the shapes do not broadcast.

    >>> where([True, False], [1.0, 2.0], 0).tolist()
    [1.0, 0.0]
    """
    return apply(_chosen, condition, *operands(x, y))


def _chosen(condition: Array, a: Array, b: Array) -> Row:
    chosen = _truth(condition)
    out = _broadcast(namespace(chosen).where, chosen, a, b)
    return out, lambda g: (
        None,
        lambda: to_shape(_masked(chosen, g), a.shape),
        lambda: to_shape(_masked(~chosen, g), b.shape),
    )


def _compared(compare: Callable[[Array, Array], Array], a: Array, b: Array) -> Row:
    # NumPy would convert a scalar on the left to an array.
    if isinstance(a, np.generic):
        a, b, compare = b, a, _SWAPPED.get(compare, compare)
    return _broadcast(compare, a, b), None


_SWAPPED: dict[Any, Callable[[Any, Any], Any]] = {
    operator.lt: operator.gt,
    operator.le: operator.ge,
    operator.gt: operator.lt,
    operator.ge: operator.le,
}


@binary(np.equal, operators="__eq__")
def equal(x1: Array, x2: Array) -> Row:
    """Return x1 == x2, element by element, broadcast. Errors: see `add`.

    >>> equal([1.0, 2.0], 2).tolist()
    [False, True]
    """
    return _compared(operator.eq, x1, x2)


@binary(np.not_equal, operators="__ne__")
def not_equal(x1: Array, x2: Array) -> Row:
    """Return x1 != x2, element by element, broadcast. Errors: see `add`.

    >>> not_equal([1.0, 2.0], 2).tolist()
    [True, False]
    """
    return _compared(operator.ne, x1, x2)


@binary(np.less, operators="__lt__")
def less(x1: Array, x2: Array) -> Row:
    """Return x1 < x2, element by element, broadcast. Errors: see `add`.

    >>> less([1.0, 2.0], 2).tolist()
    [True, False]
    """
    return _compared(operator.lt, x1, x2)


@binary(np.less_equal, operators="__le__")
def less_equal(x1: Array, x2: Array) -> Row:
    """Return x1 <= x2, element by element, broadcast. Errors: see `add`.

    >>> less_equal([1.0, 3.0], 2).tolist()
    [True, False]
    """
    return _compared(operator.le, x1, x2)


@binary(np.greater, operators="__gt__")
def greater(x1: Array, x2: Array) -> Row:
    """Return x1 > x2, element by element, broadcast. Errors: see `add`.

    >>> greater([1.0, 3.0], 2).tolist()
    [False, True]
    """
    return _compared(operator.gt, x1, x2)


@binary(np.greater_equal, operators="__ge__")
def greater_equal(x1: Array, x2: Array) -> Row:
    """Return x1 >= x2, element by element, broadcast. Errors: see `add`.

    >>> greater_equal([1.0, 2.0], 2).tolist()
    [False, True]
    """
    return _compared(operator.ge, x1, x2)


@binary(np.logical_and)
def logical_and(x1: Array, x2: Array) -> Row:
    """Return where x1 and x2 are not 0. Errors: see `add`.

    >>> logical_and([True, True], [True, False]).tolist()
    [True, False]
    """
    return _compared(operator.and_, _truth(x1), _truth(x2))


@binary(np.logical_or)
def logical_or(x1: Array, x2: Array) -> Row:
    """Return where x1 or x2 is not 0. Errors: see `add`.

    >>> logical_or([True, False], [False, False]).tolist()
    [True, False]
    """
    return _compared(operator.or_, _truth(x1), _truth(x2))


@binary(np.logical_xor)
def logical_xor(x1: Array, x2: Array) -> Row:
    """Return where exactly one of x1 and x2 is not 0. Errors: see `add`.

    >>> logical_xor([True, True], [True, False]).tolist()
    [False, True]
    """
    return _compared(operator.ne, _truth(x1), _truth(x2))


@function(np.logical_not)
def logical_not(x: Array) -> Row:
    """Return where x is 0.

    >>> logical_not([True, False]).tolist()
    [False, True]
    """
    return ~_truth(x), None


def _booleans(*arrays: Array) -> tuple[Array, ...]:
    for x in arrays:
        if x.dtype != bool:
            raise TypeError(f"operands of &, |, ^ and ~ must be boolean, got {x.dtype}")
    return arrays


@binary(np.bitwise_and, operators="__and__ __rand__", commutes=True)
def bitwise_and(x1: Array, x2: Array) -> Row:
    """Return x1 & x2 of boolean arrays."""
    return _compared(operator.and_, *_booleans(x1, x2))


@binary(np.bitwise_or, operators="__or__ __ror__", commutes=True)
def bitwise_or(x1: Array, x2: Array) -> Row:
    """Return x1 | x2 of boolean arrays."""
    return _compared(operator.or_, *_booleans(x1, x2))


@binary(np.bitwise_xor, operators="__xor__ __rxor__", commutes=True)
def bitwise_xor(x1: Array, x2: Array) -> Row:
    """Return x1 ^ x2 of boolean arrays."""
    return _compared(operator.ne, *_booleans(x1, x2))


@function(np.invert, methods="__invert__")
def invert(x: Array) -> Row:
    """Return ~x of a boolean array."""
    (x,) = _booleans(x)
    return ~x, None


@function(np.negative, methods="__neg__", saves="nothing")
def negative(x: Array) -> Row:
    """Return -x.

    >>> negative([1.0, -2.0]).tolist()
    [-1.0, 2.0]
    """
    return -numeric(x), lambda g: -g


@function(np.absolute, methods="abs __abs__")
def absolute(x: Array) -> Row:
    """Return the absolute value of x, with gradient 0 at 0.

    >>> absolute([-1.0, 2.0]).tolist()
    [1.0, 2.0]
    """
    x = numeric(x)
    return operator.abs(x), lambda g: g * namespace(x).sign(x)


abs = absolute


@function(np.exp, methods="exp", saves="result")
def exp(x: Array) -> Row:
    """Return the exponential of x.

    >>> exp([0.0]).tolist()
    [1.0]
    """
    out = namespace(x).exp(numeric(x))
    return out, lambda g: g * out


@function(np.log, methods="log")
def log(x: Array) -> Row:
    """Return the natural logarithm of x: -inf at 0 and NaN below 0, with NumPy's warnings.

    >>> log([1.0]).tolist()
    [0.0]
    """
    x = numeric(x)
    return namespace(x).log(x), lambda g: g / x


@function(np.sqrt, methods="sqrt", saves="result")
def sqrt(x: Array) -> Row:
    """Return the square root of x, with an infinite gradient at 0.

    >>> sqrt([4.0]).tolist()
    [2.0]
    """
    out = namespace(x).sqrt(numeric(x))
    return out, lambda g: g / (2 * out)


@function(np.square)
def square(x: Array) -> Row:
    """Return the square of x, element by element.

    >>> square([3.0]).tolist()
    [9.0]
    """
    x = numeric(x)
    return x * x, lambda g: 2 * g * x


@function(np.sin)
def sin(x: Array) -> Row:
    """Return the sine of x, in radians.

    >>> sin([0.0]).tolist()
    [0.0]
    """
    x = numeric(x)
    xp = namespace(x)
    return xp.sin(x), lambda g: g * xp.cos(x)


@function(np.cos)
def cos(x: Array) -> Row:
    """Return the cosine of x, in radians.

    >>> cos([0.0]).tolist()
    [1.0]
    """
    x = numeric(x)
    xp = namespace(x)
    return xp.cos(x), lambda g: -g * xp.sin(x)


@function(np.tanh, methods="tanh")
def tanh(x: Array) -> Row:
    """Return the hyperbolic tangent of x.

    >>> tanh([0.0]).tolist()
    [0.0]
    """
    x = numeric(x)
    xp = namespace(x)

    def pullback(g: Array) -> Array:
        # 1 - tanh(x)^2, which would be 0 far from 0.
        tail = xp.exp(-2 * operator.abs(x))
        return g * (4 * tail / ((1 + tail) * (1 + tail)))

    return xp.tanh(x), pullback


@function(saves="nothing")
def sigmoid(x: Array) -> Row:
    """Return ``1 / (1 + exp(-x))``, for x of any size without overflow.

    >>> sigmoid([-1000.0, 0.0, 1000.0]).tolist()
    [0.0, 0.5, 1.0]
    """
    x = numeric(x)
    xp = namespace(x)
    tail = xp.exp(-operator.abs(x))
    one = x.dtype.type(1)
    out = xp.where(x >= 0, one, tail) / (one + tail)
    # 1 - out would be 0 far above 0.
    return out, lambda g: g * (tail / ((one + tail) * (one + tail)))


@implements(np.clip, methods="clip")
@check.operation
def clip(
    a: TensorLike,
    a_min: TensorLike | None = None,
    a_max: TensorLike | None = None,
    *,
    min: TensorLike | None = None,
    max: TensorLike | None = None,
) -> Tensor:
    """Return a limited to ``[a_min, a_max]``. The gradient passes where a is within the bounds or equal to one.

    Args:
        a: numbers of any shape.
        a_min: the lower bound, a number or an array that broadcasts to a; None for no bound. Where a is below it, the
            bound gets the gradient if it requires one.
        a_max: the upper bound, of the same form. Where it is below a_min, the result is a_max.
        min: another name for a_min.
        max: another name for a_max.

    Raises:
        TypeError: a bound does not contain numbers, or is given twice.
        ValueError: a bound does not broadcast to the shape of a.

    >>> clip([-2.0, 0.5, 2.0], -1, 1).tolist()
    [-1.0, 0.5, 1.0]
    """
    if (a_min is not None and min is not None) or (a_max is not None and max is not None):
        raise TypeError("a bound must be given once, got a_min or a_max and min or max")
    least, most = a_min if min is None else min, a_max if max is None else max
    if any(isinstance(bound, Tensor) and bound._needs_gradient() for bound in (least, most)):
        bounds = [bound for bound in (least, most) if bound is not None]
        return apply(_clip_to, a, *bounds, has=(least is not None, most is not None))
    return apply(_clip, a, least=least, most=most)


def _clip(x: Array, *, least: TensorLike | None, most: TensorLike | None) -> Row:
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
        raise TypeError(f"bounds must be numbers, arrays or None, got {least!r} and {most!r}") from None
    out = _broadcast(lambda x, low, high: xp.minimum(xp.maximum(x, low), high), x, low, high)
    if out.shape != x.shape:
        raise ValueError(f"bounds of shape {low.shape} and {high.shape} do not fit x of shape {x.shape}")
    return out, lambda g: _masked((x >= low) & (x <= high), g)


def _clip_to(x: Array, *bounds: Array, has: tuple[bool, bool]) -> Row:
    """Clip to bounds with gradients: the lower one, the upper one or both, as `has` says."""
    x = numeric(x)
    given, xp = iter(bounds), namespace(x)
    low, high = (next(given).astype(x.dtype) if each else None for each in has)
    out, _ = _clip(x, least=low, most=high)
    raised = x if low is None else xp.maximum(x, low)
    above = xp.zeros(x.shape, bool) if high is None else raised > high
    below = xp.zeros(x.shape, bool) if low is None else (x < low) & ~above

    def pullback(g: Array) -> list[Gradient]:
        outside = [to_shape(_masked(where, g), b.shape) for where, b in ((below, low), (above, high)) if b is not None]
        return [_masked(~(below | above), g), *outside]

    return out, pullback


@function(*([np.astype] if hasattr(np, "astype") else []), methods="astype", saves="nothing")
def astype(x: Array, dtype: npt.DTypeLike) -> Row:
    """Return x in another type; backward converts the gradient back to the type of x.

    Args:
        x: numbers or spikes of any shape.
        dtype: float32, float64 or bool. A boolean result has no gradient.

    Raises:
        TypeError: the type is not one of these.

    >>> astype([0.0, 1.0], bool).tolist()
    [False, True]
    """
    try:
        wanted = np.dtype(dtype)
    except TypeError:
        raise TypeError(f"dtype must be float32, float64 or bool, got {dtype!r}") from None
    if wanted not in (np.float32, np.float64, np.bool_):
        raise TypeError(f"dtype must be float32, float64 or bool, got {wanted}")
    before = numeric(x[:0] if x.ndim else x).dtype
    return x.astype(wanted), None if wanted.kind == "b" else lambda g: g.astype(before)
