"""Trained delays on the CPU: twins of `delay.cu`."""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import GRAIN, columns, compiled, parallel_for
from cuslayer.kernels.delay.steps import whole_steps
from cuslayer.kernels.host.delayed import lags_of, limits, next_chunk, table_of
from cuslayer.kernels.host.memory import empty


def delay_steps(delay: Array, shape: tuple[int, ...], dt: float, limit: int) -> tuple[Array, Array]:
    """Return the whole steps of a delay for each column, (columns,) int64, and the rest in steps, (columns,) float64.

    See `whole_steps`. The steps are clipped to ``-limit .. limit``.

    Args:
        delay: ms, float32 or float64, of a shape that broadcasts to that of the columns, and is a last part of it.
        shape: the shape of the columns.
        dt: the step, ms.
        limit: steps.
    """
    whole, fraction = whole_steps(delay, dt)
    steps = whole.clip(-limit, limit)
    return np.broadcast_to(steps, shape).ravel(), np.broadcast_to(fraction, shape).ravel()


@compiled
def _shift_linear(first: int, last: int, x: Any, delay: Any, near: Any, far: Any, y: Any) -> None:
    steps = x.shape[0]
    least, turn = limits(delay[first:last], steps)
    memory, chunk, width = table_of(turn, x)
    table = memory[0]
    for low in range(first, last, width):
        size = min(width, last - low)
        lags = lags_of(delay[low : low + size], steps, least)
        weight, other = near[low : low + size], far[low : low + size]
        for t in range(-chunk, steps, chunk):
            next_chunk(memory, turn, x, t, least, low, low + size, lags)
            for k in range(min(chunk, steps - t) if t >= 0 else 0):
                now, before, out = table[1 + k, :size], table[k, :size], y[t + k, low : low + size]
                for j in range(size):
                    out[j] = weight[j] * now[j] + other[j] * before[j]


def shift_linear(x: Array, delay: Array, near: Array, far: Array) -> Array:
    """Interpolate between two steps: ``y[t, m] = near[m] x[t - delay[m], m] + far[m] x[t - delay[m] - 1, m]``.

    x is (T, ...); delay, int64, near and far, in x's type, are (columns,). The adjoint is the same function with
    ``-delay - 1`` as the delay, and near and far exchanged.
    """
    y = empty(x.shape, x.dtype)
    parallel_for(_shift_linear, columns(x).shape[1], columns(x), delay, near, far, columns(y), grain=GRAIN)
    return y


@compiled
def _shift_delay_adjoint(first: int, last: int, g: Any, x: Any, delay: Any, y: Any) -> None:
    steps = g.shape[0]
    least, turn = limits(delay[first:last], steps)
    memory, chunk, width = table_of(turn, g)
    table = memory[0]
    for low in range(first, last, width):
        size = min(width, last - low)
        lags = lags_of(delay[low : low + size], steps, least)
        sums = y[low : low + size]
        sums[:] = 0
        for t in range(-chunk, steps, chunk):
            next_chunk(memory, turn, x, t, least, low, low + size, lags)
            for k in range(min(chunk, steps - t) if t >= 0 else 0):
                now, before, error = table[1 + k, :size], table[k, :size], g[t + k, low : low + size]
                for j in range(size):
                    sums[j] += error[j] * (before[j] - now[j])


def shift_delay_adjoint(g: Array, x: Array, delay: Array) -> Array:
    """Return ``y[m] = sum_t g[t, m] (x[t - delay[m] - 1, m] - x[t - delay[m], m])``, (columns,), in g's type.

    g is (T, ...), x spikes or numbers of its shape, delay (columns,) int64. It is the gradient of a delay, in steps.
    """
    y = np.empty(columns(g).shape[1], g.dtype)
    parallel_for(_shift_delay_adjoint, y.size, columns(g), columns(x), delay, y, grain=GRAIN)
    return y
