"""Matrix products and sums of products, on tensors. Spikes count as 1.0."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cuslayer.array_functions.elementwise import binary
from cuslayer.operations import products
from cuslayer.operations.numpy_calls import implements
from cuslayer.tape import Tensor, apply


@implements(np.matmul)
def matmul(x1: Any, x2: Any) -> Tensor:
    """Return the matrix product over the last two axes, the others broadcast; an array of one axis is a vector.

    Raises:
        ValueError: the columns of x1 are not as many as the rows of x2, or one is a scalar.

    >>> matmul([[1.0, 2.0]], [[3.0], [4.0]]).tolist()
    [[11.0]]
    """
    return apply(products.matmul, x1, x2)


@implements(np.dot)
def dot(a: Any, b: Any) -> Tensor:
    """Return the sum of products over the last axis of a and the last but one of b; for a scalar, the product.

    Raises:
        ValueError: the sizes of the two axes differ.

    >>> dot([1.0, 2.0], [3.0, 4.0]).item()
    11.0
    """
    return binary(products.dot, a, b)


@implements(np.tensordot)
def tensordot(a: Any, b: Any, axes: int | Sequence[Any] = 2) -> Tensor:
    """Return the sum of products of a and b over pairs of axes.

    Args:
        a: numbers of any shape.
        b: numbers of any shape.
        axes: how many of the last axes of a and the first of b; or the axes of a and those of b, in pairs.

    Returns:
        A tensor with the other axes of a, then those of b.

    Raises:
        ValueError: an axis is out of range or named twice, or the sizes of a pair differ.
        TypeError: axes are not integers.

    >>> tensordot([[1.0, 2.0], [3.0, 4.0]], [10.0, 1.0], axes=1).tolist()
    [12.0, 34.0]
    """
    return apply(products.tensordot, a, b, axes=axes)


@implements(np.einsum)
def einsum(subscripts: str, *operands: Any, optimize: Any = False) -> Tensor:
    """Return the sum of products of arrays whose axes have labels.

    Args:
        subscripts: a letter for each axis of each operand, ``"ij,jk->ik"``. Labels that the result lacks are summed
            over. Without ``->`` the result has the labels that occur once, in alphabetical order. ``...`` stands for
            any axes, which broadcast.
        operands: one array or more.
        optimize: accepted as NumPy does; it does not change the result.

    Raises:
        ValueError: the labels do not fit the operands, their sizes differ, or one operand has a label twice.
        TypeError: subscripts is not a string.

    >>> einsum("ij,j->i", [[1.0, 2.0], [3.0, 4.0]], [10.0, 1.0]).tolist()
    [12.0, 34.0]
    """
    return apply(products.einsum, *operands, subscripts=subscripts)
