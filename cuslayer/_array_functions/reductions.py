"""Reductions over axes, cumulative sums and softmax. Spikes count as 1.0."""

from __future__ import annotations

import builtins
import math

import numpy as np

from cuslayer._array_functions.table import Row, all_axes, function, implements, one_axis
from cuslayer._base import check
from cuslayer._base.array_like import Axis, TensorLike
from cuslayer._tape import Pullback, Tensor, as_tensor
from cuslayer.backend import Array, contiguous, namespace, numeric


def _with_axes(g: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """Return g with the reduced axes, of size 1; a scalar broadcasts unchanged."""
    return g if keepdims or not axes or not g.ndim else namespace(g).expand_dims(g, axes)


def _reduced(x: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """Return x, whose reduced axes have size 1, without these axes unless they are kept."""
    return x if keepdims else x.reshape(tuple(size for n, size in enumerate(x.shape) if n not in axes))


@function(np.sum, saves="nothing")
def sum(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Row:
    """Return the sum of a over axes.

    Args:
        a: numbers or spikes of any shape.
        axis: an axis, several, or None for all; negative ones count from the last.
        keepdims: whether the axes stay, with size 1.

    Raises:
        ValueError: an axis is out of range or named twice.
        TypeError: an axis is not an integer.

    >>> sum([[1.0, 2.0], [3.0, 4.0]], axis=0).tolist()
    [4.0, 6.0]
    """
    return _sum(a, axis, keepdims)


@function(np.mean, saves="nothing")
def mean(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Row:
    """Return the mean of a over axes, 0 for no elements. Arguments and errors: see `sum`.

    >>> mean([[1.0, 2.0], [3.0, 4.0]], axis=1).tolist()
    [1.5, 3.5]
    """
    summed, pullback = _sum(a, axis, keepdims)
    share = summed.dtype.type(builtins.max(summed.size, 1) / builtins.max(a.size, 1))
    return summed * share, lambda g: pullback(g * share)


def _sum(x: Array, axis: Axis, keepdims: bool) -> tuple[Array, Pullback]:
    xp, shape, axes = namespace(x), x.shape, all_axes(axis, x.ndim)
    out = xp.asarray(numeric(x).sum(axis=axis if axis is None else axes, keepdims=keepdims))
    return out, lambda g: xp.broadcast_to(_with_axes(g, axes, keepdims), shape)


@implements(methods="sum")
def _sum_of(a: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the sum over the given axes, by default all."""
    return sum(a, axis=axis, keepdims=keepdims)


@implements(methods="mean")
def _mean_of(a: Tensor, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Return the mean over the given axes, by default all."""
    return mean(a, axis=axis, keepdims=keepdims)


@function(np.prod, methods="prod")
def prod(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Row:
    """Return the product of a over axes, 1 for no elements. Arguments and errors: see `sum`.

    The gradient of an element is the product of the others, even if some are 0.

    >>> prod([[1.0, 2.0], [3.0, 4.0]], axis=1).tolist()
    [2.0, 12.0]
    """
    x, axes = numeric(a), all_axes(axis, a.ndim)
    xp, count = namespace(x), math.prod(x.shape[n] for n in axes)

    def pullback(g: Array) -> Array:
        order = (*(n for n in range(x.ndim) if n not in axes), *axes)
        turned = x.transpose(order)
        rows = turned.reshape(-1, count) if x.size else turned.reshape(0, 1)
        before, after = (xp.ones(rows.shape, rows.dtype) for _ in range(2))
        before[:, 1:] = xp.cumprod(rows[:, :-1], axis=1)
        after[:, :-1] = xp.cumprod(rows[:, :0:-1], axis=1)[:, ::-1]
        others = (before * after).reshape(turned.shape).transpose([order.index(n) for n in range(x.ndim)])
        return contiguous(_with_axes(g, axes, keepdims) * others)

    return xp.asarray(x.prod(axis=axes, keepdims=keepdims)), pullback


@function(np.var, methods="var")
def var(a: Array, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Row:
    """Return the variance of a over axes, ``sum (a - mean)^2 / (n - ddof)`` for n elements.

    Other arguments and errors: see `sum`. ddof is 1 for an unbiased estimate; it is a ValueError if n is at most ddof.

    >>> var([1.0, 2.0, 3.0], ddof=1).item()
    1.0
    """
    return _variance(a, axis, ddof, keepdims)


@function(np.std, methods="std")
def std(a: Array, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Row:
    """Return the standard deviation of a over axes, the square root of `var`, with gradient 0 at 0.

    >>> std([1.0, 2.0, 3.0], ddof=1).item()
    1.0
    """
    variance, pullback = _variance(a, axis, ddof, keepdims)
    xp = namespace(variance)
    out = xp.asarray(xp.sqrt(variance))
    return out, lambda g: pullback(g * (out > 0) / (2 * out + (out == 0)))


def _variance(x: Array, axis: Axis, ddof: float, keepdims: bool) -> tuple[Array, Pullback]:
    x, axes = numeric(x), all_axes(axis, x.ndim)
    count = math.prod(x.shape[n] for n in axes)
    if not check.number("ddof", ddof) < count:
        raise ValueError(f"ddof must be less than the number of elements, {count}, got {ddof}")
    xp, divisor = namespace(x), x.dtype.type(count - ddof)
    distance = x - xp.asarray(x.sum(axis=axes, keepdims=True)) / x.dtype.type(count)
    out = xp.asarray((distance * distance).sum(axis=axes, keepdims=keepdims)) / divisor
    return xp.asarray(out), lambda g: 2 * distance * _with_axes(g, axes, keepdims) / divisor


@function(np.max, np.amax, methods="max")
def max(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Row:
    """Return the maximum of a over axes; equal elements share the gradient evenly.

    Arguments and errors: see `sum`. An empty array is a ValueError too.

    >>> max([[1.0, 2.0], [4.0, 3.0]], axis=1).tolist()
    [2.0, 4.0]
    """
    return _extremum("max", a, axis, keepdims)


@function(np.min, np.amin, methods="min")
def min(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Row:
    """Return the minimum of a over axes; equal elements share the gradient evenly.

    Arguments and errors: see `sum`. An empty array is a ValueError too.

    >>> min([[1.0, 2.0], [4.0, 3.0]], axis=1).tolist()
    [1.0, 3.0]
    """
    return _extremum("min", a, axis, keepdims)


def _extremum(name: str, x: Array, axis: Axis, keepdims: bool) -> Row:
    x, axes = numeric(x), all_axes(axis, x.ndim)
    _has_elements(x, axes)
    xp = namespace(x)
    best = xp.asarray(getattr(x, name)(axis=axes, keepdims=True))

    def pullback(g: Array) -> Array:
        chosen = x == best
        count = xp.maximum(chosen.sum(axis=axes, keepdims=True), 1)  # a maximum of NaN equals no element
        return xp.where(chosen, _with_axes(g, axes, keepdims) / count.astype(g.dtype), g.dtype.type(0))

    return _reduced(best, axes, keepdims), pullback


def _has_elements(x: Array, axes: tuple[int, ...]) -> None:
    empty = [n for n in axes if x.shape[n] == 0]
    if empty:
        raise ValueError(f"axis {empty[0]} of x must have an element, got shape {x.shape}")


@implements(np.argmax, methods="argmax")
@check.operation
def argmax(a: TensorLike, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """Return the indices of the maxima along an axis, the first among equal elements. They have no gradient.

    Args:
        a: numbers or spikes of any shape.
        axis: an axis; None for the index in the flattened array.
        keepdims: whether the axis stays, with size 1.

    Returns:
        An integer array of NumPy or CuPy, not a Tensor.

    Raises:
        ValueError: the axis is out of range or empty.
        TypeError: the axis is not an integer.

    >>> argmax([[1.0, 2.0], [4.0, 3.0]], axis=1).tolist()
    [1, 0]
    """
    return _index("argmax", as_tensor(a).data, axis, keepdims)


@implements(np.argmin, methods="argmin")
@check.operation
def argmin(a: TensorLike, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """Return the indices of the minima along an axis. Arguments, result and errors: see `argmax`.

    >>> argmin([[1.0, 2.0], [4.0, 3.0]], axis=1).tolist()
    [0, 1]
    """
    return _index("argmin", as_tensor(a).data, axis, keepdims)


def _index(name: str, x: Array, axis: int | None, keepdims: bool) -> Array:
    axes = tuple(range(x.ndim)) if axis is None else (one_axis(axis, x.ndim),)
    _has_elements(x, axes)
    found: Array = getattr(x, name)(axis=None if axis is None else axes[0])
    return found.reshape(tuple(1 if n in axes else size for n, size in enumerate(x.shape))) if keepdims else found


@function(np.any, methods="any")
def any(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Row:
    """Return whether any element of a is not 0, over axes, without a gradient. Arguments: see `sum`.

    >>> any([[0.0, 2.0], [0.0, 0.0]], axis=1).tolist()
    [True, False]
    """
    return namespace(a).asarray((a != 0).any(axis=all_axes(axis, a.ndim), keepdims=keepdims)), None


@function(np.all, methods="all")
def all(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Row:
    """Return whether all elements of a are not 0, over axes, without a gradient. Arguments: see `sum`.

    >>> all([[1.0, 2.0], [0.0, 1.0]], axis=1).tolist()
    [True, False]
    """
    return namespace(a).asarray((a != 0).all(axis=all_axes(axis, a.ndim), keepdims=keepdims)), None


@function(np.cumsum, methods="cumsum", saves="nothing")
def cumsum(a: Array, axis: int | None = None) -> Row:
    """Return the cumulative sum of a along an axis, by default of the flattened array. Errors: see `sum`.

    >>> cumsum([[1.0, 2.0], [3.0, 4.0]], axis=0).tolist()
    [[1.0, 2.0], [4.0, 6.0]]
    """
    x, shape = numeric(a), a.shape
    flat = x.reshape(-1) if axis is None else x
    at = 0 if axis is None else one_axis(axis, x.ndim)
    backward = (slice(None),) * at + (slice(None, None, -1),)
    # CuPy's cumulative sums along an axis have another memory order.
    return contiguous(flat.cumsum(axis=at)), lambda g: contiguous(g[backward].cumsum(axis=at)[backward]).reshape(shape)


@function(saves="result")
def softmax(x: Array, axis: Axis = -1) -> Row:
    """Return ``exp(x) / sum exp(x)`` over axes, for x of any size without overflow. Errors: see `sum`.

    Args:
        x: numbers of any shape.
        axis: an axis, several, or None for all.

    >>> softmax([[1000.0, 1000.0]]).tolist()
    [[0.5, 0.5]]
    """
    x, axes = numeric(x), all_axes(axis, x.ndim)
    xp = namespace(x)
    shifted = xp.exp(x - x.max(axis=axes, keepdims=True)) if x.size else x
    out = xp.asarray(shifted / shifted.sum(axis=axes, keepdims=True)) if x.size else x
    return out, lambda g: out * (g - (g * out).sum(axis=axes, keepdims=True))


@function()
def logsumexp(a: Array, axis: Axis = None, *, keepdims: bool = False) -> Row:
    """Return ``log(sum exp(a))`` over axes, for a of any size without overflow; its gradient is the softmax.

    Arguments and errors: see `sum`. An empty array is a ValueError too.

    >>> round(logsumexp([1000.0, 1000.0]).item(), 2)
    1000.69
    """
    x, axes = numeric(a), all_axes(axis, a.ndim)
    _has_elements(x, axes)
    xp, most = namespace(x), x.max(axis=axes, keepdims=True)
    most = xp.where(builtins.abs(most) < math.inf, most, x.dtype.type(0))
    shares = xp.exp(x - most)
    total = shares.sum(axis=axes, keepdims=True)
    out = xp.log(total) + most
    return _reduced(xp.asarray(out), axes, keepdims), lambda g: _with_axes(g, axes, keepdims) * (shares / total)


@function(np.linalg.norm)
def norm(x: Array, ord: object = None, axis: Axis = None, *, keepdims: bool = False) -> Row:
    """Return the Euclidean norm of x over axes, the square root of the sum of squares, with gradient 0 at 0.

    Args:
        x: numbers of any shape.
        ord: None or 2.
        axis: an axis, several, or None for all; negative ones count from the last.
        keepdims: whether the axes stay, with size 1.

    Raises:
        ValueError: an axis is out of range or named twice, ord has another value, or ord is 2 for more than one axis.
        TypeError: an axis is not an integer.

    >>> norm([3.0, 4.0]).item()
    5.0
    """
    x, axes = numeric(x), all_axes(axis, x.ndim)
    if ord is not None and (ord != 2 or len(axes) != 1):
        raise ValueError(f"ord must be None, or 2 over one axis, got {ord!r} over {len(axes)} axes")
    xp = namespace(x)
    out = xp.asarray(xp.sqrt((x * x).sum(axis=axes, keepdims=True)))
    return _reduced(out, axes, keepdims), lambda g: _with_axes(g, axes, keepdims) * (x / (out + (out == 0)))


@function(np.sort, saves="nothing")
def sort(a: Array, axis: int | None = -1) -> Row:
    """Return a in ascending order along an axis, by default the last; None sorts the flattened array.

    Raises:
        ValueError: the axis is out of range.
        TypeError: the axis is not an integer.

    >>> sort([[2.0, 1.0], [3.0, 4.0]]).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    xp, shape = namespace(a), a.shape
    x = a.reshape(-1) if axis is None else a
    at = 0 if axis is None else one_axis(axis, x.ndim)
    order = xp.argsort(x, axis=at, kind="stable")

    def pullback(g: Array) -> Array:
        return contiguous(xp.take_along_axis(g, xp.argsort(order, axis=at), axis=at)).reshape(shape)

    return contiguous(xp.take_along_axis(x, order, axis=at)), pullback
