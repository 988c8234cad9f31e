"""Delays on the CPU: twins of `delay.cu`."""

from __future__ import annotations

import numpy as np

from cuslayer._base.jit import compiled
from cuslayer._base.parallel import GRAIN, columns, parallel_for
from cuslayer.backend import Array
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import copy, scratch, scratch_rows
from cuslayer.kernels.host.spike_words import WORD, read_words, wide_of, words_memory
from cuslayer.kernels.time.delay.delayed import (
    begin_block,
    delayed_line,
    delayed_row,
    limits,
    shifts_of,
    stages_of,
    store_step,
)
from cuslayer.kernels.time.delay.steps import whole_steps


def delay_steps(delay: Array, shape: tuple[int, ...], dt: float, limit: int) -> tuple[Array, Array]:
    """Return the whole steps of a delay for each column, (columns,) int64, and the rest in steps, (columns,) float64.

    See `whole_steps`. The steps are clipped to ``-limit .. limit``.

    Args:
        delay: ms, float32 or float64; its shape broadcasts to the columns' shape, and is a last part of it.
        shape: the shape of the columns.
        dt: the step, ms.
        limit: steps.
    """
    whole, fraction = whole_steps(delay, dt)
    steps = whole.clip(-limit, limit)
    return np.broadcast_to(steps, shape).flatten(), np.broadcast_to(fraction, shape).flatten()


@compiled
def _shift(first: int, last: int, x: Array, delay: Array, y: Array) -> None:
    steps = x.shape[0]
    least, turn = limits(delay[first:last], steps)
    memory, width = stages_of(turn, last - first, x)
    row = scratch(width, x)
    for low in range(first, last, width):
        high = min(low + width, last)
        for t in range(begin_block(memory, delay[low:high], steps, least), steps):
            delayed_row(row, memory, x, t, least, low, high)
            if t >= 0:
                copy(y[t, low:high], row[: high - low])


def shift(x: Array, delay: Array) -> Array:
    """Delay the columns of x (T, ...) by whole steps, delay (columns,) int64: ``y[t, m] = x[t - delay[m], m]``."""
    y = empty(x.shape, x.dtype)
    flat = np.ascontiguousarray(columns(x))
    parallel_for(_shift, flat.shape[1], flat, delay, columns(y), grain=GRAIN)
    return y


@compiled
def _shift_spikes(first: int, last: int, x: Array, delay: Array, y: Array) -> None:
    steps = x.shape[0]
    wide = wide_of(x.shape[0], last - first)
    words = words_memory(steps, wide)
    line = np.empty(wide, np.uint64)
    row = np.empty(wide, np.uint8)
    for low in range(first, last, wide):
        high = min(low + wide, last)
        read_words(words, x, low, high)
        back, right = shifts_of(delay[low:high], steps, wide)
        for begin in range(0, steps, WORD):
            delayed_line(line, words, begin, back, right)
            for i in range(min(WORD, steps - begin)):
                store_step(row, line, i)
                copy(y[begin + i, low:high], row[: high - low])


def shift_spikes(x: Array, delay: Array) -> Array:
    """Delay the columns of spikes x (T, ...), booleans, as `shift` does."""
    y = empty(x.shape, bool)
    flat = columns(x.view(np.uint8))
    parallel_for(_shift_spikes, flat.shape[1], flat, delay, columns(y.view(np.uint8)), grain=GRAIN)
    return y


@compiled
def _shift_linear(first: int, last: int, x: Array, delay: Array, near: Array, far: Array, y: Array) -> None:
    steps = x.shape[0]
    least, turn = limits(delay[first:last], steps)
    memory, width = stages_of(turn, last - first, x)
    rows = scratch_rows(2, width, x)
    for low in range(first, last, width):
        size = min(width, last - low)
        weight = near[low : low + size]
        weight_before = far[low : low + size]
        rows[:] = 0
        for t in range(begin_block(memory, delay[low : low + size], steps, least), steps):
            current = rows[t % 2]
            before = rows[1 - t % 2]
            delayed_row(current, memory, x, t, least, low, low + size)
            if t >= 0:
                out = y[t, low : low + size]
                for j in range(size):
                    out[j] = weight[j] * current[j] + weight_before[j] * before[j]


