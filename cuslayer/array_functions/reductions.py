"""Reductions over axes, cumulative sums and softmax, on tensors. Spikes count as 1.0."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.operations import reductions
from cuslayer.operations.base import Axis
from cuslayer.operations.numpy_calls import implements
from cuslayer.tape import Tensor, apply, as_tensor


@implements(np.sum)
def sum(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
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
    return as_tensor(a).sum(axis, keepdims)


@implements(np.mean)
def mean(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Return the mean of a over axes, 0 of no elements. Arguments and errors are those of `sum`.

    >>> mean([[1.0, 2.0], [3.0, 4.0]], axis=1).tolist()
    [1.5, 3.5]
    """
    return as_tensor(a).mean(axis, keepdims)


@implements(np.var)
def var(a: Any, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """Return the variance of a over axes, ``sum (a - mean)^2 / (n - ddof)`` for n elements.

    Args:
        a: numbers or spikes of any shape.
        axis: an axis, several, or None for all; negative ones count from the last.
        ddof: 1 for an unbiased estimate.
        keepdims: whether the axes stay, with size 1.

    Raises:
        ValueError: an axis is out of range or named twice, or n is at most ddof.
        TypeError: an axis is not an integer.

    >>> var([1.0, 2.0, 3.0], ddof=1).item()
    1.0
    """
    return as_tensor(a).var(axis, ddof=ddof, keepdims=keepdims)


@implements(np.std)
def std(a: Any, axis: Axis = None, *, ddof: float = 0, keepdims: bool = False) -> Tensor:
    """Return the standard deviation of a over axes, the square root of `var`, with gradient 0 where it is 0.

    >>> std([1.0, 2.0, 3.0], ddof=1).item()
    1.0
    """
    return as_tensor(a).std(axis, ddof=ddof, keepdims=keepdims)


@implements(np.max, np.amax)
def max(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Return the maximum of a over axes; equal elements share the gradient evenly.

    Arguments and errors are those of `sum`; without an element it is a ValueError too.

    >>> max([[1.0, 2.0], [4.0, 3.0]], axis=1).tolist()
    [2.0, 4.0]
    """
    return as_tensor(a).max(axis, keepdims=keepdims)


@implements(np.min, np.amin)
def min(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Return the minimum of a over axes; equal elements share the gradient evenly.

    Arguments and errors are those of `sum`; without an element it is a ValueError too.

    >>> min([[1.0, 2.0], [4.0, 3.0]], axis=1).tolist()
    [1.0, 3.0]
    """
    return as_tensor(a).min(axis, keepdims=keepdims)


@implements(np.argmax)
def argmax(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """Return the indices of the maxima along an axis, the first of equal elements. It has no gradient.

    Args:
        a: numbers or spikes of any shape.
        axis: an axis; None for the index in the flattened array.
        keepdims: whether the axis stays, with size 1.

    Returns:
        An array of integers of NumPy or CuPy, not a Tensor.

    Raises:
        ValueError: the axis is out of range or has no element.
        TypeError: the axis is not an integer.

    >>> argmax([[1.0, 2.0], [4.0, 3.0]], axis=1).tolist()
    [1, 0]
    """
    return as_tensor(a).argmax(axis, keepdims=keepdims)


@implements(np.argmin)
def argmin(a: Any, axis: int | None = None, *, keepdims: bool = False) -> Array:
    """Return the indices of the minima along an axis; see `argmax`.

    Raises:
        ValueError: the axis is out of range or has no element.
        TypeError: the axis is not an integer.

    >>> argmin([[1.0, 2.0], [4.0, 3.0]], axis=1).tolist()
    [0, 1]
    """
    return as_tensor(a).argmin(axis, keepdims=keepdims)


@implements(np.any)
def any(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Return whether any element of a is not 0, over axes. It has no gradient.

    >>> any([[0.0, 2.0], [0.0, 0.0]], axis=1).tolist()
    [True, False]
    """
    return as_tensor(a).any(axis, keepdims=keepdims)


@implements(np.all)
def all(a: Any, axis: Axis = None, *, keepdims: bool = False) -> Tensor:
    """Return whether all elements of a are not 0, over axes. It has no gradient.

    >>> all([[1.0, 2.0], [0.0, 1.0]], axis=1).tolist()
    [True, False]
    """
    return as_tensor(a).all(axis, keepdims=keepdims)


@implements(np.cumsum)
def cumsum(a: Any, axis: int | None = None) -> Tensor:
    """Return the cumulative sum of a along an axis, by default of the flattened array.

    Raises:
        ValueError: the axis is out of range.
        TypeError: the axis is not an integer.

    >>> cumsum([[1.0, 2.0], [3.0, 4.0]], axis=0).tolist()
    [[1.0, 2.0], [4.0, 6.0]]
    """
    return as_tensor(a).cumsum(axis)


def softmax(x: Any, axis: Axis = -1) -> Tensor:
    """Return ``exp(x) / sum exp(x)`` over axes, for x of any size without overflow.

    Args:
        x: numbers of any shape.
        axis: an axis, several, or None for all.

    Raises:
        ValueError: an axis is out of range or named twice.
        TypeError: an axis is not an integer.

    >>> softmax([[1000.0, 1000.0]]).tolist()
    [[0.5, 0.5]]
    """
    return apply(reductions.softmax, x, axis=axis)
