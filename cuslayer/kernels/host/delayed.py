"""Rows of a block of columns, each of which has its own delay, step after step.

A delay is a sum of powers of two. Each has a stage: a column whose delay has this bit gets the number that came to the
stage so many steps before, any other one the number that comes now. A stage keeps as many rows as its power of two; the
row that comes takes the place of the one that leaves. That is one load, one store and a choice of two vectors for each
stage, in order of memory. Number by number, the same takes several times as long.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cuslayer.jit import compiled
from cuslayer.kernels.host.llvm import data_of, generate_loop, vector_at
from cuslayer.kernels.host.simd import VECTOR_BYTES
from cuslayer.kernels.host.streaming import request
from cuslayer.kernels.host.tiles import copy, scratch

# Bytes of the rows of all stages, half of the second-level cache, unless that were too few columns.
_BYTES = 1 << 19
# Columns of a block: with more, memory is read and written in longer pieces.
_MOST_COLUMNS = 2048
_LEAST_COLUMNS = 64
# Vectors that pass the stages together.
_PAIR = 2
# Lines of the row after the next that are asked for: those that follow, the processor expects.
_LINES = 8
_I32, _I64 = ir.IntType(32), ir.IntType(64)


@compiled
def limits(delay: Any, steps: int) -> tuple[int, int]:
    """Return the smallest delay, and the number of delays from there to the largest.

    A delay outside of -steps - 1 .. steps, at which nothing is left of a signal, counts as the nearest of these.
    """
    least, most = steps, -steps - 1
    for m in range(delay.size):
        least, most = min(least, max(delay[m], -steps - 1)), max(most, min(delay[m], steps))
    return least, max(most - least + 1, 1)


@compiled
def stages_of(turn: int, columns: int, like: Any) -> tuple[Any, int]:
    """Return the memory of a block for `turn` delays, in the type of an array, and how many of the columns it has.

    Returns:
        ``(rows, given, lags, places), width``: the rows of all stages, a row of input, the delay of each column beyond
        the least, and where the row of each stage is.
    """
    count = 0
    while 1 << count < turn:
        count += 1
    before = (1 << count) - 1
    fit = _BYTES // (max(before, 1) * like.itemsize) // _LEAST_COLUMNS * _LEAST_COLUMNS
    whole = max((columns + _LEAST_COLUMNS - 1) // _LEAST_COLUMNS, 1) * _LEAST_COLUMNS
    width = min(max(fit, _LEAST_COLUMNS), _MOST_COLUMNS, whole)
    lags = scratch(width, np.empty(0, np.int32))
    return (scratch(before * width, like), scratch(width, like), lags, np.zeros(count, np.int64)), width


@compiled
def begin_block(memory: Any, delay: Any, steps: int, least: int) -> int:
    """Take the columns with these delays as a block; return the step, 0 or before, from which on `delayed_row` runs.

    From there, step -1 has what is before step 0.
    """
    rows, given, lags, _ = memory
    rows[:], given[:], lags[:] = 0, 0, 0
    turn = 1
    for j in range(delay.size):
        lags[j] = min(max(delay[j], -steps - 1), steps) - least
        turn = max(turn, lags[j] + 1)
    return min(max(least, -turn), 0)


def _pass_stages(typing_context: Any, out: Any, x: Any, at: Any, rows: Any, lags: Any, places: Any, pairs: Any) -> Any:
    """Pass the vectors from x[at] on through all stages to `out`, _PAIR at a time; all arrays are flat."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        size = out.dtype.bitwidth // 8
        lanes = VECTOR_BYTES // size
        vector, whole = (ir.VectorType(kind, lanes) for kind in (context.get_value_type(out.dtype), _I32))
        p_out, p_x, p_rows, p_lags, p_places = data_of(context, builder, signature, arguments, 0, 1, 3, 4, 5)
        stages = builder.extract_value(context.make_array(places)(context, builder, arguments[5]).shape, 0)

        def one_pair(turn: Any, _: list[Any]) -> list[Any]:
            first = builder.mul(turn, ir.Constant(_I64, _PAIR * lanes))
            columns = [builder.add(first, ir.Constant(_I64, n * lanes)) for n in range(_PAIR)]
            given = [
                builder.load(vector_at(builder, p_x, builder.add(arguments[2], c), vector), align=size) for c in columns
            ]
            left = [builder.load(vector_at(builder, p_lags, c, whole), align=4) for c in columns]

            def one_stage(stage: Any, variables: list[Any]) -> list[Any]:
                found, following, begin = variables[:_PAIR], [], builder.load(builder.gep(p_places, [stage]))
                for column, now, bits in zip(columns, found, variables[_PAIR:], strict=True):
                    place = vector_at(builder, p_rows, builder.add(begin, column), vector)
                    earlier = builder.load(place, align=VECTOR_BYTES)
                    builder.store(now, place, align=VECTOR_BYTES)
                    following.append(
                        builder.select(builder.trunc(bits, ir.VectorType(ir.IntType(1), lanes)), earlier, now)
                    )
                one = ir.Constant(whole, [1] * lanes)
                return following + [builder.lshr(bits, one) for bits in variables[_PAIR:]]

            found = generate_loop(builder, stages, given + left, one_stage)
            for column, now in zip(columns, found[:_PAIR], strict=True):
                builder.store(now, vector_at(builder, p_out, column, vector), align=VECTOR_BYTES)
            return []

        generate_loop(builder, arguments[6], [], one_pair)
        return context.get_dummy_value()

    i = types.int64
    return types.none(out, x, i, rows, lags, places, i), generate


_pass: Any = intrinsic(_pass_stages)


@compiled
def delayed_row(out: Any, memory: Any, x: Any, t: int, least: int, low: int, high: int) -> None:
    """Write the delayed columns [low, high) of x at step t to the front of a row, which begins at a cache line.

    Steps come one after the other, see `begin_block`. Outside of its steps x (T, columns), contiguous, is 0.
    """
    rows, given, lags, places = memory
    steps, width, wide, size, now = x.shape[0], lags.size, x.shape[1], high - low, t - least
    for stage in range(places.size):
        before = (1 << stage) - 1
        places[stage] = (before + (t & before)) * width
    lanes = VECTOR_BYTES // x.itemsize
    many = _PAIR * lanes
    flat, pairs = x.reshape(x.size), (size + many - 1) // many
    if now + 2 < steps:
        for n in range(0, min(_LINES * lanes, size), lanes):
            request(flat, (now + 2) * wide + low + n)
    if 0 <= now < steps and size % many == 0:
        _pass(out, flat, now * wide + low, rows, lags, places, pairs)
        return
    if 0 <= now < steps:
        copy(given[:size], x[now, low:high])
    else:
        given[:] = 0
    _pass(out, given, 0, rows, lags, places, pairs)
