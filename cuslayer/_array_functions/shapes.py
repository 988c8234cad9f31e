"""Shapes, indexing and joining. The type stays: spikes stay boolean.

CuPy wraps an index that is out of range, and its `add.at` adds in any order. These functions check an index on the
host, and add repeated elements in pairs, in a fixed order, so that gradients have the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer._array_functions.table import Row, all_axes, function, implements, one_axis
from cuslayer._base import check
from cuslayer._base.array_like import Axis, TensorLike
from cuslayer._tape import Gradient, PartGradient, Pullback, Tensor, as_tensor, note_change, zeros_beside
from cuslayer.backend import Array, contiguous, cupy, namespace, to_device, to_numpy
from cuslayer.kernels.host.elementwise import in_order

_CPU, _CUDA = (1, 3), (2, 13)  # DLPack's device numbers: host memory, GPU memory


@function(np.reshape, saves="nothing")
def reshape(a: Array, shape: int | Sequence[int]) -> Row:
    """Return the elements of a in another shape, where one size may be -1.

    Raises:
        ValueError: the shape has another number of elements.

    >>> reshape([1.0, 2.0, 3.0, 4.0], (2, -1)).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    before, wanted = a.shape, tuple(shape) if isinstance(shape, (tuple, list)) else (shape,)
    try:
        out = a.reshape(wanted)
    except TypeError:
        raise TypeError(f"shape must be integers, got {wanted}") from None
    except ValueError:
        raise ValueError(f"shape must fit x of shape {before}, got {wanted}") from None
    return out, lambda g: g.reshape(before)


@implements(methods="reshape")
def _reshape(a: Tensor, *shape: Any) -> Tensor:
    """Return the elements in another shape, given as integers or as one tuple."""
    return reshape(a, shape=shape[0] if len(shape) == 1 else shape)


@implements(np.ravel, methods="ravel")
def ravel(a: TensorLike) -> Tensor:
    """Return the elements of a along one axis.

    >>> ravel([[1.0, 2.0], [3.0, 4.0]]).tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    return reshape(a, shape=-1)


@implements(methods="flatten")
def _flatten(a: Tensor) -> Tensor:
    """Return a copy of the elements along one axis."""
    return reshape(copy(a), shape=-1)


@function(np.transpose, saves="nothing")
def transpose(a: Array, axes: Sequence[int] | None = None) -> Row:
    """Return a with its axes in another order, by default reversed.

    Args:
        a: numbers or spikes of any shape.
        axes: for each axis of the result, the axis of a.

    Raises:
        ValueError: axes do not name each axis of a once.
        TypeError: an axis is not an integer.

    >>> transpose([[1.0, 2.0], [3.0, 4.0]]).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    return _transposed(a, tuple(reversed(range(a.ndim))) if axes is None else all_axes(axes, a.ndim), axes)


def _transposed(x: Array, order: tuple[int, ...], given: object = None) -> Row:
    if len(order) != x.ndim:
        raise ValueError(f"axes must name all {x.ndim} axes of x, got {given}")
    back = tuple(order.index(n) for n in range(x.ndim))
    return in_order(x.transpose(order)), lambda g: in_order(g.transpose(back))


@implements(methods="transpose")
def _transpose(a: Tensor, *axes: Any) -> Tensor:
    """Return the tensor with its axes in another order, by default reversed."""
    return transpose(a, axes=axes[0] if len(axes) == 1 and not isinstance(axes[0], int) else axes or None)


