"""Potentials after the refraction of earlier spikes, which are bits, while they are in registers; for compiled kernels.

A sum adds the sample of each earlier spike in the order of the samples, as on a GPU.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cuslayer.jit import compiled
from cuslayer.kernels.host.llvm import data_of, generate_loop, splat, vector_at
from cuslayer.kernels.host.simd import VECTOR_BYTES

# Vectors that are computed together.
PAIR = 2
_I8, _I64 = ir.IntType(8), ir.IntType(64)


@compiled
def signs_of_zero(taps: Any) -> Any:
    """Return what the samples 1 .. k - 1 without a spike add to a sum, for each k: 0, or -0 if all are negative.

    Only that tells their products with 0 from nothing.
    """
    signs = np.full(taps.size + 1, -0.0).astype(taps.dtype)
    for k in range(1, taps.size):
        signs[k + 1] = signs[k] + taps[k] * taps.dtype.type(0)
    return signs


def _refract_row(
    typing_context: Any,
    u: Any,
    s: Any,
    a: Any,
    at: Any,
    taps: Any,
    count: Any,
    marks: Any,
    place: Any,
    apart: Any,
    zero: Any,
    theta: Any,
    pairs: Any,
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        size = u.dtype.bitwidth // 8
        lanes, real = VECTOR_BYTES // size, context.get_value_type(u.dtype)
        vector, bits, flags = ir.VectorType(real, lanes), ir.IntType(lanes), ir.VectorType(ir.IntType(1), lanes)
        p_u, p_s, p_a, p_taps, p_marks = data_of(context, builder, signature, arguments, 0, 1, 2, 4, 6)
        at_, count_, place_, apart_, zero_, theta_, pairs_ = (arguments[n] for n in (3, 5, 7, 8, 9, 10, 11))

        def number(value: int) -> Any:
            return ir.Constant(_I64, value)

        lift, least = splat(builder, zero_, vector), splat(builder, theta_, vector)

        def one_pair(turn: Any, _: list[Any]) -> list[Any]:
            vectors = [builder.add(builder.mul(turn, number(PAIR)), number(n)) for n in range(PAIR)]
            columns = [builder.mul(v, number(lanes)) for v in vectors]
            given = [
                builder.load(vector_at(builder, p_a, builder.add(at_, column), vector), align=size)
                for column in columns
            ]

            def one_sample(earlier: Any, totals: list[Any]) -> list[Any]:
                k = builder.add(earlier, number(1))
                tap = splat(builder, builder.load(builder.gep(p_taps, [k])), vector)
                row = builder.mul(k, apart_)
                found = []
                for v, total in zip(vectors, totals, strict=True):
                    fired = builder.load(vector_at(builder, p_marks, builder.add(builder.add(place_, row), v), bits))
                    found.append(builder.select(builder.bitcast(fired, flags), builder.fadd(total, tap), total))
                return found

            first = [builder.fadd(one, lift) for one in given]
            for v, column, total in zip(
                vectors, columns, generate_loop(builder, builder.sub(count_, number(1)), first, one_sample), strict=True
            ):
                fires = builder.fcmp_ordered(">=", total, least)
                builder.store(total, vector_at(builder, p_u, column, vector), align=size)
                builder.store(
                    builder.zext(fires, ir.VectorType(_I8, lanes)),
                    vector_at(builder, p_s, column, ir.VectorType(_I8, lanes)),
                    align=1,
                )
                builder.store(builder.bitcast(fires, bits), vector_at(builder, p_marks, builder.add(place_, v), bits))
            return []

        generate_loop(builder, pairs_, [], one_pair)
        return context.get_dummy_value()

    i, real = types.int64, u.dtype
    return types.none(u, s, a, i, taps, i, marks, i, i, real, real, i), generate


# refract_row(u, s, a, at, taps, count, marks, place, apart, zero, theta, pairs): write the potentials of the columns of
# a from `at` on to u, and their spikes to s as bytes and to the marks from `place` on, a bit a column. Those of k steps
# before are k times `apart` further on; samples 1 .. count - 1 are added. `zero` is that of `signs_of_zero`. All arrays
# are flat.
refract_row: Any = intrinsic(_refract_row)
