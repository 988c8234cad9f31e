"""Operators on constants alone: shapes that a file computes, and weights that it transposes or casts."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array
from cuslayer.interchange.onnx.file import Document, Node

_MOST_AXES = 16
# Data types of ONNX by number, as arrays.
TYPES: dict[int, Any] = {1: np.float32, 6: np.int32, 7: np.int64, 9: np.bool_, 10: np.float16, 11: np.float64}

_BINARY: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Pow": np.power,
    "Equal": np.equal,
    "Greater": np.greater,
    "Less": np.less,
    "And": np.logical_and,
    "Or": np.logical_or,
}
_SEVERAL: dict[str, Callable[[Array, Array], Array]] = {"Max": np.maximum, "Min": np.minimum, "Sum": np.add}
_UNARY: dict[str, Callable[[Array], Array]] = {
    "Abs": np.abs,
    "Ceil": np.ceil,
    "Exp": np.exp,
    "Floor": np.floor,
    "Neg": np.negative,
    "Not": np.logical_not,
    "Sqrt": np.sqrt,
    "Reciprocal": np.reciprocal,
}
_REDUCED: dict[str, Callable[..., Array]] = {
    "ReduceMax": np.max,
    "ReduceMean": np.mean,
    "ReduceMin": np.min,
    "ReduceProd": np.prod,
    "ReduceSum": np.sum,
}


def axis_of(node: Node, axis: int, count: int) -> int:
    """Return an axis of `count` as a number from 0."""
    if not -count <= axis < count:
        raise node.refused(f"has the axis {axis}, of {count}")
    return axis % count


def axes_of(node: Node, values: Sequence[int], count: int) -> list[int]:
    """Return axes of `count` as numbers from 0, each once."""
    axes = [axis_of(node, axis, count) for axis in values]
    if len(set(axes)) != len(axes):
        raise node.refused(f"has an axis twice, in {check.one_line(list(values), 60)}")
    return axes


def order_of(node: Node, count: int) -> list[int]:
    """Return the order of axes of a Transpose."""
    order = node.integers("perm")
    order = list(range(count))[::-1] if order is None else order
    if sorted(order) != list(range(count)):
        raise node.refused(f"has perm {check.one_line(order, 60)} for {count} axes")
    return order


def whole(node: Node, position: int, given: Sequence[Array | None]) -> list[int] | None:
    """Return an input that is a list of integers; None if it is absent."""
    value = given[position] if position < len(given) else None
    if value is None:
        return None
    if value.dtype.kind not in "iu" or value.ndim > 1 or value.size > _MOST_AXES:
        raise node.refused(f"must have at most {_MOST_AXES} integers as input {position}")
    return [int(number) for number in value.reshape(-1)]


def listed(node: Node, name: str, position: int, given: Sequence[Array | None]) -> list[int] | None:
    """Return a list of integers that is an attribute or, in later opsets, an input; None if it is absent."""
    values = node.integers(name)
    return whole(node, position, given) if values is None else values


def new_sizes(node: Node, old: Sequence[int], wanted: Sequence[int]) -> list[int]:
    """Return the sizes that a Reshape asks for, where 0 keeps a size and -1 is what is left."""
    if len(wanted) > _MOST_AXES:
        raise node.refused(f"must make at most {_MOST_AXES} axes, got {len(wanted)}")
    sizes = list(wanted)
    if not node.integer("allowzero", 0):
        for position, size in enumerate(sizes):
            if size == 0:
                sizes[position] = old[axis_of(node, position, len(old))]
    elements = math.prod(old)
    known = math.prod(size for size in sizes if size != -1)
    if sizes.count(-1) == 1 and known > 0 and elements % known == 0:
        sizes[sizes.index(-1)] = elements // known
    if min(sizes, default=1) < 0 or math.prod(sizes) != elements:
        shapes = f"{check.one_line(list(old), 60)} as {check.one_line(list(wanted), 60)}"
        raise node.refused(f"cannot reshape {shapes}")
    return sizes


def squeezed(node: Node, sizes: Sequence[int], axes: Sequence[int] | None) -> list[int]:
    """Return the axes that a Squeeze removes."""
    if axes is None:
        return [axis for axis, size in enumerate(sizes) if size == 1]
    removed = axes_of(node, axes, len(sizes))
    if any(sizes[axis] != 1 for axis in removed):
        raise node.refused(f"removes an axis that is larger than 1, of {check.one_line(list(sizes), 60)}")
    return removed


def added_axes(node: Node, count: int, axes: Sequence[int] | None) -> list[int]:
    """Return the axes of the result that an Unsqueeze adds to `count` axes, in order."""
    if axes is None or count + len(axes) > _MOST_AXES:
        raise node.refused(f"must name the axes that it adds, of at most {_MOST_AXES} in all")
    return sorted(axes_of(node, axes, count + len(axes)))


def computed(document: Document, node: Node, given: list[Array | None]) -> Array:
    """Return the result of an operator on constants."""
    name = node.operator
    if name == "Constant":
        return _constant(document, node)
    function = _FUNCTIONS.get(name)
    if function is None and name not in {*_BINARY, *_SEVERAL, *_UNARY, *_REDUCED, "Div"}:
        raise node.refused("is not read where all its inputs are constants")
    if not given or given[0] is None:
        raise node.refused("must have a first input")
    for value in given:
        # Most operators make no more elements than they take.
        document.take_room(node.where, () if value is None else value.shape)
    with np.errstate(all="ignore"):
        if function is not None:
            return np.asarray(function(document, node, given))
        return np.asarray(_calculated(document, node, given))


def _calculated(document: Document, node: Node, given: list[Array | None]) -> Array:
    """Return the result of arithmetic."""
    name = node.operator
    values = [_input(node, given, position) for position in range(len(given))]
    first = values[0]
    if name in _UNARY:
        return _UNARY[name](first)
    if name in _REDUCED:
        axes = listed(node, "axes", 1, given)
        where = tuple(axes_of(node, range(first.ndim) if axes is None else axes, first.ndim))
        result = _REDUCED[name](first, axis=where, keepdims=bool(node.integer("keepdims", 1)))
        return result.astype(first.dtype)
    document.take_room(node.where, np.broadcast_shapes(*(value.shape for value in values)))
    if name in _SEVERAL:
        for other in values[1:]:
            first = _SEVERAL[name](first, other)
        return first
    second = _input(node, given, 1)
    if name == "Div":
        if first.dtype.kind == "f":
            return first / second
        # Integers are divided towards 0.
        return np.trunc(first / second).astype(first.dtype)
    return _BINARY[name](first, second)


def _input(node: Node, given: list[Array | None], position: int) -> Array:
    value = given[position] if position < len(given) else None
    if value is None:
        raise node.refused(f"must have an input {position}")
    return value


def _constant(document: Document, node: Node) -> Array:
    tensor = node.tensor("value")
    if tensor is not None:
        return document.array(tensor, node.where)
    if "value_int" in node.attributes:
        return np.array(node.integer("value_int", 0), np.int64)
    if "value_float" in node.attributes:
        return np.array(node.number("value_float", 0.0), np.float32)
    integers = node.integers("value_ints")
    if integers is not None:
        return np.array(integers, np.int64)
    numbers = node.numbers("value_floats")
    if numbers is None:
        raise node.refused("must have a value of numbers")
    return np.array(numbers, np.float32)


def _cast(document: Document, node: Node, given: list[Array | None]) -> Array:
    kind = node.integer("to", 0)
    if kind not in TYPES:
        raise node.refused(f"casts to the type {kind}, which is not read")
    return _input(node, given, 0).astype(TYPES[kind])


def _reshape(document: Document, node: Node, given: list[Array | None]) -> Array:
    value = _input(node, given, 0)
    sizes = whole(node, 1, given)
    if sizes is None:
        raise node.refused("must have a shape")
    return value.reshape(new_sizes(node, value.shape, sizes))


def _flatten(document: Document, node: Node, given: list[Array | None]) -> Array:
    value = _input(node, given, 0)
    axis = axis_of(node, node.integer("axis", 1), value.ndim + 1)
    return value.reshape(math.prod(value.shape[:axis]), -1)


def _transpose(document: Document, node: Node, given: list[Array | None]) -> Array:
    value = _input(node, given, 0)
    return value.transpose(order_of(node, value.ndim))


def _squeeze(document: Document, node: Node, given: list[Array | None]) -> Array:
    value = _input(node, given, 0)
    return np.squeeze(value, tuple(squeezed(node, value.shape, listed(node, "axes", 1, given))))


def _unsqueeze(document: Document, node: Node, given: list[Array | None]) -> Array:
    value = _input(node, given, 0)
    return np.expand_dims(value, tuple(added_axes(node, value.ndim, listed(node, "axes", 1, given))))


def _concat(document: Document, node: Node, given: list[Array | None]) -> Array:
    values = [_input(node, given, position) for position in range(len(given))]
    return np.concatenate(values, axis_of(node, node.integer("axis", 0), values[0].ndim))


def _gather(document: Document, node: Node, given: list[Array | None]) -> Array:
    value = _input(node, given, 0)
    indices = _input(node, given, 1)
    axis = axis_of(node, node.integer("axis", 0), value.ndim)
    if indices.dtype.kind not in "iu":
        raise node.refused("must have integers as indices")
    document.take_room(node.where, (*value.shape[:axis], *indices.shape, *value.shape[axis + 1 :]))
    return np.take(value, indices, axis)


def _slice(document: Document, node: Node, given: list[Array | None]) -> Array:
    value = _input(node, given, 0)
    starts = listed(node, "starts", 1, given) or []
    ends = listed(node, "ends", 2, given) or []
    axes = listed(node, "axes", 3, given)
    steps = whole(node, 4, given) or [1] * len(starts)
    chosen = axes_of(node, range(len(starts)) if axes is None else axes, value.ndim)
    cut = [slice(None)] * value.ndim
    for axis, start, end, step in zip(chosen, starts, ends, steps, strict=True):
        # Going backwards, an end far below 0 is the first element.
        last = None if step < 0 and end < -value.shape[axis] else end
        cut[axis] = slice(start, last, step)
    return value[tuple(cut)]


def _shape(document: Document, node: Node, given: list[Array | None]) -> Array:
    return shape_of(node, _input(node, given, 0).shape)


def shape_of(node: Node, sizes: Sequence[int]) -> Array:
    """Return the result of a Shape for a value of some sizes."""
    end = node.integer("end", len(sizes))
    return np.array(sizes[node.integer("start", 0) : end], np.int64)


def _size(document: Document, node: Node, given: list[Array | None]) -> Array:
    return np.array(_input(node, given, 0).size, np.int64)


def _identity(document: Document, node: Node, given: list[Array | None]) -> Array:
    return _input(node, given, 0)


def _filled(document: Document, node: Node, given: list[Array | None]) -> Array:
    sizes = whole(node, 0, given) or []
    tensor = node.tensor("value")
    value = np.zeros(1, np.float32) if tensor is None else document.array(tensor, node.where)
    if value.size != 1 or min(sizes, default=0) < 0:
        raise node.refused("must have one value and sizes of at least 0")
    document.take_room(node.where, sizes)
    return np.full(sizes, value.reshape(()))


def _expand(document: Document, node: Node, given: list[Array | None]) -> Array:
    value = _input(node, given, 0)
    shape = np.broadcast_shapes(value.shape, tuple(whole(node, 1, given) or ()))
    document.take_room(node.where, shape)
    return np.array(np.broadcast_to(value, shape))


def _where(document: Document, node: Node, given: list[Array | None]) -> Array:
    values = [_input(node, given, position) for position in range(3)]
    document.take_room(node.where, np.broadcast_shapes(*(value.shape for value in values)))
    return np.where(values[0] != 0, values[1], values[2])


def _range(document: Document, node: Node, given: list[Array | None]) -> Array:
    start, limit, step = (_input(node, given, position).reshape(-1)[:1] for position in range(3))
    if min(start.size, limit.size, step.size) < 1 or not step.any():
        raise node.refused("must have a start, a limit and a step other than 0")
    count = math.ceil(float(limit[0] - start[0]) / float(step[0]))
    document.take_room(node.where, (max(count, 0),))
    return start + step * np.arange(max(count, 0)).astype(step.dtype)


_FUNCTIONS: dict[str, Callable[[Document, Node, list[Array | None]], Array]] = {
    "Cast": _cast,
    "Concat": _concat,
    "ConstantOfShape": _filled,
    "Dropout": _identity,
    "Expand": _expand,
    "Flatten": _flatten,
    "Gather": _gather,
    "Identity": _identity,
    "Range": _range,
    "Reshape": _reshape,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}