@function(np.swapaxes, methods="swapaxes", saves="nothing")
def swapaxes(a: Array, axis1: int, axis2: int) -> Row:
    """Return a with two axes exchanged. Errors: see `transpose`.

    >>> swapaxes([[1.0, 2.0], [3.0, 4.0]], 0, 1).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    i, j = one_axis(axis1, a.ndim), one_axis(axis2, a.ndim)
    return in_order(a.swapaxes(i, j)), lambda g: in_order(g.swapaxes(i, j))


@function(np.moveaxis, saves="nothing")
def moveaxis(a: Array, source: int | Sequence[int], destination: int | Sequence[int]) -> Row:
    """Return a with some axes at other positions, the others in order. Errors: see `transpose`.

    Args:
        a: numbers or spikes of any shape.
        source: the axes to move.
        destination: their positions in the result.

    >>> moveaxis([[1.0, 2.0], [3.0, 4.0]], 0, 1).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    moved, to = all_axes(source, a.ndim), all_axes(destination, a.ndim)
    if len(moved) != len(to):
        raise ValueError(f"source and destination must be as many axes, got {source} and {destination}")
    others = iter([n for n in range(a.ndim) if n not in moved])
    return _transposed(a, tuple(moved[to.index(n)] if n in to else next(others) for n in range(a.ndim)))


@function(np.squeeze, methods="squeeze", saves="nothing")
def squeeze(a: Array, axis: Axis = None) -> Row:
    """Return a without its axes of size 1, or without given axes of size 1. Errors: see `transpose`.

    >>> squeeze([[[1.0, 2.0]]], axis=0).tolist()
    [[1.0, 2.0]]
    """
    before = a.shape
    axes = tuple(n for n, size in enumerate(before) if size == 1) if axis is None else all_axes(axis, a.ndim)
    for n in axes:
        if before[n] != 1:
            raise ValueError(f"axis {n} must have size 1, got shape {before}")
    return a.reshape(tuple(size for n, size in enumerate(before) if n not in axes)), lambda g: g.reshape(before)


@function(np.expand_dims, saves="nothing")
def expand_dims(a: Array, axis: int | tuple[int, ...]) -> Row:
    """Return a with new axes of size 1, at the given positions of the result. Errors: see `transpose`.

    >>> expand_dims([1.0, 2.0], 0).tolist()
    [[1.0, 2.0]]
    """
    before, named = a.shape, axis if isinstance(axis, (tuple, list)) else (axis,)
    ndim = a.ndim + len(named)
    axes, sizes = all_axes(named, ndim), iter(before)
    return a.reshape(tuple(1 if n in axes else next(sizes) for n in range(ndim))), lambda g: g.reshape(before)


@function(np.concatenate, arrays=0, saves="nothing")
def concatenate(arrays: Sequence[Array], axis: int | None = 0) -> Row:
    """Return arrays joined along an axis.

    Args:
        arrays: arrays whose shapes agree except for the axis. Boolean arrays give a boolean result.
        axis: the axis; None joins the flattened arrays.

    Raises:
        ValueError: there is no array, the shapes do not agree, or the axis is out of range.
        TypeError: arrays is not a sequence, or the axis is not an integer.

    >>> concatenate([[1.0, 2.0], [3.0]]).tolist()
    [1.0, 2.0, 3.0]
    """
    return joined(arrays, axis)


def joined(arrays: Sequence[Array], axis: int | None = 0) -> tuple[Array, Pullback]:
    """Return arrays joined along an axis and the pullback; see `concatenate`."""
    if not arrays:
        raise ValueError("arrays must be at least one, got none")
    shapes = [x.shape for x in arrays]
    if axis is None:
        arrays = [x.reshape(-1) for x in arrays]
    at = one_axis(0 if axis is None else axis, arrays[0].ndim)
    for x in arrays[1:]:
        if (x.shape[:at], x.shape[at + 1 :]) != (arrays[0].shape[:at], arrays[0].shape[at + 1 :]):
            raise ValueError(f"shapes must agree but for axis {at}, got {shapes[0]} and {x.shape}")
    ends = np.cumsum([x.shape[at] for x in arrays]).tolist()
    spans = [(slice(None),) * at + (slice(*edges),) for edges in zip([0, *ends[:-1]], ends, strict=True)]

    def part(g: Array, span: tuple[slice, ...], shape: tuple[int, ...]) -> Array:
        return contiguous(g[span]).reshape(shape)

    return namespace(arrays[0]).concatenate(arrays, axis=at), lambda g: [
        partial(part, g, span, shape) for span, shape in zip(spans, shapes, strict=True)
    ]


