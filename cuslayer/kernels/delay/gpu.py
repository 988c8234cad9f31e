"""Launchers of `delay.cu`: trained delays, and delays between two steps."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, over_time, sizes

__all__ = ["shift_delay_adjoint", "shift_linear"]


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
