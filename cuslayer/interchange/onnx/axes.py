"""The axes of an ONNX value as parts of the axes of a tensor of ours.

A value of ONNX is (N, C, H, W), or whatever reshapes and transpositions made of it, while our tensor stays (H, W, C).
Each axis of the value, without the batch, is a product of parts; a part has a size and a stride, the distance of its
neighbours in our tensor. Reshapes split and join parts, and transpositions move axes: no array is made for either.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import numpy as np

from cuslayer.backend import Array

Shape: TypeAlias = "tuple[int, ...]"


# The number of elements of constants that vary along a part of an axis, and are repeated along the rest of it.
_MOST_SPREAD = 2**22


class Part(NamedTuple):
    """A factor of an axis: its size, and the distance of its neighbours in our tensor, in elements."""

    size: int
    stride: int


Axis: TypeAlias = "tuple[Part, ...]"
Axes: TypeAlias = "tuple[Axis, ...]"


def joined(parts: Iterable[Part]) -> Axis:
    """Return parts in order without those of size 1, with neighbours joined that follow one another in our tensor."""
    axis = list[Part]()
    for part in parts:
        if part.size == 1:
            continue
        if axis and axis[-1].stride == part.size * part.stride:
            part = Part(axis.pop().size * part.size, part.stride)
        axis.append(part)
    return tuple(axis)


def size_of(axis: Axis) -> int:
    """Return the size of an axis."""
    return math.prod(part.size for part in axis)


def sizes_of(axes: Axes) -> list[int]:
    """Return the sizes of axes."""
    return [size_of(axis) for axis in axes]


def in_order(sizes: Sequence[int]) -> Axes:
    """Return the axes of a value that is our tensor as it is."""
    strides = [math.prod(sizes[position + 1 :]) for position in range(len(sizes))]
    return tuple(joined([Part(size, stride)]) for size, stride in zip(sizes, strides, strict=True))


def channels_first(shape: Shape) -> Axes:
    """Return the axes (C, H, W) of our frames (H, W, C)."""
    rows, columns, channels = in_order(shape)
    return channels, rows, columns


def reshaped(axes: Axes, sizes: Sequence[int]) -> Axes | None:
    """Return axes of other sizes over the same elements in the same order; None if parts would have to be mixed."""
    left = list(itertools.chain.from_iterable(axes))
    left.reverse()
    result = list[Axis]()
    for size in sizes:
        axis = list[Part]()
        missing = size
        while missing > 1:
            if not left:
                return None
            part = left.pop()
            if missing % part.size == 0:
                axis.append(part)
                missing //= part.size
            elif part.size % missing == 0:
                inner = part.size // missing
                axis.append(Part(missing, part.stride * inner))
                left.append(Part(inner, part.stride))
                missing = 1
            else:
                return None
        result.append(joined(axis))
    return None if left else tuple(result)


def places(axis: Axis) -> Array:
    """Return the place in our tensor of each element of an axis."""
    result = np.zeros(1, np.int64)
    for part in axis:
        result = (result[:, None] + np.arange(part.size) * part.stride).reshape(-1)
    return result


def spread(values: Array, axes: Axes, shape: Shape) -> Array:
    """Return numbers that broadcast to a value as numbers that broadcast to our tensor of a shape.

    Args:
        values: an axis for each of the value's, of its size or 1.
        axes: the value's axes.
        shape: the shape of our tensor.
    """
    own = [axis[0] for axis in in_order(shape) if axis]
    parts = list[Part]()
    sizes = list[int]()
    for axis, size in zip(axes, values.shape, strict=True):
        of_axis = [piece for part in axis for piece in _within(part, own)]
        parts += of_axis
        sizes += [piece.size if size > 1 else 1 for piece in of_axis]
    # Along our tensor, strides fall.
    order = sorted(range(len(parts)), key=lambda place: -parts[place].stride)
    in_parts = values.reshape(sizes).transpose(order)
    ours = list[int]()
    full = list[int]()
    place = 0
    for low, size in zip(own, [size for size in shape if size > 1], strict=True):
        inside = list[int]()
        while place < len(order) and parts[order[place]].stride >= low.stride:
            inside.append(place)
            place += 1
        varies = any(in_parts.shape[position] > 1 for position in inside)
        full += [parts[order[position]].size if varies else 1 for position in inside]
        ours.append(size if varies else 1)
    if math.prod(full) > max(values.size, _MOST_SPREAD):
        raise ValueError(f"constants of shape {values.shape} vary over {math.prod(full):,} elements")
    result = np.broadcast_to(in_parts, full).reshape(ours)
    return result.reshape([1 if size == 1 else ours.pop(0) for size in shape])


def _within(part: Part, own: Sequence[Part]) -> list[Part]:
    """Return a part as parts of which each lies within an axis of our tensor."""
    pieces = list[Part]()
    for axis in own:
        if part.stride < axis.stride < part.size * part.stride:
            inner, rest = divmod(axis.stride, part.stride)
            outer, rest_of_outer = divmod(part.size, inner)
            if rest or rest_of_outer:
                raise ValueError("constants vary over an axis that is a part of rows or columns")
            pieces.append(Part(outer, axis.stride))
            part = Part(inner, part.stride)
    return [*pieces, part]
