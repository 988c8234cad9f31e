"""Filter banks in time on the CPU: twins of `filter_bank`, `filter_bank_adjoint` and `filter_bank_weight_adjoint`.

A few neighbouring columns at a time are transposed, so that the inner loops run over contiguous steps, or over taps,
which the compiler turns into SIMD. Terms are added in the order of the formulas. Inputs of 0 are skipped, as most are
if they are spikes; the bits are the same.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer.backend import Array
from cuslayer.jit import columns, compiled, parallel_for
from cuslayer.kernels.host.memory import empty

# Columns that are transposed together: a cache line of float32.
_LANES = 16
# Columns of a partial sum of the taps' gradient: fixed, so that its bits do not depend on the number of cores.
_PART = 128


@compiled
def _output_columns(low: int, high: int, i: int, channels: int, filters: int) -> Any:
    """Return the output columns of filter i for the input columns [low, high)."""
    found = np.empty(high - low, np.uintp)
    for m in range(low, high):
        found[m - low] = (m // channels * filters + i) * channels + m % channels
    return found


@compiled
def _transpose(rows: Any, begin: int, x: Any, places: Any) -> None:
    """Write the columns `places` of x to rows, from `begin` on."""
    for t in range(x.shape[0]):
        for j in range(places.size):
            rows[j, begin + t] = x[t, places[j]]


@compiled
def _transpose_back(y: Any, places: Any, rows: Any) -> None:
    """Write rows to the columns `places` of y."""
    for t in range(y.shape[0]):
        for j in range(places.size):
            y[t, places[j]] = rows[j, t]


@compiled
def _add_products(out: Any, which: Any, factors: Any, row: Any, start: int, step: int) -> None:
    """Add to each ``out[j]`` the products ``factors[n] row[start + step n + j]``, for each n of `which` in order."""
    size = out.size
    e = 0
    # Four products at a time: the sums are loaded and stored once for all four.
    while e + 4 <= which.size:
        n0, n1, n2, n3 = which[e], which[e + 1], which[e + 2], which[e + 3]
        f0, f1, f2, f3 = factors[n0], factors[n1], factors[n2], factors[n3]
        a, b = row[start + step * n0 :][:size], row[start + step * n1 :][:size]
        c, d = row[start + step * n2 :][:size], row[start + step * n3 :][:size]
        for j in range(size):
            out[j] = (((out[j] + f0 * a[j]) + f1 * b[j]) + f2 * c[j]) + f3 * d[j]
        e += 4
    while e < which.size:
        f0, a = factors[which[e]], row[start + step * which[e] :][:size]
        for j in range(size):
            out[j] += f0 * a[j]
        e += 1


@compiled
def _filter_bank(first: int, last: int, x: Any, w: Any, y: Any, channels: int) -> None:
    steps = x.shape[0]
    filters, taps = w.shape
    every = np.arange(taps)
    inputs = np.zeros((_LANES, taps + steps), w.dtype)
    sums = np.empty((_LANES, steps + taps), w.dtype)
    for low in range(first, last, _LANES):
        high = min(low + _LANES, last)
        _transpose(inputs, taps, x, _output_columns(low, high, 0, channels, 1))
        for i in range(filters):
            sums[:] = 0
            for j in range(high - low):
                fired = np.flatnonzero(inputs[j, taps:])
                if 8 * fired.size > steps:
                    _add_products(sums[j, :steps], every, w[i], inputs[j], taps, -1)
                else:
                    # In falling order: each sum begins with tap 0.
                    for e in range(fired.size - 1, -1, -1):
                        s = fired[e]
                        value, run = inputs[j, taps + s], sums[j, s : s + taps]
                        for k in range(taps):
                            run[k] += value * w[i, k]
            _transpose_back(y, _output_columns(low, high, i, channels, filters), sums)


def forward(x: Array, w: Array) -> Array:
    """Filter each column of x (T, ..., C), spikes or numbers, by each of the filters w (F, K), into (T, ..., F C).

    ``y[t, ..., i C + c] = sum_k w[i, k] x[t-k, ..., c]``.
    """
    y = empty((*x.shape[:-1], len(w) * x.shape[-1]), w.dtype)
    parallel_for(_filter_bank, columns(x).shape[1], columns(x), w, columns(y), x.shape[-1], grain=_PART)
    return y


@compiled
def _filter_bank_adjoint(first: int, last: int, g: Any, w: Any, y: Any, channels: int) -> None:
    steps = g.shape[0]
    filters, taps = w.shape
    every = np.arange(taps)
    errors = np.zeros((_LANES, steps + taps), g.dtype)
    sums = np.empty((_LANES, steps), g.dtype)
    for low in range(first, last, _LANES):
        high = min(low + _LANES, last)
        sums[:] = 0
        for i in range(filters):
            _transpose(errors, 0, g, _output_columns(low, high, i, channels, filters))
            for j in range(high - low):
                _add_products(sums[j], every, w[i], errors[j], 0, 1)
        _transpose_back(y, _output_columns(low, high, 0, channels, 1), sums)


def adjoint(g: Array, w: Array) -> Array:
    """Return ``y[t, ..., c] = sum_i sum_k w[i, k] g[t+k, ..., i C + c]``, (T, ..., C), of g (T, ..., F C), w (F, K)."""
    y = empty((*g.shape[:-1], g.shape[-1] // len(w)), g.dtype)
    parallel_for(_filter_bank_adjoint, columns(y).shape[1], columns(g), w, columns(y), y.shape[-1], grain=_PART)
    return y


@compiled
def _filter_bank_weight_adjoint(first: int, last: int, x: Any, g: Any, parts: Any, channels: int) -> None:
    steps, wide = x.shape
    filters, taps = parts.shape[1:]
    inputs = np.empty((_LANES, steps), g.dtype)
    errors = np.zeros((_LANES, steps + taps), g.dtype)
    sums = np.empty(taps, g.dtype)
    for part in range(first, last):
        parts[part] = 0
        end = min((part + 1) * _PART, wide)
        for low in range(part * _PART, end, _LANES):
            high = min(low + _LANES, end)
            _transpose(inputs, 0, x, _output_columns(low, high, 0, channels, 1))
            for i in range(filters):
                _transpose(errors, 0, g, _output_columns(low, high, i, channels, filters))
                for j in range(high - low):
                    sums[:] = 0
                    _add_products(sums, np.flatnonzero(inputs[j]), inputs[j], errors[j], 0, 1)
                    for k in range(taps):
                        parts[part, i, k] += sums[k]


def weight_adjoint(x: Array, g: Array, shape: tuple[int, int]) -> Array:
    """Return the gradient of the taps, ``g_w[i, k] = sum g[t, ..., i C + c] x[t-k, ..., c]``, of a shape (F, K).

    x is (T, ..., C), spikes or numbers, g (T, ..., F C).
    """
    parts = np.empty((math.ceil(columns(x).shape[1] / _PART), *shape), g.dtype)
    parallel_for(_filter_bank_weight_adjoint, len(parts), columns(x), columns(g), parts, x.shape[-1], grain=1)
    return parts.sum(axis=0)
