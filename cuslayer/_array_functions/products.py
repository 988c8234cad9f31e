"""Matrix products and sums of products. Spikes count as 1.0."""

from __future__ import annotations

import itertools
import math
import string
from collections.abc import Sequence
from functools import partial
from typing import Any, TypeAlias

import numpy as np

from cuslayer import kernels
from cuslayer._array_functions.elementwise import product
from cuslayer._array_functions.table import Row, all_axes, binary, function, implements
from cuslayer._base import check
from cuslayer._base.array_like import Axis, TensorLike
from cuslayer._tape import Pullback, Tensor, apply, saves, to_shape
from cuslayer.backend import Array, contiguous, namespace, numeric

# An array and the labels of its axes.
_Labelled: TypeAlias = "tuple[Array, Sequence[str]]"


@binary(np.matmul, operators="__matmul__ __rmatmul__", saves="others")
def matmul(x1: Array, x2: Array) -> Row:
    """Return the matrix product over the last two axes; other axes broadcast; a 1-D array is a vector.

    Spikes count as 1.0: the product of spikes and numbers has the numbers' type, the product of spikes is float32.

    Raises:
        ValueError: x1 has not as many columns as x2 has rows, or one is a scalar.

    >>> matmul([[1.0, 2.0]], [[3.0], [4.0]]).tolist()
    [[11.0]]
    >>> matmul([[True, True]], [[True], [True]])
    Tensor([[2.]])
    """
    a, b = x1, x2
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"both must be vectors or matrices, got shapes {a.shape} and {b.shape}")
    rows, columns = a.reshape(1, -1) if a.ndim == 1 else a, b.reshape(-1, 1) if b.ndim == 1 else b
    if rows.shape[-1] != columns.shape[-2]:
        raise ValueError(f"a has {rows.shape[-1]} columns, b has {columns.shape[-2]} rows")
    out, pullback = _matrices(rows, columns)
    if a.ndim == b.ndim == 1:
        # Two vectors need no matrix product.
        return out.reshape(()), lambda g: (lambda: g * numeric(b), lambda: g * numeric(a))
    if rows is a and columns is b:
        return out, pullback
    full = out.shape
    kept = full[:-2] + (() if a.ndim == 1 else full[-2:-1]) + (() if b.ndim == 1 else full[-1:])

    def of_vectors(g: Array) -> tuple[Any, Any]:
        of_rows, of_columns = pullback(g.reshape(full))
        return lambda: of_rows().reshape(a.shape), lambda: of_columns().reshape(b.shape)

    return out.reshape(kept), of_vectors


def _matrices(a: Array, b: Array) -> tuple[Array, Any]:
    try:
        out = _multiplied(a, b)
    except ValueError:
        raise ValueError(f"shapes {a.shape} and {b.shape} do not broadcast") from None
    return out, lambda g: (
        lambda: to_shape(_multiplied(g, b.swapaxes(-1, -2)), a.shape),
        lambda: to_shape(_multiplied(a.swapaxes(-1, -2), g), b.shape),
    )


def _multiplied(a: Array, b: Array) -> Array:
    """Return a @ b with the same bits on any number of cores."""
    if namespace(a) is np:
        return kernels.cpu.dense.matrices(a, b)
    product: Array = numeric(a) @ numeric(b)
    return product


@binary(np.dot, methods="dot", saves="others")
def dot(a: Array, b: Array) -> Row:
    """Return the sum of products over the last axis of a and the second-to-last of b; for a scalar, the product.

    Raises:
        ValueError: the sizes of the two axes differ.

    >>> dot([1.0, 2.0], [3.0, 4.0]).item()
    11.0
    """
    if a.ndim == 0 or b.ndim == 0:
        return product(a, b)
    of_a, of_b = a.ndim - 1, max(b.ndim - 2, 0)
    if a.shape[of_a] != b.shape[of_b]:
        raise ValueError(f"axis {of_a} of a has size {a.shape[of_a]}, axis {of_b} of b has size {b.shape[of_b]}")
    return _contracted(a, b, (of_a,), (of_b,))