def shift_linear(x: Array, delay: Array, near: Array, far: Array) -> Array:
    """Interpolate between two steps: ``y[t, m] = near[m] x[t - delay[m], m] + far[m] x[t - delay[m] - 1, m]``.

    x is (T, ...); delay, int64, near and far, in x's type, are (columns,). The adjoint is the same function with
    ``-delay - 1`` as the delay, and near and far exchanged.
    """
    y = empty(x.shape, x.dtype)
    flat = np.ascontiguousarray(columns(x))
    parallel_for(_shift_linear, delay.size, flat, delay, near, far, columns(y), grain=GRAIN)
    return y


@compiled
def _shift_delay_adjoint(first: int, last: int, g: Array, x: Array, delay: Array, y: Array) -> None:
    steps = g.shape[0]
    least, turn = limits(delay[first:last], steps)
    memory, width = stages_of(turn, last - first, g)
    rows = scratch_rows(2, width, g)
    for low in range(first, last, width):
        size = min(width, last - low)
        sums = y[low : low + size]
        sums[:] = 0
        rows[:] = 0
        for t in range(begin_block(memory, delay[low : low + size], steps, least), steps):
            current = rows[t % 2]
            before = rows[1 - t % 2]
            delayed_row(current, memory, x, t, least, low, low + size)
            if t >= 0:
                error = g[t, low : low + size]
                for j in range(size):
                    sums[j] += error[j] * (before[j] - current[j])


@compiled
def _shift_delay_adjoint_of_spikes(first: int, last: int, g: Array, x: Array, delay: Array, y: Array) -> None:
    steps = g.shape[0]
    wide = wide_of(g.shape[0], last - first)
    words = words_memory(steps, wide)
    line = np.empty(wide, np.uint64)
    rows = np.empty((2, wide), np.uint8)
    for low in range(first, last, wide):
        high = min(low + wide, last)
        read_words(words, x, low, high)
        back, right = shifts_of(delay[low:high], steps, wide)
        sums = y[low:high]
        sums[:] = 0
        for begin in range(-WORD, steps, WORD):
            delayed_line(line, words, begin, back, right)
            for i in range(max(-1 - begin, 0), min(WORD, steps - begin)):
                current = rows[i % 2]
                before = rows[1 - i % 2]
                store_step(current, line, i)
                if begin + i >= 0:
                    _add_changes(sums, g[begin + i, low:high], before.view(np.int8), current.view(np.int8))


@compiled
def _add_changes(sums: Array, error: Array, before: Array, current: Array) -> None:
    """Add to sums the products of errors and the changes from one row of spikes to another."""
    for j in range(sums.size):
        sums[j] += error[j] * sums.dtype.type(before[j] - current[j])


def shift_delay_adjoint(g: Array, x: Array, delay: Array) -> Array:
    """Return ``y[m] = sum_t g[t, m] (x[t - delay[m] - 1, m] - x[t - delay[m], m])``, (columns,), in g's type.

    g is (T, ...), x spikes or numbers of its shape, delay (columns,) int64. It is the gradient of a delay, in steps.
    """
    y = np.empty(columns(g).shape[1], g.dtype)
    if x.dtype == bool:
        of_bytes = columns(x.view(np.uint8))
        parallel_for(_shift_delay_adjoint_of_spikes, y.size, columns(g), of_bytes, delay, y, grain=GRAIN)
    else:
        numbers = np.ascontiguousarray(columns(x), g.dtype)
        parallel_for(_shift_delay_adjoint, y.size, columns(g), numbers, delay, y, grain=GRAIN)
    return y
