"""Filters of signals that are mostly 0, as spikes are: for each column, they add the taps after each spike.

The sums of some steps of a column stay in registers during the loop over its spikes; a few steps at a time are
transposed to the rows of arrays.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from cuslayer._base.jit import compiled
from cuslayer.kernels.filter_bank.direct import put
from cuslayer.kernels.host.llvm import I64, Emitted, Emitter, Flat, Int, generated
from cuslayer.kernels.host.rows import LANES, scratch, transpose
from cuslayer.kernels.host.spike_words import column_at, count_spikes
from cuslayer.kernels.host.vectors import REGISTER_BYTES, Rows, added

# Columns of a block: memory is written in longer runs than by direct sums.
WIDE = 1024
# Vectors of a sum over spikes that are in registers at once.
MOST_VECTORS = 6
# Signals with a larger share of nonzero numbers are faster as direct sums.
_BUSY = 0.25
# One step in so many decides.
_SAMPLED = 7


@generated
def add_products(
    code: Emitter,
    total: Flat,
    begin: Int,
    which: Flat,
    first: Int,
    count: Int,
    turn: Int,
    factors: Flat,
    row: Flat,
    at: Int,
    vectors: Int,
) -> None:
    """Add ``sum_e factors[e] row[at + turn which[e] + j]``, e = first, first + turn, ..., to ``total[begin + j]``.

    j < vectors lanes; there are MOST_VECTORS at most, `count` terms, and the arrays are flat. `turn` is 1 or -1. Each
    product and sum is rounded.
    """

    def of_vectors(wide: int) -> None:
        rows = Rows(code, total, wide, wide * REGISTER_BYTES // total.itemsize)

        def add(term: Emitted, sums: list[Emitted]) -> list[Emitted]:
            e = first + turn * term
            factor = factors.load(e).splat(rows.lanes)
            given = rows.load(row, at + turn * which.load(e).into("sext", I64))
            return [total_ + factor * one for total_, one in zip(sums, given, strict=True)]

        _, sums = code.loop(0, count, rows.zero, add)
        rows.store(added(rows.load(total, begin), sums), total, begin)

    code.cases(vectors, {wide: partial(of_vectors, wide) for wide in range(1, MOST_VECTORS + 1)})


@compiled
def is_busy(x: Any, low: int, high: int) -> bool:
    """Return whether the columns [low, high) of x are mostly not 0, by a part of their steps."""
    found = looked = 0
    for t in range(0, x.shape[0], _SAMPLED):
        row = x[t, low:high]
        for j in range(high - low):
            found += row[j] != 0
        looked += high - low
    return found > _BUSY * looked


@compiled
def _chunk_of(like: Any) -> int:
    """Return the steps of a chunk, whose sums are in registers at once: a multiple of LANES."""
    return max(MOST_VECTORS * (REGISTER_BYTES // like.itemsize) // LANES, 1) * LANES


@compiled
def columns_memory(wide: int, like: Any) -> Any:
    """Return scratch memory for `add_taps` of so many columns, in the type of an array."""
    return scratch(wide * (_chunk_of(like) + 2 * LANES), like)


@compiled
def add_taps(words: Any, spikes: Any, size: int, taps: Any, y: Any, targets: Any, memory: Any) -> None:
    """Filter numbers that are not 0 into columns of y: ``y[t] = sum_k taps[k] x[t-k]``.

    Each sum begins with tap 0: the last spike that reaches a step comes first.

    Args:
        words: the columns x as bits, see `read_words`.
        spikes: from `list_spikes` for them.
        size: the number of columns.
        taps: the filter (K,).
        y: (T, ...).
        targets: as many columns of y, ascending.
        memory: see `columns_memory`.
    """
    (begins, which, values), wide = spikes, words.shape[1]
    steps, chunk = y.shape[0], _chunk_of(y)
    count, vectors = min(taps.size, steps), chunk * y.itemsize // REGISTER_BYTES
    # An odd number of cache lines: the columns fall into different sets of a cache.
    length = chunk + LANES
    sums, out = memory[: wide * length], memory[wide * length :]
    # Nothing is added before the first tap and after the last.
    padded = scratch(count + 2 * chunk, y)
    padded[chunk : chunk + count] = taps[:count]
    # For each column, the first spike that reaches the chunk, and the first that is after it.
    first, last = begins[:-1].copy(), begins[:-1].copy()
    for begin in range(0, steps, chunk):
        sums[:] = 0
        count_spikes(first, words, begin - chunk - count + 1 if begin else 0, begin - count + 1)
        count_spikes(last, words, begin, begin + chunk)
        for place in range(wide):
            found = last[place] - first[place]
            m = column_at(place, wide)
            for v in range(0, vectors if found else 0, MOST_VECTORS):
                at, many = v * REGISTER_BYTES // y.itemsize, min(MOST_VECTORS, vectors - v)
                to, tap = m * length + at, chunk + begin + at
                add_products(sums, to, which, last[place] - 1, found, -1, values, padded, tap, many)
        for n in range(0, min(chunk, steps - begin), LANES):
            for group in range(0, size, LANES):
                transpose(out, group, wide, sums, group * length + n, length)
            for i in range(min(LANES, steps - begin - n)):
                put(y, begin + n + i, targets, out[i * wide : (i + 1) * wide])
