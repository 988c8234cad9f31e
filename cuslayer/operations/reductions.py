"""Reductions over axes, cumulative sums and softmax. Spikes count as 1.0."""

from __future__ import annotations

import math

from cuslayer import check
from cuslayer.backend import Array, namespace
from cuslayer.operations.base import Axis, Pullback, all_axes, contiguous, masked, numeric, one_axis, saves


def _with_axes(g: Array, axes: tuple[int, ...], keepdims: bool) -> Array:
    """Return g with the reduced axes, of size 1; a scalar broadcasts as it is."""
    return g if keepdims or not axes or not g.ndim else namespace(g).expand_dims(g, axes)


@saves("nothing")
def sum_over(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Pullback]:
    """Return the sum of x over the given axes, by default all."""
    return _sum("sum", x, axis, keepdims)


@saves("nothing")
def mean_over(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Pullback]:
    """Return the mean of x over the given axes, by default all; 0 of no elements."""
    summed, pullback = _sum("mean", x, axis, keepdims)
    share = summed.dtype.type(max(summed.size, 1) / max(x.size, 1))
    return summed * share, lambda g: pullback(g * share)


def _sum(op: str, x: Array, axis: Axis, keepdims: bool) -> tuple[Array, Pullback]:
    xp, shape, axes = namespace(x), x.shape, all_axes(op, axis, x.ndim)
    out = xp.asarray(numeric(x).sum(axis=axis if axis is None else axes, keepdims=keepdims))
    return out, lambda g: xp.broadcast_to(_with_axes(g, axes, keepdims), shape)


def var(x: Array, /, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> tuple[Array, Pullback]:
    """Return the variance of x over the given axes: the squared distances from the mean, summed over n - ddof."""
    return _variance("var", x, axis, ddof, keepdims)


def std(x: Array, /, *, axis: Axis = None, ddof: float = 0, keepdims: bool = False) -> tuple[Array, Pullback]:
    """Return the standard deviation of x over the given axes, with gradient 0 where it is 0."""
    variance, pullback = _variance("std", x, axis, ddof, keepdims)
    xp = namespace(variance)
    out = xp.asarray(xp.sqrt(variance))
    return out, lambda g: pullback(g * (out > 0) / (2 * out + (out == 0)))


def _variance(op: str, x: Array, axis: Axis, ddof: float, keepdims: bool) -> tuple[Array, Pullback]:
    x, axes = numeric(x), all_axes(op, axis, x.ndim)
    count = math.prod(x.shape[a] for a in axes)
    if not check.number(op, "ddof", ddof) < count:
        raise ValueError(f"{op}: ddof must be less than the number of elements, {count}, got {ddof}")
    xp, divisor = namespace(x), x.dtype.type(count - ddof)
    distance = x - xp.asarray(x.sum(axis=axes, keepdims=True)) / x.dtype.type(count)
    out = xp.asarray((distance * distance).sum(axis=axes, keepdims=keepdims)) / divisor
    return xp.asarray(out), lambda g: 2 * distance * _with_axes(g, axes, keepdims) / divisor


def max_over(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Pullback]:
    """Return the maximum of x over the given axes; equal elements share the gradient evenly."""
    return _extremum("max", x, axis, keepdims)


def min_over(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, Pullback]:
    """Return the minimum of x over the given axes; equal elements share the gradient evenly."""
    return _extremum("min", x, axis, keepdims)


def _extremum(op: str, x: Array, axis: Axis, keepdims: bool) -> tuple[Array, Pullback]:
    x, axes = numeric(x), all_axes(op, axis, x.ndim)
    _has_elements(op, x, axes)
    xp = namespace(x)
    best = xp.asarray(getattr(x, op)(axis=axes, keepdims=True))

    def pullback(g: Array) -> Array:
        chosen = x == best
        count = xp.maximum(chosen.sum(axis=axes, keepdims=True), 1)  # a maximum of NaN equals no element
        return masked(chosen, _with_axes(g, axes, keepdims) / count.astype(g.dtype))

    kept = best.shape if keepdims else tuple(n for a, n in enumerate(x.shape) if a not in axes)
    return best.reshape(kept), pullback


def _has_elements(op: str, x: Array, axes: tuple[int, ...]) -> None:
    empty = [a for a in axes if x.shape[a] == 0]
    if empty:
        raise ValueError(f"{op}: axis {empty[0]} of x must have an element, got shape {x.shape}")


def any_over(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, None]:
    """Return whether any element is not 0, over the given axes."""
    found = (x != 0).any(axis=all_axes("any", axis, x.ndim), keepdims=keepdims)
    return namespace(x).asarray(found), None


def all_over(x: Array, /, *, axis: Axis = None, keepdims: bool = False) -> tuple[Array, None]:
    """Return whether all elements are not 0, over the given axes."""
    found = (x != 0).all(axis=all_axes("all", axis, x.ndim), keepdims=keepdims)
    return namespace(x).asarray(found), None


def index_of(op: str, x: Array, axis: int | None, keepdims: bool) -> Array:
    """Return the index of the maximum (op "argmax") or minimum ("argmin"), the first of equal elements."""
    axes = tuple(range(x.ndim)) if axis is None else (one_axis(op, axis, x.ndim),)
    _has_elements(op, x, axes)
    found: Array = getattr(x, op)(axis=None if axis is None else axes[0])
    kept = tuple(1 if a in axes else n for a, n in enumerate(x.shape))
    return found.reshape(kept) if keepdims else found


@saves("nothing")
def cumsum(x: Array, /, *, axis: int | None = None) -> tuple[Array, Pullback]:
    """Return the cumulative sum of x along an axis, by default of the flattened array."""
    x = numeric(x)
    shape, flat = x.shape, x.reshape(-1) if axis is None else x
    at = 0 if axis is None else one_axis("cumsum", axis, x.ndim)
    backward = (slice(None),) * at + (slice(None, None, -1),)
    # CuPy's sums along an axis have another order in memory.
    return contiguous(flat.cumsum(axis=at)), lambda g: contiguous(g[backward].cumsum(axis=at)[backward]).reshape(shape)


@saves("result")
def softmax(x: Array, /, *, axis: Axis = -1) -> tuple[Array, Pullback]:
    """Return exp(x) / sum exp(x) over the given axes, without overflow."""
    x, axes = numeric(x), all_axes("softmax", axis, x.ndim)
    xp = namespace(x)
    shifted = xp.exp(x - x.max(axis=axes, keepdims=True)) if x.size else x
    out = xp.asarray(shifted / shifted.sum(axis=axes, keepdims=True)) if x.size else x
    return out, lambda g: out * (g - (g * out).sum(axis=axes, keepdims=True))