@function(np.stack, arrays=0, saves="nothing")
def stack(arrays: Sequence[Array], axis: int = 0) -> Row:
    """Return arrays of one shape joined along a new axis at position `axis`. Errors: see `concatenate`.

    >>> stack([[1.0, 2.0], [3.0, 4.0]], axis=1).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    if not arrays:
        raise ValueError("arrays must be at least one, got none")
    for x in arrays[1:]:
        if x.shape != arrays[0].shape:
            raise ValueError(f"arrays must have one shape, got {arrays[0].shape} and {x.shape}")
    at = one_axis(axis, arrays[0].ndim + 1)
    before, count = (slice(None),) * at, len(arrays)
    return namespace(arrays[0]).stack(arrays, axis=at), lambda g: [contiguous(g[(*before, n)]) for n in range(count)]


@function(np.flip, saves="nothing")
def flip(m: Array, axis: Axis = None) -> Row:
    """Return m with the elements along some axes, by default all, in reverse order. Errors: see `transpose`.

    >>> flip([[1.0, 2.0], [3.0, 4.0]], axis=0).tolist()
    [[3.0, 4.0], [1.0, 2.0]]
    """
    axes = all_axes(axis, m.ndim)
    reverse = tuple(slice(None, None, -1 if n in axes else 1) for n in range(m.ndim))
    return contiguous(m[reverse]), lambda g: contiguous(g[reverse])


@function(np.pad, saves="nothing")
def pad(
    array: Array,
    pad_width: int | Sequence[int] | Sequence[Sequence[int]],
    mode: str = "constant",
    *,
    constant_values: float = 0,
) -> Row:
    """Return an array with a constant around it.

    Args:
        array: numbers or spikes of any shape.
        pad_width: elements before and after along each axis, ((before, after), ...); a pair or an integer for all axes.
        mode: "constant", NumPy's only supported mode.
        constant_values: the constant.

    Raises:
        ValueError: pad_width does not fit the axes or is negative, or mode has another value.
        TypeError: pad_width does not contain integers.

    >>> pad([1.0, 2.0], (1, 2)).tolist()
    [0.0, 1.0, 2.0, 0.0, 0.0]
    """
    if mode != "constant":
        raise ValueError(f"mode must be 'constant', got {mode!r}")
    widths = np.asarray(pad_width)
    if widths.dtype.kind not in "iu":
        raise TypeError(f"pad_width must be integers, got {check.one_line(pad_width)}")
    if (
        widths.ndim > 2
        or widths.shape[-1:] not in ((), (1,), (2,))
        or widths.shape[:-1] not in ((), (1,), (array.ndim,))
    ):
        raise ValueError(f"pad_width must be (before, after) for each of {array.ndim} axes, got {pad_width}")
    ends = np.broadcast_to(widths, (array.ndim, 2)).tolist()
    if any(n < 0 for pair in ends for n in pair):
        raise ValueError(f"pad_width must not be negative, got {pad_width}")
    inside = tuple(slice(before, before + size) for (before, _), size in zip(ends, array.shape, strict=True))
    shape = tuple(before + size + after for (before, after), size in zip(ends, array.shape, strict=True))
    out = namespace(array).zeros(shape, array.dtype)
    if constant_values:
        out[...] = constant_values
    out[inside] = array
    return out, lambda g: contiguous(g[inside])


@implements(np.repeat, methods="repeat")
@check.operation
def repeat(a: TensorLike, repeats: npt.ArrayLike, axis: int | None = None) -> Tensor:
    """Return a with each element repeated along an axis; None repeats the elements of the flattened array.

    Args:
        a: numbers or spikes of any shape.
        repeats: the number of repetitions, an integer from 0, or one for each element along the axis.
        axis: the axis.

    Raises:
        ValueError: repeats are negative or do not fit the axis, or the axis is out of range.
        TypeError: repeats or the axis are not integers.

    >>> repeat([1.0, 2.0], [1, 2]).tolist()
    [1.0, 2.0, 2.0]
    """
    x = ravel(a) if axis is None else as_tensor(a)
    at = 0 if axis is None else one_axis(axis, x.ndim)
    times = np.asarray(repeats)
    if times.dtype.kind not in "iu":
        raise TypeError(f"repeats must be integers, got {check.one_line(repeats)}")
    if times.shape not in ((), (1,), (x.shape[at],)) or (times < 0).any():
        raise ValueError(f"repeats must be from 0, one or {x.shape[at]} of them, got {check.one_line(repeats)}")
    return take(x, index=((slice(None),) * at + (np.arange(x.shape[at]).repeat(times),)))


@function(np.copy, np.positive, methods="copy __pos__", saves="nothing")
def copy(a: Array) -> Row:
    """Return a copy of a, through which the gradient passes.

    >>> copy([1.0, 2.0]).tolist()
    [1.0, 2.0]
    """
    return a.copy(), lambda g: g


@check.operation
def from_dlpack(x: object) -> Tensor:
    """Return a tensor of another library's array, such as PyTorch's, through DLPack.

    Args:
        x: an object with ``__dlpack__`` and ``__dlpack_device__``, on a CPU or an NVIDIA GPU.

    Returns:
        A tensor on the device in use. It shares memory with x if x is contiguous, on this device, of type float32,
        float64 or bool, and writable, which it never is for NumPy before 2.1.

    Raises:
        TypeError: x does not support DLPack, or does not contain real numbers.
        ValueError: x is on another kind of device, or on a GPU that is not available.

    >>> from_dlpack(np.array([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise check.mistyped("x", "must have __dlpack__ and __dlpack_device__", x)
    kind = int(x.__dlpack_device__()[0])
    if kind not in (*_CPU, *_CUDA):
        raise ValueError(f"x must be on a CPU or an NVIDIA GPU, got DLPack's device type {kind}")
    if kind in _CUDA:
        return Tensor(cupy().from_dlpack(x))
    array = np.from_dlpack(x)
    return Tensor(array if array.flags.writeable else array.copy())


@implements(methods="__getitem__")
def _getitem(x: Tensor, index: object) -> Tensor:
    return take(x, index=index)


@implements(methods="__setitem__")
@check.operation("item assignment")
def _setitem(x: Tensor, index: object, value: TensorLike) -> None:
    """Write to elements in place. A `backward` that needs the old elements raises an error."""
    if x._needs_gradient() or (isinstance(value, Tensor) and value._needs_gradient()):
        raise TypeError("a gradient would be lost; write within cs.no_grad(), or make another tensor with cs.where")
    data, value = x.data, to_device(value.data if isinstance(value, Tensor) else value)
    if data is x.stored:
        note_change(x)
    try:
        data[_plain_index(index)] = value
    except (IndexError, ValueError) as problem:
        raise type(problem)(_one_line(problem)) from None
    if data is not x.stored:  # packed spikes on a GPU
        x.data = data


def _plain_index(index: object) -> Any:
    """Return an index with arrays in place of tensors, which must be boolean."""
    if isinstance(index, tuple):
        return tuple(map(_plain_index, index))
    if isinstance(index, Tensor):
        if index.dtype != bool:
            raise IndexError(f"index must be made of integers or booleans, got a Tensor of {index.dtype}")
        return index.data
    return to_numpy(index) if isinstance(index, np.ndarray) else index


@function(saves="nothing")
def take(x: Array, *, index: Any) -> Row:
    """Return x[index], for any index that NumPy accepts.

    An integer index array on the device is read back once.
    """
    xp, shape, index = namespace(x), x.shape, _plain_index(index)
    parts = index if isinstance(index, tuple) else (index,)
    arrays = [part for part in parts if not _is_basic(part)]
    # A single mask selects an element at most once. It stays on its device.
    once = not arrays or (len(arrays) == 1 and getattr(getattr(arrays[0], "dtype", None), "kind", "") == "b")
    host = index if once or xp is np else tuple(to_numpy(part) if hasattr(part, "dtype") else part for part in parts)
    try:
        part = x[index] if once or xp is np else _picked(x, host)
    except IndexError as problem:
        raise IndexError(f"{_one_line(problem)}") from None

    # A window over the whole time: the gradient passes as it is.
    whole = not arrays and (part.shape, part.strides) == (shape, x.strides)

    def pullback(g: Array) -> Gradient:
        if whole:
            return g
        if once:
            return PartGradient(g, index, shape)
        grad = zeros_beside(g, shape)
        if xp is np:
            np.add.at(grad, index, g)
        else:
            add_at(grad, host, g)
        return grad

    return contiguous(part), pullback


def _picked(x: Array, index: tuple[Any, ...]) -> Array:
    """Return x[index] of an array on the device, for an index with arrays on the host."""
    if any(isinstance(part, (bool, np.bool_)) for part in index):
        raise IndexError("a single True or False cannot be mixed with arrays on a device")
    # NumPy checks the index on an array without memory.
    np.broadcast_to(np.False_, x.shape)[index]
    view, arrays, first = _arrays_in_front(x, index)
    rows = view[tuple(map(namespace(x).asarray, arrays))]
    count = arrays[0].ndim
    before = tuple(range(count, count + first))
    return rows.transpose((*before, *range(count), *range(count + first, rows.ndim)))


def _is_basic(part: object) -> bool:
    """Return whether a part of an index is an integer, a slice or a new axis, so that no element occurs twice."""
    return part is Ellipsis or isinstance(part, int) or _is_axis(part)


def add_at(x: Array, index: tuple[object, ...], g: Array) -> None:
    """Add g to x[index], as ``np.add.at(x, index, g)``, on any device, for an index with an array on the host."""
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


def _arrays_in_front(x: Array, index: tuple[object, ...]) -> tuple[Array, list[Array], int]:
    """Return a view of x with the array-indexed axes in front, the index arrays, and the first axis of their result."""
    # This axis has the position of the first array if the arrays are neighbours, else 0. The other axes keep their
    # order.
    entries = _entries(index, x.ndim)
    picked = [n for n, entry in enumerate(entries) if not _is_axis(entry)]
    others = [n for n, entry in enumerate(entries) if _is_axis(entry)]
    # An axis for each entry: slices and new axes apply now; the arrays' axes stay whole.
    whole = x[tuple(entry if _is_axis(entry) else slice(None) for entry in entries)]
    neighbours = picked == list(range(picked[0], picked[-1] + 1))
    return whole.transpose((*picked, *others)), [entries[n] for n in picked], picked[0] if neighbours else 0


def _entries(index: tuple[object, ...], ndim: int) -> list[Any]:
    """Return an index with an entry for each axis: a slice, None for a new axis, or integers of one broadcast shape."""
    entries: list[Any] = []
    for part in index:
        if part is Ellipsis or _is_axis(part):
            entries.append(part)
            continue
        array = np.asarray(part)
        if array.dtype == bool:
            entries += array.nonzero()
        else:
            entries.append(array.astype(np.int64))  # also an empty list
    rest = ndim - sum(entry is not None and entry is not Ellipsis for entry in entries)
    at = next((n for n, entry in enumerate(entries) if entry is Ellipsis), len(entries))
    entries = [*entries[:at], *[slice(None)] * rest, *entries[at + 1 :]]
    arrays = iter(np.broadcast_arrays(*(entry for entry in entries if not _is_axis(entry))))
    return [entry if _is_axis(entry) else next(arrays) for entry in entries]


def _is_axis(entry: object) -> bool:
    return entry is None or isinstance(entry, slice)


def _sum_of_equal(places: Array, rows: Array, move: Callable[[Array], Array]) -> tuple[Array, Array]:
    """Return each index once, and the sum of its rows: sums of pairs, then of pairs of these sums, and so on."""
    # The indices (R,) are on the host, the rows (R, ...) on any device; `move` copies integers there.
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


def _one_line(problem: Exception) -> str:
    """Return the message of NumPy or CuPy in this library's style."""
    text = str(problem).splitlines()[0].strip().replace("out of bounds", "out of range")
    return text[:1].lower() + text[1:]
