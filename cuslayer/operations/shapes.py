"""Shapes, parts and joints of arrays. The type stays: spikes stay boolean."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from cuslayer.backend import Array, namespace
from cuslayer.operations.base import Axis, Pullback, all_axes, contiguous, one_axis, saves


@saves("nothing")
def reshape(x: Array, /, *, shape: Any) -> tuple[Array, Pullback]:
    """Return the elements of x in another shape."""
    before = x.shape
    try:
        out = x.reshape(shape)
    except TypeError:
        raise TypeError(f"reshape: shape must be integers, got {shape}") from None
    except ValueError:
        raise ValueError(f"reshape: shape must fit x of shape {before}, got {shape}") from None
    return out, lambda g: g.reshape(before)


@saves("nothing")
def transpose(x: Array, /, *, axes: Axis = None) -> tuple[Array, Pullback]:
    """Return x with its axes in another order, by default reversed."""
    order = tuple(reversed(range(x.ndim))) if axes is None else all_axes("transpose", axes, x.ndim)
    if len(order) != x.ndim:
        raise ValueError(f"transpose: axes must name all {x.ndim} axes of x, got {axes}")
    back = tuple(order.index(a) for a in range(x.ndim))
    return contiguous(x.transpose(order)), lambda g: contiguous(g.transpose(back))


@saves("nothing")
def swapaxes(x: Array, /, *, axis1: int, axis2: int) -> tuple[Array, Pullback]:
    """Return x with two axes exchanged."""
    i, j = one_axis("swapaxes", axis1, x.ndim), one_axis("swapaxes", axis2, x.ndim)
    return contiguous(x.swapaxes(i, j)), lambda g: contiguous(g.swapaxes(i, j))


@saves("nothing")
def moveaxis(x: Array, /, *, source: Axis, destination: Axis) -> tuple[Array, Pullback]:
    """Return x with some axes at other positions, the others in their order."""
    moved, to = all_axes("moveaxis", source, x.ndim), all_axes("moveaxis", destination, x.ndim)
    if len(moved) != len(to):
        raise ValueError(f"moveaxis: source and destination must be as many axes, got {source} and {destination}")
    others = iter([a for a in range(x.ndim) if a not in moved])
    return transpose(x, axes=tuple(moved[to.index(a)] if a in to else next(others) for a in range(x.ndim)))


@saves("nothing")
def squeeze(x: Array, /, *, axis: Axis = None) -> tuple[Array, Pullback]:
    """Return x without its axes of size 1, or without the given ones."""
    shape = x.shape
    axes = tuple(a for a, n in enumerate(shape) if n == 1) if axis is None else all_axes("squeeze", axis, x.ndim)
    for a in axes:
        if shape[a] != 1:
            raise ValueError(f"squeeze: axis {a} must have size 1, got shape {shape}")
    return x.reshape(tuple(n for a, n in enumerate(shape) if a not in axes)), lambda g: g.reshape(shape)


@saves("nothing")
def expand_dims(x: Array, /, *, axis: int | tuple[int, ...]) -> tuple[Array, Pullback]:
    """Return x with new axes of size 1 at the given positions of the result."""
    before = x.shape
    axes = all_axes("expand_dims", axis, x.ndim + (len(axis) if isinstance(axis, (tuple, list)) else 1))
    sizes = iter(before)
    shape = tuple(1 if a in axes else next(sizes) for a in range(x.ndim + len(axes)))
    return x.reshape(shape), lambda g: g.reshape(before)


@saves("nothing")
def concatenate(*arrays: Array, axis: int | None = 0) -> tuple[Array, Pullback]:
    """Return arrays joined along an axis; with axis None, their elements in one row."""
    if not arrays:
        raise ValueError("concatenate: arrays must be at least one, got none")
    shapes = [x.shape for x in arrays]
    if axis is None:
        arrays = tuple(x.reshape(-1) for x in arrays)
    at = one_axis("concatenate", 0 if axis is None else axis, arrays[0].ndim)
    for x in arrays[1:]:
        if (x.shape[:at], x.shape[at + 1 :]) != (arrays[0].shape[:at], arrays[0].shape[at + 1 :]):
            raise ValueError(f"concatenate: shapes must agree but for axis {at}, got {shapes[0]} and {x.shape}")
    ends = np.cumsum([x.shape[at] for x in arrays]).tolist()
    spans = [(slice(None),) * at + (slice(*edges),) for edges in zip([0, *ends[:-1]], ends, strict=True)]

    def part(g: Array, span: tuple[slice, ...], shape: tuple[int, ...]) -> Array:
        return contiguous(g[span]).reshape(shape)

    return namespace(arrays[0]).concatenate(arrays, axis=at), lambda g: [
        partial(part, g, span, shape) for span, shape in zip(spans, shapes, strict=True)
    ]


@saves("nothing")
def stack(*arrays: Array, axis: int = 0) -> tuple[Array, Pullback]:
    """Return arrays of one shape joined along a new axis."""
    if not arrays:
        raise ValueError("stack: arrays must be at least one, got none")
    for x in arrays[1:]:
        if x.shape != arrays[0].shape:
            raise ValueError(f"stack: arrays must have one shape, got {arrays[0].shape} and {x.shape}")
    at = one_axis("stack", axis, arrays[0].ndim + 1)
    before = (slice(None),) * at
    return namespace(arrays[0]).stack(arrays, axis=at), lambda g: [
        contiguous(g[(*before, number)]) for number in range(len(arrays))
    ]


@saves("nothing")
def copy(x: Array, /) -> tuple[Array, Pullback]:
    """Return a copy of x."""
    return x.copy(), lambda g: g
