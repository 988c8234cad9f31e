"""Rows of a block of columns, each with its own delay, step after step.

A barrel shifter in time delays numbers: stage k delays a column by 2^k steps if bit k of its delay is set. The stage
stores 2^k rows; the row that enters replaces the row that leaves. A stage takes one load, one store and one choice
between two vectors, in order of memory. A loop over single numbers takes several times as long.

For spikes, the steps of a column are bit masks, and a delay shifts them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from cuslayer._base.jit import compiled
from cuslayer.backend import Array
from cuslayer.kernels.host.llvm import BOOL, I32, VECTOR_BYTES, Emitted, Emitter, Flat, Int, generated
from cuslayer.kernels.host.rows import copy, scratch
from cuslayer.kernels.host.spike_words import WORD, place_of, store_bits, transpose_bits

# Bytes of the rows of all stages, half of the second-level cache, unless that is too small for the columns.
_BYTES = 1 << 19
# Columns of a block: with more, memory is read and written in longer runs.
_MOST_COLUMNS = 2048
_LEAST_COLUMNS = 64
# Vectors that pass the stages together.
_PAIR = 2


@compiled
def limits(delay: Array, steps: int) -> tuple[int, int]:
    """Return the smallest delay, and the number of delays from there to the largest.

    Delays outside -steps - 1 .. steps, which leave nothing of a signal, are clipped.
    """
    least = steps
    most = -steps - 1
    for m in range(delay.size):
        least = min(least, max(delay[m], -steps - 1))
        most = max(most, min(delay[m], steps))
    return least, max(most - least + 1, 1)


@compiled
def stages_of(turn: int, columns: int, like: Array) -> tuple[Any, int]:
    """Return the memory of a block for `turn` delays, in the type of an array, and how many columns it has.

    Returns:
        ``(rows, inputs, lags, places), width``: the rows of all stages, a row of inputs, the delay of each column
        beyond the least, and the position of each stage's row.
    """
    count = 0
    while 1 << count < turn:
        count += 1
    before = (1 << count) - 1
    fit = _BYTES // (max(before, 1) * like.itemsize) // _LEAST_COLUMNS * _LEAST_COLUMNS
    needed = max((columns + _LEAST_COLUMNS - 1) // _LEAST_COLUMNS, 1) * _LEAST_COLUMNS
    width = min(max(fit, _LEAST_COLUMNS), _MOST_COLUMNS, needed)
    lags = scratch(width, np.empty(0, np.int32))
    return (scratch(before * width, like), scratch(width, like), lags, np.zeros(count, np.int64)), width


@compiled
def begin_block(memory: Any, delay: Array, steps: int, least: int) -> int:
    """Take the columns with these delays as a block; return the step, 0 or before, from which `delayed_row` runs.

    There, step -1 comes before step 0.
    """
    rows, inputs, lags, _ = memory
    rows[:] = 0
    inputs[:] = 0
    lags[:] = 0
    turn = 1
    for j in range(delay.size):
        lags[j] = min(max(delay[j], -steps - 1), steps) - least
        turn = max(turn, lags[j] + 1)
    return min(max(least, -turn), 0)


@generated
def _pass_stages(code: Emitter, out: Flat, x: Flat, at: Int, rows: Flat, lags: Flat, places: Flat, pairs: Int) -> None:
    """Pass the vectors from x[at] on through all stages to `out`, _PAIR at a time; all arrays are flat."""
    vector = out.line
    lanes = out.line.count
    integers = ir.VectorType(I32, lanes)
    flags = ir.VectorType(BOOL, lanes)

    def one_pair(turn: Emitted, _: list[Emitted]) -> list[Emitted]:
        columns = [turn * (_PAIR * lanes) + n * lanes for n in range(_PAIR)]
        inputs = [x.load(at + column, vector) for column in columns]
        lag_bits = [lags.load(column, integers) for column in columns]

        def one_stage(stage: Emitted, variables: list[Emitted]) -> list[Emitted]:
            bits = variables[_PAIR:]
            following = []
            begin = places.load(stage)
            for column, value, bit in zip(columns, variables[:_PAIR], bits, strict=True):
                earlier = rows.load(begin + column, vector, VECTOR_BYTES)
                rows.store(value, begin + column, VECTOR_BYTES)
                following.append(bit.into("trunc", flags).choose(earlier, value))
            return following + [bit >> 1 for bit in bits]

        passed = code.loop(0, places.size, inputs + lag_bits, one_stage)[1]
        for column, value in zip(columns, passed[:_PAIR], strict=True):
            out.store(value, column, VECTOR_BYTES)
        return []

    code.loop(0, pairs, [], one_pair)


@compiled
def delayed_row(out: Array, memory: Any, x: Array, t: int, least: int, low: int, high: int) -> None:
    """Write the delayed columns [low, high) of x at step t to the front of a row, which begins at a cache line.

    Steps come one after the other, see `begin_block`. Outside its steps x (T, columns), contiguous, is 0.
    """
    rows, inputs, lags, places = memory
    steps = x.shape[0]
    width = lags.size
    wide = x.shape[1]
    size = high - low
    step = t - least
    for stage in range(places.size):
        before = (1 << stage) - 1
        places[stage] = (before + (t & before)) * width
    lanes = VECTOR_BYTES // x.itemsize
    many = _PAIR * lanes
    flat = x.reshape(x.size)
    pairs = (size + many - 1) // many
    if 0 <= step < steps and size % many == 0:
        _pass_stages(out, flat, step * wide + low, rows, lags, places, pairs)
        return
    if 0 <= step < steps:
        copy(inputs[:size], x[step, low:high])
    else:
        inputs[:] = 0
    _pass_stages(out, inputs, 0, rows, lags, places, pairs)


@compiled
def shifts_of(delay: Array, steps: int, wide: int) -> tuple[Any, Any]:
    """Return how many words back, less one, and how many bits to the right the words of delayed columns begin.

    Both have a number for each column of a line of a block `wide` columns wide.
    """
    back = np.zeros(wide, np.int64)
    right = np.zeros(wide, np.uint64)
    for m in range(delay.size):
        steps_back = min(max(delay[m], -steps - 1), steps)
        place = place_of(m, wide)
        back[place] = (steps_back + WORD - 1) // WORD - 1
        right[place] = -steps_back % WORD
    return back, right


@compiled
def delayed_line(line: Array, words: Array, begin: int, back: Array, right: Array) -> None:
    """Write 64 steps, from `begin` on, of the delayed columns of these words: step by step, a bit a column.

    Column ``64 i + c`` is bit c of word ``n t + i``, with n words a step.
    """
    one = np.uint64(1)
    most = np.uint64(WORD - 1)
    last = len(words) - 1
    for place in range(line.size):
        at = begin // WORD - back[place]
        early = words[min(max(at, 0), last), place]
        later = words[min(max(at + 1, 0), last), place]
        line[place] = (early >> right[place]) | ((later << one) << (most - right[place]))
    transpose_bits(line)


@compiled
def store_step(row: Array, line: Array, i: int) -> None:
    """Write step i of a line of `delayed_line` as bytes, 0 or 1."""
    squares = line.size // WORD
    for n in range(squares):
        store_bits(row, n * WORD, line[i * squares + n])
