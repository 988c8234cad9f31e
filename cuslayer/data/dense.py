"""Dense recordings: arrays of spikes or signals, checked, and brought to the steps of a batch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer import backend, check
from cuslayer.data.events import EDGE
from cuslayer.tape import Tensor

Array = npt.NDArray[Any]

# Elements that are looked at at a time, which bounds memory.
_BLOCK = 1 << 22


def numbers(op: str, name: str, value: Any) -> Array:
    """Return value as a NumPy array of booleans, integers or real numbers, without a copy if possible.

    Raises:
        TypeError: value is a path, or does not hold numbers.
        ValueError: its rows are of unequal length.
    """
    if isinstance(value, (str, bytes, os.PathLike)):
        got = os.fspath(value)
        raise TypeError(f"{op}: {name} must be an array, got {got!r}; read a file first, as np.load does")
    try:
        array = backend.to_numpy(value.data if isinstance(value, Tensor) else value)
    except ValueError:
        raise ValueError(f"{op}: {name} must be an array, got rows of unequal length") from None
    if array.dtype.kind not in "biuf":
        got = f"{array.dtype}" if array.ndim else type(value).__name__
        raise TypeError(f"{op}: {name} must be an array of booleans or numbers, got {got}")
    return array


def spikes_or_signal(op: str, name: str, x: Array) -> Array:
    """Return integers that are all 0 or 1 as booleans, and other numbers as float32 or float64.

    Raises:
        ValueError: a number is NaN or infinite.

    Warns:
        UserWarning: the numbers are those of pixels from 0 to 255.
    """
    if x.dtype == np.bool_ or not x.size:
        return x.astype(np.bool_) if x.dtype.kind in "iu" else x
    ranges = [(float(part.min()), float(part.max())) for part in _blocks(x)]
    low, high = (float(edge(column)) for edge, column in zip((np.min, np.max), zip(*ranges, strict=True), strict=True))
    if x.dtype.kind in "iu" and low >= 0 and high <= 1:
        return x.astype(np.bool_)
    check.finite_range(op, name, low, high)
    found = check.pixels(op, name, low, high, lambda: all((part % 1 == 0).all() for part in _blocks(x)))
    if found:
        check.warn(found)
    return x if x.dtype in (np.float32, np.float64) else x.astype(np.float32)


def _blocks(x: Array) -> Iterator[Array]:
    """Yield x in blocks along its first axis."""
    rows = max(1, _BLOCK * len(x) // x.size)
    return (x[first : first + rows] for first in range(0, len(x), rows))


def to_steps(op: str, x: Array, steps: int, dt: float, own: float | None) -> Array:
    """Return the first steps of a recording (T, ...); spikes of another step are put into bins of dt.

    Args:
        op: the operation named in errors.
        x: spikes or a signal.
        steps: the largest number of steps of the result.
        dt: their width in ms.
        own: the step of x in ms; None if it is dt.

    Raises:
        ValueError: x is a signal, and its step is not dt.

    >>> to_steps("Loader", np.eye(4, dtype=bool), 9, 1.0, 0.5).astype(int).tolist()
    [[1, 1, 0, 0], [0, 0, 1, 1]]
    """
    if own is None or abs(own - dt) <= EDGE * dt:
        return x[:steps]
    if x.dtype != np.bool_:
        raise ValueError(f"{op}: dt must be {own:g} ms, the step of its signals, got {dt:g}")
    step = np.floor(np.arange(len(x)) * (own / dt) + EDGE).astype(np.int64)
    kept = step[step < steps]
    found = np.zeros((int(kept[-1]) + 1 if kept.size else 0, *x.shape[1:]), np.bool_)
    np.logical_or.at(found, kept, x[: len(kept)])
    return found
