"""Launchers of `delay.cu`: delays by whole steps and between two steps, and their gradients."""

from __future__ import annotations

import math

import numpy as np

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, over_time
from cuslayer.kernels.time.delay.steps import tolerance

__all__ = ["delay_steps", "shift", "shift_delay_adjoint", "shift_linear", "shift_spikes"]


def delay_steps(delay: Array, shape: tuple[int, ...], dt: float, limit: int) -> tuple[Array, Array]:
    """Return the whole steps of a delay for each column, and the rest in steps; see the twin in `cpu.py`."""
    columns = math.prod(shape)
    steps = empty(delay, (columns,), np.int64)
    fraction = empty(delay, (columns,), np.float64)
    kernel("delay_steps", delay.dtype)(
        columns,
        delay=contiguous(delay),
        steps=steps,
        fraction=fraction,
        limit=limit,
        dt=dt,
        tolerance=tolerance(delay.dtype),
    )
    return steps, fraction


def shift(x: Array, delay: Array) -> Array:
    """Delay the columns of x (T, ...) by whole steps, delay (columns,) int64: ``y[t, m] = x[t - delay[m], m]``."""
    return over_time("shift", x, tiled=True, x=contiguous(x), delay=contiguous(delay))


def shift_spikes(x: Array, delay: Array) -> Array:
    """Delay the columns of the spikes x (T, ...); see `shift`."""
    return over_time("shift_spikes", x, tiled=True, x=contiguous(x), delay=contiguous(delay))


def shift_linear(x: Array, delay: Array, near: Array, far: Array) -> Array:
    """Interpolate x (T, ...) between two steps, for a delay of each column; see the twin in `cpu.py`."""
    weights = {"near": contiguous(near), "far": contiguous(far)}
    return over_time("shift_linear", x, tiled=True, x=contiguous(x), delay=contiguous(delay), **weights)


def shift_delay_adjoint(g: Array, x: Array, delay: Array) -> Array:
    """Return the gradient (columns,) of a delay, in steps; see the twin in `cpu.py`."""
    columns = math.prod(g.shape[1:])
    x = contiguous(x.astype(g.dtype, copy=False))
    y = empty(g, (columns,), g.dtype)
    kernel("shift_delay_adjoint", g.dtype)(columns, g=contiguous(g), x=x, delay=contiguous(delay), y=y)
    return y
