"""What a decision takes from an output over time: its sum, mean or maximum, or its last step."""

from __future__ import annotations

from typing import Any

from cuslayer import check
from cuslayer.backend import Array
from cuslayer.tape import Tensor

# "every" is a loss at every step; its decision is that of the mean.
OVER = ("sum", "mean", "max", "last", "every")


def check_over(over: Any) -> str:
    """Return a name of `OVER`; raise ValueError if it is none."""
    return check.one_of("over", over, OVER)


def over_time(y: Any, over: str) -> Any:
    """Return the sum, mean or maximum of y (T, N, classes) over time, or its last step, (N, classes).

    >>> import numpy as np
    >>> y = np.array([[[1.0, 5.0]], [[3.0, 0.0]]])
    >>> [over_time(y, over).tolist() for over in ("sum", "max", "last")]
    [[[4.0, 5.0]], [[3.0, 5.0]], [[3.0, 0.0]]]
    """
    if over == "last":
        return y[len(y) - 1]
    if over == "sum":
        return y.sum(axis=0)
    return y.max(axis=0) if over == "max" else y.sum(axis=0) / len(y)


def scored_read_out(output: Tensor, over: str, first: int, last: int) -> Array:
    """Return the read-out of steps ``first .. last - 1`` as an output of one step, (1, N, classes), for a score."""
    read: Array = over_time(output.data[first:last], over)[None]
    return read
