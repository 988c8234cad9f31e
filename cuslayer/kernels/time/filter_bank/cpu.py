"""Filter banks in time on the CPU: twins of `filter_bank`, `filter_bank_adjoint` and `filter_bank_weight_adjoint`.

They add terms in the order of the formulas. The gradient of the taps visits only the inputs that are not 0.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from cuslayer._base.jit import compiled
from cuslayer._base.parallel import GRAIN, columns, parallel_for
from cuslayer.backend import Array, numeric_type
from cuslayer.kernels.constants import flushed_taps
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import LANES, copy, scratch, transpose
from cuslayer.kernels.host.spike_words import count_spikes, list_spikes, place_of, read_words, whole_words, words_memory
from cuslayer.kernels.host.vectors import RUN_BYTES, add_products
from cuslayer.kernels.time.filter_bank.direct import WIDE, filter_columns, take, tiles

# The least steps of a chunk of the taps' gradient.
_CHUNK = 64


@compiled
def _output_columns(low: int, high: int, i: int, channels: int, filters: int) -> Array:
    """Return the output columns of filter i for the input columns [low, high)."""
    targets = np.empty(high - low, np.int64)
    for m in range(low, high):
        targets[m - low] = (m // channels * filters + i) * channels + m % channels
    return targets


@compiled
def _filter_bank(first: int, last: int, x: Array, w: Array, y: Array, channels: int) -> None:
    filters, taps = w.shape
    memory = tiles(min(taps, x.shape[0]), w)
    # Literals would compile `filter_columns` once more, after the adjoint.
    no: Any = np.bool_(False)
    for low in range(first, last, WIDE):
        high = min(low + WIDE, last)
        sources = _output_columns(low, high, 0, channels, 1)
        for i in range(filters):
            targets = _output_columns(low, high, i, channels, filters)
            filter_columns(x, sources, w[i], y, targets, no, no, memory)


def forward(x: Array, w: Array) -> Array:
    """Filter each column of x (T, ..., C), spikes or numbers, by each of the filters w (F, K), into (T, ..., F C).

    ``y[t, ..., i C + c] = sum_k w[i, k] x[t-k, ..., c]``.
    """
    y = empty((*x.shape[:-1], len(w) * x.shape[-1]), w.dtype)
    flat = _numbers(x, w)
    parallel_for(_filter_bank, flat.shape[1], flat, w, columns(y), x.shape[-1], grain=GRAIN)
    return y


def fir(x: Array, taps: Array) -> Array:
    """Filter each column of x (T, ...) by one filter, the direct sum ``a[t] = sum_k taps[k] x[t-k]``, taps (K,)."""
    return forward(columns(x), flushed_taps(taps, numeric_type(x.dtype))[None]).reshape(x.shape)


def fir_adjoint(g: Array, taps: Array) -> Array:
    """Correlate each column of g (T, ...) with the taps (K,): ``y[t] = sum_k taps[k] g[t+k]``."""
    return adjoint(columns(g), flushed_taps(taps, g.dtype)[None]).reshape(g.shape)


def _numbers(x: Array, like: Array) -> Array:
    """Return x (T, ...) as a contiguous matrix of a type, or of bytes if it is booleans."""
    flat = np.ascontiguousarray(columns(x))
    return flat.view(np.uint8) if x.dtype == bool else flat.astype(like.dtype, copy=False)


@compiled
def _filter_bank_adjoint(first: int, last: int, g: Array, w: Array, y: Array, channels: int) -> None:
    filters, taps = w.shape
    memory = tiles(min(taps, g.shape[0]), g)
    yes: Any = np.bool_(True)
    for low in range(first, last, WIDE):
        high = min(low + WIDE, last)
        targets = _output_columns(low, high, 0, channels, 1)
        for i in range(filters):
            sources = _output_columns(low, high, i, channels, filters)
            filter_columns(g, sources, w[i], y, targets, yes, i > 0, memory)


def adjoint(g: Array, w: Array) -> Array:
    """Return ``y[t, ..., c] = sum_i sum_k w[i, k] g[t+k, ..., i C + c]``, (T, ..., C), of g (T, ..., F C), w (F, K)."""
    return adjoint_into(empty((*g.shape[:-1], g.shape[-1] // len(w)), g.dtype), g, w)


def adjoint_into(y: Array, g: Array, w: Array) -> Array:
    """Write `adjoint` to y and return it; with one filter, y may be g."""
    flat = np.ascontiguousarray(columns(g))
    target = columns(y)
    parallel_for(_filter_bank_adjoint, target.shape[1], flat, w, target, y.shape[-1], grain=GRAIN)
    return y


@compiled
def _filter_bank_weight_adjoint(first: int, last: int, x: Array, g: Array, parts: Array, channels: int) -> None:
    """A part is the sum over WIDE columns: its bits do not depend on the number of cores."""
    steps, wide = x.shape
    filters, taps = parts.shape[1:]
    count = min(taps, steps)
    chunk = max(_CHUNK, (count + LANES - 1) // LANES * LANES)
    # The errors of a chunk of steps and of the steps that the filter reaches from there.
    length = 2 * chunk
    errors = scratch(WIDE * length, g)
    rows = scratch(LANES * WIDE, g)
    totals = scratch(chunk, g)
    most = RUN_BYTES // g.itemsize
    of_words = min(whole_words(wide), WIDE)
    words = words_memory(steps, of_words)
    for part in range(first, last):
        parts[part] = 0
        low = part * WIDE
        high = min((part + 1) * WIDE, wide)
        read_words(words, x, low, high)
        begins, steps_of_spikes, values = list_spikes(words, x, low, g)
        for i in range(filters):
            sources = _output_columns(low, high, i, channels, filters)
            totals[:] = 0
            reached = begins[:-1].copy()
            passed = reached.copy()
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
                count_spikes(reached, words, begin, begin + chunk)
                # Each column has its own sum: longer sums would lose digits.
                for j in range(sources.size):
                    place = place_of(j, of_words)
                    source = j * length - begin
                    for n in range(0, chunk if passed[place] < reached[place] else 0, most):
                        add_products(
                            totals,
                            n,
                            errors,
                            source + n,
                            steps_of_spikes,
                            values,
                            passed[place],
                            reached[place],
                            min(most, chunk - n),
                        )
                passed[:] = reached
            parts[part, i, :count] = totals[:count]


def weight_adjoint(x: Array, g: Array, shape: tuple[int, int]) -> Array:
    """Return the gradient of the taps, ``g_w[i, k] = sum g[t, ..., i C + c] x[t-k, ..., c]``, of a shape (F, K).

    x is (T, ..., C), spikes or numbers, g (T, ..., F C).
    """
    flat = _numbers(x, g)
    parts = np.empty((math.ceil(flat.shape[1] / WIDE), *shape), g.dtype)
    parallel_for(_filter_bank_weight_adjoint, len(parts), flat, columns(g), parts, x.shape[-1], grain=1)
    return parts.sum(axis=0)
