"""Filters in time on the CPU: twins of `response.cu`.

Columns are handled in blocks; see `cuslayer/_base/jit.py`.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from cuslayer._base.jit import GRAIN, columns, compiled, parallel_for
from cuslayer.backend import Array, numeric_type
from cuslayer.kernels.constants import flushed_taps
from cuslayer.kernels.delay.delayed import (
    begin_block,
    delayed_line,
    delayed_row,
    limits,
    shifts_of,
    stages_of,
    store_step,
)
from cuslayer.kernels.filter_bank import cpu as bank
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import copy, scratch
from cuslayer.kernels.host.spike_words import WORD, read_words, wide_of, words_memory


def fir(x: Array, taps: Array) -> Array:
    """Filter each column of x (T, ...) by the direct sum ``a[t] = sum_k taps[k] x[t-k]``, taps (K,)."""
    filters = flushed_taps(taps, numeric_type(x.dtype))[None]
    return bank.forward(columns(x), filters).reshape(x.shape)


def fir_adjoint(g: Array, taps: Array) -> Array:
    """Correlate each column of g (T, ...) with the taps (K,): ``y[t] = sum_k taps[k] g[t+k]``."""
    return bank.adjoint(columns(g), flushed_taps(taps, g.dtype)[None]).reshape(g.shape)


@compiled
def _shift(first: int, last: int, x: Any, delay: Any, y: Any) -> None:
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
def _shift_spikes(first: int, last: int, x: Any, delay: Any, y: Any) -> None:
    steps, wide = x.shape[0], wide_of(x.shape[0], last - first)
    words = words_memory(steps, wide)
    line, row = np.empty(wide, np.uint64), np.empty(wide, np.uint8)
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
    arrays = columns(x.view(np.uint8)), delay, columns(y.view(np.uint8))
    parallel_for(_shift_spikes, arrays[0].shape[1], *arrays, grain=GRAIN)
    return y
