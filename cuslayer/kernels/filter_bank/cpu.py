"""Filter banks in time on the CPU: twins of `filter_bank`, `filter_bank_adjoint` and `filter_bank_weight_adjoint`.

Terms are added in the order of the formulas. Where inputs are mostly 0, as spikes are, the others are visited one by
one; the bits are the same.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import columns, compiled, parallel_for
from cuslayer.kernels.filter_bank.direct import WIDE, filter_columns, take, tiles
from cuslayer.kernels.filter_bank.events import chunk_of, columns_memory, is_busy, scatter_columns
from cuslayer.kernels.filter_bank.registers import MOST_VECTORS, add_products
from cuslayer.kernels.host.bits import trailing_zeros
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.simd import load_bits
from cuslayer.kernels.host.tiles import LANES, copy, scratch, transpose
from cuslayer.kernels.host.vectors import REGISTER_BYTES

# The least number of columns of a part that one thread computes.
_GRAIN = 128


@compiled
def _output_columns(low: int, high: int, i: int, channels: int, filters: int) -> Any:
    """Return the output columns of filter i for the input columns [low, high)."""
    found = np.empty(high - low, np.int64)
    for m in range(low, high):
        found[m - low] = (m // channels * filters + i) * channels + m % channels
    return found


@compiled
def _filter_bank(first: int, last: int, x: Any, w: Any, y: Any, channels: int) -> None:
    filters, taps = w.shape
    reach = min(taps, x.shape[0])
    of_tiles, of_columns = tiles(reach, w), columns_memory(reach, w)
    for low in range(first, last, WIDE):
        high = min(low + WIDE, last)
        sources = _output_columns(low, high, 0, channels, 1)
        busy = is_busy(x, low, high)
        for i in range(filters):
            targets = _output_columns(low, high, i, channels, filters)
            if busy:
                filter_columns(x, sources, w[i], y, targets, False, False, of_tiles)
            else:
                scatter_columns(x, low, high, w[i], y, targets, of_columns)


def forward(x: Array, w: Array) -> Array:
    """Filter each column of x (T, ..., C), spikes or numbers, by each of the filters w (F, K), into (T, ..., F C).

    ``y[t, ..., i C + c] = sum_k w[i, k] x[t-k, ..., c]``.
    """
    y = empty((*x.shape[:-1], len(w) * x.shape[-1]), w.dtype)
    flat = columns(_numbers(x))
    parallel_for(_filter_bank, flat.shape[1], flat, w, columns(y), x.shape[-1], grain=_GRAIN)
    return y


def _numbers(x: Array) -> Array:
    """Return booleans as integers, which a loop over several of them needs to be SIMD."""
    return x.view(np.uint8) if x.dtype == bool else x


@compiled
def _filter_bank_adjoint(first: int, last: int, g: Any, w: Any, y: Any, channels: int) -> None:
    filters, taps = w.shape
    memory = tiles(min(taps, g.shape[0]), g)
    for low in range(first, last, WIDE):
        high = min(low + WIDE, last)
        targets = _output_columns(low, high, 0, channels, 1)
        for i in range(filters):
            sources = _output_columns(low, high, i, channels, filters)
            filter_columns(g, sources, w[i], y, targets, True, i > 0, memory)


def adjoint(g: Array, w: Array) -> Array:
    """Return ``y[t, ..., c] = sum_i sum_k w[i, k] g[t+k, ..., i C + c]``, (T, ..., C), of g (T, ..., F C), w (F, K)."""
    return adjoint_into(empty((*g.shape[:-1], g.shape[-1] // len(w)), g.dtype), g, w)


def adjoint_into(y: Array, g: Array, w: Array) -> Array:
    """Write `adjoint` to y and return it; where there is one filter, y may be g."""
    parallel_for(_filter_bank_adjoint, columns(y).shape[1], columns(g), w, columns(y), y.shape[-1], grain=_GRAIN)
    return y


@compiled
def _filter_bank_weight_adjoint(first: int, last: int, x: Any, g: Any, parts: Any, channels: int) -> None:
    """A part is the sum over WIDE columns: its bits do not depend on the number of cores."""
    steps, wide = x.shape
    filters, taps = parts.shape[1:]
    count = min(taps, steps)
    chunk = chunk_of(count)
    # The errors of a chunk of steps and of those that the filter reaches from there.
    length = 2 * chunk
    errors, rows = scratch(WIDE * length, g), scratch(LANES * WIDE, g)
    values, totals = np.empty((WIDE, chunk), g.dtype), scratch(chunk, g)
    which, found = np.empty((WIDE, chunk), np.int32), np.empty(WIDE, np.int64)
    one, marks = np.uint64(1), np.zeros(WIDE, np.uint8)
    lanes = REGISTER_BYTES // g.itemsize
    vectors = chunk // lanes
    for part in range(first, last):
        parts[part] = 0
        low, high = part * WIDE, min((part + 1) * WIDE, wide)
        marks[:] = 0
        for i in range(filters):
            sources = _output_columns(low, high, i, channels, filters)
            totals[:] = 0
            for begin in range(0, steps, chunk):
                if begin:
                    for j in range(sources.size):
                        column = errors[j * length : (j + 1) * length]
                        copy(column[:chunk], column[chunk:])
                for n in range(chunk if begin else 0, length, LANES):
                    for t in range(begin + n, begin + n + LANES):
                        row = rows[(t - begin - n) * WIDE :]
                        if t < steps:
                            take(row, g, t, sources)
                        else:
                            row[: sources.size] = 0
                    for j in range(0, sources.size, LANES):
                        transpose(errors, j * length + n, length, rows, j, WIDE)
                found[:] = 0
                for s in range(begin, min(begin + chunk, steps)):
                    inputs = x[s, low:high]
                    for j in range(inputs.size):
                        marks[j] = inputs[j] != 0
                    for n in range(0, inputs.size, 64):
                        word = load_bits(marks, n)
                        while word:
                            j = n + trailing_zeros(word)
                            word &= word - one
                            which[j, found[j]] = s - begin
                            values[j, s - begin] = inputs[j]
                            found[j] += 1
                # A sum of its own for each column: longer ones would lose digits.
                for j in range(sources.size):
                    for v in range(0, vectors, MOST_VECTORS):
                        at, count_of = j * length + v * lanes, min(MOST_VECTORS, vectors - v)
                        add_products(totals, v * lanes, which[j], found[j], values[j], errors, at, count_of)
            parts[part, i, :count] = totals[:count]


def weight_adjoint(x: Array, g: Array, shape: tuple[int, int]) -> Array:
    """Return the gradient of the taps, ``g_w[i, k] = sum g[t, ..., i C + c] x[t-k, ..., c]``, of a shape (F, K).

    x is (T, ..., C), spikes or numbers, g (T, ..., F C).
    """
    flat = columns(_numbers(x))
    parts = np.empty((math.ceil(flat.shape[1] / WIDE), *shape), g.dtype)
    parallel_for(_filter_bank_weight_adjoint, len(parts), flat, columns(g), parts, x.shape[-1], grain=1)
    return parts.sum(axis=0)
