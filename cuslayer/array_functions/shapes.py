"""Shapes, parts and joints of tensors. The type stays: spikes stay boolean."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cuslayer.backend import cupy
from cuslayer.operations import shapes
from cuslayer.operations.base import Axis
from cuslayer.operations.numpy_calls import implements
from cuslayer.tape import Tensor, apply, as_tensor

_CPU, _CUDA = (1, 3), (2, 13)  # DLPack's numbers of devices: memory of the host, of the GPU


def _each(op: str, arrays: Any) -> list[Any]:
    try:
        return list(arrays)
    except TypeError:
        raise TypeError(f"{op}: arrays must be a sequence of arrays, got {type(arrays).__name__}") from None


@implements(np.reshape)
def reshape(a: Any, shape: int | Sequence[int]) -> Tensor:
    """Return the elements of a in another shape, of which one size may be -1.

    Raises:
        ValueError: the shape has another number of elements.

    >>> reshape([1.0, 2.0, 3.0, 4.0], (2, -1)).tolist()
    [[1.0, 2.0], [3.0, 4.0]]
    """
    return as_tensor(a).reshape(shape)


@implements(np.ravel)
def ravel(a: Any) -> Tensor:
    """Return the elements of a along one axis.

    >>> ravel([[1.0, 2.0], [3.0, 4.0]]).tolist()
    [1.0, 2.0, 3.0, 4.0]
    """
    return as_tensor(a).ravel()


@implements(np.transpose)
def transpose(a: Any, axes: Sequence[int] | None = None) -> Tensor:
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
    return as_tensor(a).transpose(axes)


@implements(np.swapaxes)
def swapaxes(a: Any, axis1: int, axis2: int) -> Tensor:
    """Return a with two axes exchanged.

    Raises:
        ValueError: an axis is out of range.
        TypeError: an axis is not an integer.

    >>> swapaxes([[1.0, 2.0], [3.0, 4.0]], 0, 1).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    return as_tensor(a).swapaxes(axis1, axis2)


@implements(np.moveaxis)
def moveaxis(a: Any, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """Return a with some axes at other positions, the others in their order.

    Args:
        a: numbers or spikes of any shape.
        source: the axes to move.
        destination: their positions in the result.

    Raises:
        ValueError: an axis is out of range or named twice, or there are not as many positions as axes.
        TypeError: an axis is not an integer.

    >>> moveaxis([[1.0, 2.0], [3.0, 4.0]], 0, 1).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    return apply(shapes.moveaxis, a, source=source, destination=destination)


@implements(np.squeeze)
def squeeze(a: Any, axis: Axis = None) -> Tensor:
    """Return a without its axes of size 1, or without the given ones.

    Raises:
        ValueError: an axis is out of range, named twice, or not of size 1.
        TypeError: an axis is not an integer.

    >>> squeeze([[[1.0, 2.0]]], axis=0).tolist()
    [[1.0, 2.0]]
    """
    return as_tensor(a).squeeze(axis)


@implements(np.expand_dims)
def expand_dims(a: Any, axis: int | tuple[int, ...]) -> Tensor:
    """Return a with new axes of size 1, at the given positions of the result.

    Raises:
        ValueError: an axis is out of range or named twice.
        TypeError: an axis is not an integer.

    >>> expand_dims([1.0, 2.0], 0).tolist()
    [[1.0, 2.0]]
    """
    return apply(shapes.expand_dims, a, axis=axis)


@implements(np.concatenate)
def concatenate(arrays: Sequence[Any], axis: int | None = 0) -> Tensor:
    """Return arrays joined along an axis.

    Args:
        arrays: arrays whose shapes agree but for the axis. Boolean ones give a boolean result.
        axis: the axis; None joins the flattened arrays.

    Raises:
        ValueError: there is no array, the shapes do not agree, or the axis is out of range.
        TypeError: arrays are no sequence, or the axis is not an integer.

    >>> concatenate([[1.0, 2.0], [3.0]]).tolist()
    [1.0, 2.0, 3.0]
    """
    return apply(shapes.concatenate, *_each("concatenate", arrays), axis=axis)


@implements(np.stack)
def stack(arrays: Sequence[Any], axis: int = 0) -> Tensor:
    """Return arrays of one shape joined along a new axis.

    Args:
        arrays: the arrays. Boolean ones give a boolean result.
        axis: the position of the new axis in the result.

    Raises:
        ValueError: there is no array, the shapes differ, or the axis is out of range.
        TypeError: arrays are no sequence, or the axis is not an integer.

    >>> stack([[1.0, 2.0], [3.0, 4.0]], axis=1).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    """
    return apply(shapes.stack, *_each("stack", arrays), axis=axis)


@implements(np.copy)
def copy(a: Any) -> Tensor:
    """Return a copy of a, through which the gradient passes.

    >>> copy([1.0, 2.0]).tolist()
    [1.0, 2.0]
    """
    return as_tensor(a).copy()


def from_dlpack(x: Any) -> Tensor:
    """Return a tensor of another library's array, such as PyTorch's, through DLPack.

    Args:
        x: an object with ``__dlpack__`` and ``__dlpack_device__``, on a CPU or an NVIDIA GPU.

    Returns:
        A tensor on the device in use. It shares memory with x where x is contiguous, writable (which it never is for
        NumPy before 2.1), on this device, and of type float32, float64 or bool.

    Raises:
        TypeError: x does not support DLPack, or is not made of real numbers.
        ValueError: x is on a device of another kind, or on a GPU that is not available.

    >>> from_dlpack(np.array([1.0, 2.0])).tolist()
    [1.0, 2.0]
    """
    if not hasattr(x, "__dlpack__") or not hasattr(x, "__dlpack_device__"):
        raise TypeError(f"from_dlpack: x must have __dlpack__ and __dlpack_device__, got {type(x).__name__}")
    kind = int(x.__dlpack_device__()[0])
    if kind not in (*_CPU, *_CUDA):
        raise ValueError(f"from_dlpack: x must be on a CPU or an NVIDIA GPU, got DLPack's device type {kind}")
    if kind in _CUDA:
        return Tensor(cupy().from_dlpack(x))
    array = np.from_dlpack(x)
    return Tensor(array if array.flags.writeable else array.copy())
