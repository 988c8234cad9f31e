"""Potentials in registers after the refraction of earlier spikes, given as bits; for compiled kernels.

A sum adds the samples of earlier spikes in their order, as on a GPU.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir

from cuslayer._base.jit import compiled
from cuslayer.backend import Array
from cuslayer.kernels.host.llvm import BOOL, I8, Emitted, Emitter, Flat, Int, Number, generated

# Vectors that are computed together.
PAIR = 2


@compiled
def signs_of_zero(taps: Array) -> Array:
    """Return what samples 1 .. k - 1 without a spike add to a sum, for each k: 0, or -0 if all are negative.

    Only that distinguishes their products with 0 from nothing.
    """
    signs = np.full(taps.size + 1, -0.0).astype(taps.dtype)
    for k in range(1, taps.size):
        signs[k + 1] = signs[k] + taps[k] * taps.dtype.type(0)
    return signs


@generated
def refract_row(
    code: Emitter,
    u: Flat,
    s: Flat,
    a: Flat,
    at: Int,
    taps: Flat,
    count: Int,
    marks: Flat,
    place: Int,
    apart: Int,
    zero: Number,
    theta: Number,
    pairs: Int,
) -> None:
    """Write the potentials of the columns of a from `at` on to u, and their spikes to s as bytes and to the marks.

    The marks, from `place` on, have a bit a column; marks of k steps before are k times `apart` further on. Samples 1
    .. count - 1 are added. `signs_of_zero` returns `zero`. All arrays are flat.
    """
    vector = u.line
    lanes = u.line.count
    bits = ir.IntType(lanes)
    flags = ir.VectorType(BOOL, lanes)
    lift = zero.splat(lanes)
    least = theta.splat(lanes)

    def one_pair(turn: Emitted, _: list[Emitted]) -> list[Emitted]:
        vectors = [turn * PAIR + n for n in range(PAIR)]
        columns = [v * lanes for v in vectors]

        def one_sample(earlier: Emitted, totals: list[Emitted]) -> list[Emitted]:
            k = earlier + 1
            sums_after = list[Emitted]()
            tap = taps.load(k).splat(lanes)
            row = k * apart
            for v, total in zip(vectors, totals, strict=True):
                fired = marks.load(place + row + v, bits)
                sums_after.append(fired.into("bitcast", flags).choose(total + tap, total))
            return sums_after

        first = [a.load(at + column, vector) + lift for column in columns]
        sums = code.loop(0, count - 1, first, one_sample)[1]
        for v, column, total in zip(vectors, columns, sums, strict=True):
            fires = total.compare(">=", least)
            u.store(total, column)
            s.store(fires.into("zext", ir.VectorType(I8, lanes)), column)
            marks.store(fires.into("bitcast", bits), place + v)
        return []

    code.loop(0, pairs, [], one_pair)
