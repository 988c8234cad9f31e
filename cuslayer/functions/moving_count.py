"""Spikes counted over a moving window of time."""

from __future__ import annotations

from cuslayer import check
from cuslayer.backend import Array, namespace
from cuslayer.tape import Pullback, differentiable


@differentiable
def moving_count(x: Array, /, *, window: int) -> tuple[Array, Pullback]:
    """Sum each column of x over the last steps: ``c[t] = sum_{k < window} x[t-k]``, with nothing before step 0.

    It costs the same whatever the window is: the difference of two running sums, in integers for spikes and in
    float64 for numbers. Backward is ``g_x[t] = sum_{k < window} g_c[t+k]``.

    Args:
        x: (T, N, ...), spikes or numbers.
        window: its length in steps.

    Returns:
        The counts, of x's shape.

    Raises:
        ValueError: x is not (T, N, ...), or the window is under a step.
        TypeError: window is no integer.

    >>> import numpy as np
    >>> moving_count(np.array([[[True]], [[True]], [[True]], [[False]]]), window=2).data.ravel().tolist()
    [1.0, 2.0, 2.0, 1.0]
    """
    check.time_first("moving_count", "x", x)
    window = check.integer("moving_count", "window", window, least=1)
    return _over_last(x, window), lambda g: namespace(g).ascontiguousarray(_over_last(g[::-1], window)[::-1])


def _over_last(x: Array, window: int) -> Array:
    spikes = x.dtype == bool
    count = x.cumsum(axis=0, dtype="int64" if spikes else "float64")
    # A copy: what is subtracted is also subtracted from.
    count[window:] -= count[:-window].copy()
    return count.astype("float32" if spikes else x.dtype)
