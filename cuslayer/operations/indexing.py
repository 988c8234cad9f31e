"""Parts of arrays, by any index that NumPy accepts: the same errors and, in the gradient, the same bits on each run.

CuPy wraps an index that is out of range, and its `add.at` adds in any order. Here an index is checked on the host, and
elements that it names several times are added in pairs, in a fixed order.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from cuslayer.backend import Array, namespace, to_numpy
from cuslayer.operations.base import Pullback, contiguous, saves


@saves("nothing")
def take(x: Array, /, *, index: Any) -> tuple[Array, Pullback]:
    """Return x[index], for any index that NumPy accepts.

    An index of integers that is an array on the device is read back once.
    """
    xp, shape = namespace(x), x.shape
    parts = index if isinstance(index, tuple) else (index,)
    arrays = [part for part in parts if not _is_basic(part)]
    # A mask alone selects an element at most once. It stays where it is.
    once = not arrays or (len(arrays) == 1 and getattr(getattr(arrays[0], "dtype", None), "kind", "") == "b")
    host = index if once or xp is np else tuple(to_numpy(part) if hasattr(part, "dtype") else part for part in parts)
    try:
        part = x[index] if once or xp is np else _picked(x, host)
    except IndexError as problem:
        raise IndexError(f"take: {_one_line(problem)}") from None

    def pullback(g: Array) -> Array:
        grad = xp.zeros(shape, g.dtype)
        if once:
            grad[index] = g
        elif xp is np:
            np.add.at(grad, index, g)
        else:
            add_at(grad, host, g)
        return grad

    return contiguous(part), pullback


def _picked(x: Array, index: tuple[Any, ...]) -> Array:
    """Return x[index] of an array on the device, for an index with arrays on the host."""
    if any(isinstance(part, (bool, np.bool_)) for part in index):
        raise IndexError("a single True or False cannot be mixed with arrays on a device")
    # Elements that take no memory: NumPy checks the index.
    np.broadcast_to(np.False_, x.shape)[index]
    view, arrays, first = _arrays_in_front(x, index)
    rows = view[tuple(map(namespace(x).asarray, arrays))]
    count = arrays[0].ndim
    before = tuple(range(count, count + first))
    return rows.transpose((*before, *range(count), *range(count + first, rows.ndim)))


def _is_basic(part: Any) -> bool:
    """Return whether a part of an index selects by integers, slices and new axes, so that no element occurs twice."""
    return part is Ellipsis or isinstance(part, int) or _is_axis(part)


def add_at(x: Array, index: tuple[Any, ...], g: Array) -> None:
    """Add g to x[index], as ``np.add.at(x, index, g)``, on any device, for an index with an array on the host.

    Args:
        x: the array that is changed; where it is named, it must be 0.
        index: integers, slices, new axes, an ellipsis, and one array or list at least, each within x's shape.
        g: of the shape of ``x[index]``.
    """
    xp = namespace(x)
    view, arrays, first = _arrays_in_front(x, index)
    count = arrays[0].ndim
    of_arrays = tuple(range(first, first + count))
    rest = tuple(n for n in range(g.ndim) if n not in of_arrays)
    others = tuple(g.shape[n] for n in rest)
    rows = g.transpose((*of_arrays, *rest)).reshape(arrays[0].size, math.prod(others))
    if not rows.size:
        return
    sizes = view.shape[: len(arrays)]
    places = np.ravel_multi_index(tuple(a % n for a, n in zip(arrays, sizes, strict=True)), sizes).reshape(-1)
    named, sums = _sum_of_equal(places, rows, xp.asarray)
    view[tuple(map(xp.asarray, np.unravel_index(named, sizes)))] = sums.reshape(len(named), *others)


def _arrays_in_front(x: Array, index: tuple[Any, ...]) -> tuple[Array, list[Array], int]:
    """Return a view of x whose first axes are those that arrays index, these arrays, and an axis of x[index].

    That is the first axis that the arrays make: in the place of the first array if they are neighbours, else 0. The
    other axes of the view are those of x[index], in their order.
    """
    entries = _entries(index, x.ndim)
    picked = [n for n, entry in enumerate(entries) if not _is_axis(entry)]
    others = [n for n, entry in enumerate(entries) if _is_axis(entry)]
    # An axis for each entry: slices and new axes are taken, those of the arrays are whole.
    whole = x[tuple(entry if _is_axis(entry) else slice(None) for entry in entries)]
    neighbours = picked == list(range(picked[0], picked[-1] + 1))
    return whole.transpose((*picked, *others)), [entries[n] for n in picked], picked[0] if neighbours else 0


def _entries(index: tuple[Any, ...], ndim: int) -> list[Any]:
    """Return an index with an entry for each axis and each new axis: a slice, None, or an array of integers.

    The arrays are broadcast to one shape.
    """
    entries: list[Any] = []
    for part in index:
        if part is Ellipsis or _is_axis(part):
            entries.append(part)
            continue
        array = np.asarray(part)
        if array.dtype == bool:
            entries += array.nonzero()
        else:
            entries.append(array.astype(np.int64))  # an empty list too
    rest = ndim - sum(entry is not None and entry is not Ellipsis for entry in entries)
    at = next((n for n, entry in enumerate(entries) if entry is Ellipsis), len(entries))
    entries = [*entries[:at], *[slice(None)] * rest, *entries[at + 1 :]]
    arrays = iter(np.broadcast_arrays(*(entry for entry in entries if not _is_axis(entry))))
    return [entry if _is_axis(entry) else next(arrays) for entry in entries]


def _is_axis(entry: Any) -> bool:
    return entry is None or isinstance(entry, slice)


def _sum_of_equal(places: Array, rows: Array, move: Callable[[Array], Array]) -> tuple[Array, Array]:
    """Return each place once, and the sum of the rows that have it: of pairs, then of pairs of these, and so on.

    places (R,) is on the host, rows (R, ...) on any device; `move` brings integers there.
    """
    order = np.argsort(places, kind="stable")
    places, rows = places[order], rows[move(order)]
    while True:
        begins = np.flatnonzero(np.concatenate(([True], places[1:] != places[:-1])))
        if len(begins) == len(places):
            return places, rows
        counts = np.diff(np.append(begins, len(places)))
        rank = np.arange(len(places)) - np.repeat(begins, counts)
        left = np.flatnonzero(rank % 2 == 0)
        right = np.flatnonzero(rank % 2 == 1)
        sums = rows[move(left)]
        pairs = move(np.flatnonzero(np.isin(left, right - 1)))
        sums[pairs] = sums[pairs] + rows[move(right)]
        places, rows = places[left], sums


def _one_line(problem: IndexError) -> str:
    """Return the message of NumPy or CuPy in the words of this library."""
    text = str(problem).splitlines()[0].strip().replace("out of bounds", "out of range")
    return text[:1].lower() + text[1:]