@function(np.tensordot, arrays=2, saves="others")
def tensordot(a: Array, b: Any, axes: int | Sequence[Axis] = 2) -> Row:
    """Return the sum of products of a and b over pairs of axes.

    Args:
        a: numbers of any shape.
        b: numbers of any shape.
        axes: the number of last axes of a and first axes of b; or the axes of a and the axes of b, in pairs.

    Returns:
        A tensor with the other axes of a, then of b.

    Raises:
        ValueError: an axis is out of range or named twice, or the sizes of a pair differ.
        TypeError: axes are not integers.

    >>> tensordot([[1.0, 2.0], [3.0, 4.0]], [10.0, 1.0], axes=1).tolist()
    [12.0, 34.0]
    """
    if isinstance(axes, (tuple, list)):
        if len(axes) != 2:
            raise ValueError(f"axes must be an integer or a pair, got {axes}")
        of_a, of_b = (all_axes(side, x.ndim) for side, x in zip(axes, (a, b), strict=True))
        if len(of_a) != len(of_b):
            raise ValueError(f"axes must name as many axes of a as of b, got {axes}")
    else:
        count = check.integer("axes", axes, least=0)
        if count > min(a.ndim, b.ndim):
            raise ValueError(f"axes must be at most {min(a.ndim, b.ndim)}, got {count}")
        of_a, of_b = tuple(range(a.ndim - count, a.ndim)), tuple(range(count))
    for i, j in zip(of_a, of_b, strict=True):
        if a.shape[i] != b.shape[j]:
            raise ValueError(f"axis {i} of a has size {a.shape[i]}, axis {j} of b has size {b.shape[j]}")
    return _contracted(a, b, of_a, of_b)


def _contracted(a: Array, b: Array, of_a: tuple[int, ...], of_b: tuple[int, ...]) -> tuple[Array, Pullback]:
    """Return the sum of products over pairs of axes of a and b."""
    letters = string.ascii_letters
    left = list(letters[: a.ndim])
    right = list(letters[a.ndim : a.ndim + b.ndim])
    for i, j in zip(of_a, of_b, strict=True):
        right[j] = left[i]
    result = [x for n, x in enumerate(left) if n not in of_a] + [x for n, x in enumerate(right) if n not in of_b]
    return _sum_of_products((a, b), [left, right], result)


@implements(np.einsum)
@check.operation
def einsum(subscripts: str, *operands: TensorLike, optimize: object = False) -> Tensor:
    """Return the sum of products of arrays with labelled axes; spikes count as 1.0.

    Args:
        subscripts: a letter for each axis of each operand, ``"ij,jk->ik"``. Sums run over labels that the result lacks.
            Without ``->`` the result has the labels that occur once, in alphabetical order. ``...`` stands for any
            axes, which broadcast.
        operands: one or more arrays.
        optimize: accepted for compatibility with NumPy; it does not change the result.

    Raises:
        ValueError: the labels do not fit the operands, their sizes differ, or one operand has a label twice.
        TypeError: subscripts is not a string.

    >>> einsum("ij,j->i", [[1.0, 2.0], [3.0, 4.0]], [10.0, 1.0]).tolist()
    [12.0, 34.0]
    """
    return apply(_einsum, *operands, subscripts=subscripts)


@saves("others")
def _einsum(*arrays: Array, subscripts: str) -> tuple[Array, Pullback]:
    inputs, result = _labels(subscripts, arrays)
    return _sum_of_products(arrays, inputs, result)


def _labels(subscripts: object, arrays: Sequence[Array]) -> tuple[list[list[str]], list[str]]:
    """Return the labels of each operand and of the result; an ellipsis's axes have labels that are not letters."""
    if not isinstance(subscripts, str):
        raise check.mistyped("subscripts", "must be a string", subscripts)
    text = subscripts.replace(" ", "")
    left, arrow, right = text.partition("->")
    words = left.split(",")
    if len(words) != len(arrays):
        raise ValueError(f"'{subscripts}' describes {len(words)} operands, got {len(arrays)}")
    inputs = [_expand(word, x.ndim, subscripts) for word, x in zip(words, arrays, strict=True)]
    every = [label for labels in inputs for label in labels]
    shared = sorted({label for label in every if label not in string.ascii_letters})
    if arrow:
        before, dots, after = right.partition("...")
        result = [*before, *(shared if dots else []), *after]
    else:
        result = [*shared, *(label for label in sorted(set(every) - set(shared)) if every.count(label) == 1)]
    for label in result:
        if label not in every or result.count(label) > 1:
            raise ValueError(f"label {label} of the result must be one label of an operand, got '{subscripts}'")
    return inputs, result


def _expand(word: str, ndim: int, subscripts: str) -> list[str]:
    before, dots, after = word.partition("...")
    for label in before + after:
        if label not in string.ascii_letters:
            raise ValueError(f"subscripts must be letters, got {label!r} in '{subscripts}'")
        if (before + after).count(label) > 1:
            raise ValueError(f"label {label} must occur once in an operand, got '{subscripts}'")
    extra = ndim - len(before + after)
    if extra < 0 or (extra and not dots):
        raise ValueError(f"'{word}' names {len(before + after)} axes, the operand has {ndim}")
    # The axes of an ellipsis count from the last, since they broadcast; their labels sort in this order.
    return [*before, *(chr(ord("0") - n) for n in range(extra, 0, -1)), *after]


