"""Labels: classes as integers or one-hot, in arrays or tensors."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from cuslayer._base.array_like import TensorLike
from cuslayer._tape import Tensor
from cuslayer.backend import Array, namespace, to_numpy


def unread(labels: Any) -> Array:
    """Return labels as an array, on a GPU if they are there."""
    given = labels.data if isinstance(labels, Tensor) else labels
    return to_numpy(given) if namespace(given) is np else given


def is_one_hot(x: Array) -> bool:
    """Return whether each row of an array (samples, classes) has one 1, and 0 elsewhere."""
    return bool(((x == 0) | (x == 1)).all() and (x.sum(axis=1) == 1).all())


def class_numbers(
    name: str, labels: TensorLike, most: int | None = None, *, whole: bool = False
) -> npt.NDArray[np.int64]:
    """Return labels, (N,) or one-hot (N, classes), as int64 (N,) on the CPU; raise if one is no class from 0.

    Args:
        name: the argument, for messages.
        labels: the labels; a tensor may hold whole numbers.
        most: the number of classes; None for any.
        whole: whether an array may hold whole numbers, too.

    >>> class_numbers("labels", [[0, 1], [1, 0]]).tolist(), class_numbers("labels", [1, 0], 2).tolist()
    ([1, 0], [1, 0])
    """
    given = to_numpy(unread(labels))
    if given.ndim == 2:
        if not is_one_hot(given):
            raise ValueError(f"{name} (N, classes) must hold one 1 a sample and 0 elsewhere")
        given = given.argmax(axis=1)
    if given.dtype.kind == "f" and (whole or isinstance(labels, Tensor)):
        wrong = given[given != np.floor(given)]
        if wrong.size:
            raise TypeError(f"{name} must be integers, got {wrong[0]:g}")
    elif given.size and given.dtype.kind not in "biu":
        hint = f"; {name}.astype(int) converts them" if given.dtype.kind == "f" else ""
        raise TypeError(f"{name} must be integers, got {given.dtype}{hint}")
    places = np.flatnonzero(given < 0 if most is None else (given < 0) | (given >= most))
    if places.size:
        rule = "must not be negative" if most is None else f"is none of {most} classes"
        raise ValueError(f"label {int(given[places[0]])} of sample {places[0]} {rule}")
    return given.astype(np.int64, copy=False)
