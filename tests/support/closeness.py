"""How results of two devices are compared: to the bit, or to the rounding of their type."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, np.dtype[Any]]"

# A gradient of u that rounds to less than 1.4e-20 on one device only is 0 there; times the largest sum of a response
# (1600) drawn here.
FLOOR = {"float32": 3e-17, "float64": 0.0}
CLOSE = {"float32": 1e-6, "float64": 1e-12}


def same_bits(ours: Array, theirs: Array) -> None:
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_array_equal(ours, theirs)
    assert ours.tobytes() == theirs.tobytes()


def norm(x: Array) -> float:
    return float(np.linalg.norm(x.astype(np.float64)))


def close(
    ours: Array, theirs: Array, relative: float | None = None, *, least: float = 0, double: Array | None = None
) -> None:
    """Hold the error against the norm of the result, or `least` where sums cancel to less than that.

    `double` is the result in float64: where gradients grow from step to step, rounding does too, and four times theirs
    is allowed besides.
    """
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    name = theirs.dtype.name
    bound = (CLOSE[name] if relative is None else relative) * max(norm(theirs), least)
    rounding = 0 if double is None else 4 * norm(theirs - double)
    assert norm(ours - theirs) <= bound + rounding + FLOOR[name] * math.sqrt(theirs.size)