def _sum_of_products(
    arrays: Sequence[Array], inputs: Sequence[Sequence[str]], result: Sequence[str]
) -> tuple[Array, Pullback]:
    """Return the sum of products of arrays with labelled axes, for the result's axes."""
    operands = [numeric(x) for x in arrays]
    sizes = _sizes(operands, inputs)

    def gradient(number: int, g: Array) -> Array:
        others = [n for n in range(len(operands)) if n != number]
        reached = {*result, *(label for n in others for label in inputs[n])}
        mine = [label for label in inputs[number] if label in reached]
        terms = [(g, result), *((operands[n], inputs[n]) for n in others)]
        found = _call_einsum([x for x, _ in terms], [labels for _, labels in terms], mine)
        # Sum over labels that only this operand has.
        shape = [sizes[label] for label in inputs[number]]
        found = found.reshape([found.shape[mine.index(x)] if x in reached else 1 for x in inputs[number]])
        return to_shape(contiguous(namespace(found).broadcast_to(found, shape)), operands[number].shape)

    return _call_einsum(operands, inputs, result), lambda g: [partial(gradient, n, g) for n in range(len(operands))]


def _sizes(arrays: Sequence[Array], inputs: Sequence[Sequence[str]]) -> dict[str, int]:
    """Return the size of each label; axes of size 1 broadcast."""
    sizes: dict[str, int] = {}
    for labels, x in zip(inputs, arrays, strict=True):
        for label, n in zip(labels, x.shape, strict=True):
            if n != 1 and sizes.get(label, 1) not in (1, n):
                named = f"label {label}" if label in string.ascii_letters else "an axis of '...'"
                raise ValueError(f"{named} must have one size, got {sizes[label]} and {n}")
            sizes[label] = n if sizes.get(label, 1) == 1 else sizes[label]
    return sizes


def _text(inputs: Sequence[Sequence[str]], result: Sequence[str]) -> str:
    """Return subscripts with letters for all labels."""
    letters: dict[str, str] = {}
    for label in itertools.chain(*inputs):
        letters.setdefault(label, string.ascii_letters[len(letters)])
    words = ",".join("".join(letters[label] for label in labels) for labels in inputs)
    return f"{words}->{''.join(letters[label] for label in result)}"


def _call_einsum(arrays: Sequence[Array], inputs: Sequence[Sequence[str]], result: Sequence[str]) -> Array:
    """Return the sum of products of arrays whose axes have these labels."""
    text = _text(inputs, result)
    xp = namespace(arrays[0])
    if xp is not np:
        return contiguous(xp.einsum(text, *arrays, optimize=True))
    terms = list(zip(arrays, inputs, strict=True))
    for places in np.einsum_path(text, *arrays, optimize="greedy")[0][1:]:
        chosen = [terms.pop(place) for place in sorted(places, reverse=True)]
        others = {label for _, labels in terms for label in labels}
        for number, term in enumerate(chosen[1:], 2):
            unused = {label for _, labels in chosen[number:] for label in labels}
            chosen[0] = _sum_of_two(chosen[0], term, {*result, *others, *unused})
        terms.append(chosen[0])
    ((out, labels),) = terms
    return contiguous(np.einsum(_text([labels], result), out))


def _sum_of_two(x: _Labelled, y: _Labelled, kept: set[str]) -> _Labelled:
    """Return the product of two arrays, summed over the labels that no other array and not the result has."""
    first, of_first = _summed(x, y, kept)
    second, of_second = _summed(y, x, kept)
    shared = [label for label in of_first if label in of_second]
    together = [label for label in shared if label in kept]
    terms = [label for label in shared if label not in kept]
    rows = [label for label in of_first if label not in shared]
    columns = [label for label in of_second if label not in shared]
    labels = [*together, *rows, *columns]
    if not (terms and rows and columns):
        return np.einsum(_text([of_first, of_second], labels), first, second), labels
    sizes = dict(zip(of_first, first.shape, strict=True)) | dict(zip(of_second, second.shape, strict=True))

    def shape(*groups: list[str]) -> list[int]:
        return [sizes[label] for label in together] + [math.prod(sizes[label] for label in group) for group in groups]

    a = np.einsum(_text([of_first], [*together, *rows, *terms]), first).reshape(shape(rows, terms))
    b = np.einsum(_text([of_second], [*together, *terms, *columns]), second).reshape(shape(terms, columns))
    return kernels.cpu.dense.matrices(a, b).reshape([sizes[label] for label in labels]), labels


def _summed(x: _Labelled, other: _Labelled, kept: set[str]) -> _Labelled:
    """Return an array summed over labels that nothing else has, and without axes of one element that broadcast."""
    array, labels = x
    sizes = dict(zip(other[1], other[0].shape, strict=True))
    broadcast = {label for label, n in zip(labels, array.shape, strict=True) if n == 1 and sizes.get(label, 1) > 1}
    remaining = [label for label in labels if label in {*kept, *sizes} - broadcast]
    return np.einsum(_text([labels], remaining), array), remaining
