"""Launchers of `delay.cu`: trained delays, and delays between two steps."""

from __future__ import annotations

import math

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, over_time, sizes
from cuslayer.kernels.delay.steps import tolerance

__all__ = ["delay_steps", "shift_delay_adjoint", "shift_linear"]


def delay_steps(delay: Array, shape: tuple[int, ...], dt: float, limit: int) -> tuple[Array, Array]:
    """Return the whole steps of a delay for each column, (columns,) int64, and the rest in steps, (columns,) float64.

    See `whole_steps`. The steps are clipped to ``-limit .. limit``.

    Args:
        delay: ms, float32 or float64; its shape broadcasts to the columns' shape, and is a last part of it.
        shape: the shape of the columns.
        dt: the step, ms.
        limit: steps.
    """
    columns = math.prod(shape)
    steps, fraction = empty(delay, (columns,), np.int64), empty(delay, (columns,), np.float64)
    kernel("delay_steps", delay.dtype)(
        columns,
        delay=contiguous(delay),
        steps=steps,
        fraction=fraction,
        size=delay.size,
        columns=columns,
        limit=limit,
        dt=dt,
        tolerance=tolerance(delay.dtype),
    )
    return steps, fraction


def shift_linear(x: Array, delay: Array, near: Array, far: Array) -> Array:
    """Interpolate between two steps: ``y[t, m] = near[m] x[t - delay[m], m] + far[m] x[t - delay[m] - 1, m]``.

    x is (T, ...); delay, int64, near and far, in x's type, are (columns,). The adjoint is the same function with
    ``-delay - 1`` as the delay, and near and far exchanged.
    """
    weights = {"near": contiguous(near), "far": contiguous(far)}
    return over_time("shift_linear", x, tiled=True, x=contiguous(x), delay=contiguous(delay), **weights)


def shift_delay_adjoint(g: Array, x: Array, delay: Array) -> Array:
    """Return ``y[m] = sum_t g[t, m] (x[t - delay[m] - 1, m] - x[t - delay[m], m])``, (columns,), in g's type.

    g is (T, ...), x spikes or numbers of its shape, delay (columns,) int64. It is the gradient of a delay, in steps.
    """
    steps, columns = sizes(g)
    x, delay, y = contiguous(x.astype(g.dtype, copy=False)), contiguous(delay), empty(g, (columns,), g.dtype)
    kernel("shift_delay_adjoint", g.dtype)(
        columns, g=contiguous(g), x=x, delay=delay, y=y, steps=steps, columns=columns
    )
    return y
