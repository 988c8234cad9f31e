"""Sums that stay in vector registers while their terms are added; for compiled kernels only.

Each number is a sum of products in a fixed order, rounded after each operation, whatever the registers of a machine.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cuslayer.kernels.host.llvm import data_of, generate_loop, vector_at
from cuslayer.kernels.host.streaming import store_past_caches
from cuslayer.kernels.host.vectors import FEATURES, REGISTER_BYTES, Rows, generate_cases

# Vectors of a sum over spikes that are in registers at once.
MOST_VECTORS = 6
# Steps, and taps, of a round of products: the sums of the steps and the inputs of both fit in the registers.
STEPS = 8 if FEATURES.get("avx512f") else 4
_I64 = ir.IntType(64)


def _number(value: int) -> Any:
    return ir.Constant(_I64, value)


class _Vectors(Rows):
    """Generates loads and stores of some whole vectors, from and to flat arrays of a number type."""

    def __init__(self, context: Any, builder: Any, number: Any, vectors: int) -> None:
        width = vectors * REGISTER_BYTES * 8 // number.bitwidth
        super().__init__(context, builder, number, vectors, _number(width))

    def number(self, data: Any, at: Any) -> Any:
        """Return a vector that has the number at a place in each lane."""
        return self.splat(self.builder.load(self.builder.gep(data, [at])))

    def _one(self, data: Any, at: Any) -> Any:
        kind = ir.VectorType(data.type.pointee, self.lanes)
        return vector_at(self.builder, data, at, kind)

    def numbers(self, data: Any, at: Any) -> Any:
        """Return the vector that begins at a place of numbers, or of bytes without a sign."""
        align = 1 if isinstance(data.type.pointee, ir.IntType) else self._align.constant
        found = self.builder.load(self._one(data, at), align=align)
        return found if found.type == self.vector else self.builder.uitofp(found, self.vector)

    def write(self, vector: Any, data: Any, at: Any) -> None:
        """Write a vector to a place."""
        self.builder.store(vector, self._one(data, at), align=self._align.constant)

    def write_past_caches(self, vector: Any, data: Any, at: Any) -> None:
        """Write a vector to a place that is a multiple of its size, past the caches."""
        store_past_caches(self.builder, vector, self._one(data, at), REGISTER_BYTES)


def _add_products(
    typing_context: Any,
    total: Any,
    begin: Any,
    which: Any,
    first: Any,
    count: Any,
    turn: Any,
    factors: Any,
    row: Any,
    at: Any,
    vectors: Any,
) -> Any:
    """Add ``sum_e factors[e] row[at + turn which[e] + j]``, e = first, first + turn, ..., to ``total[begin + j]``.

    j < vectors lanes; there are MOST_VECTORS at most, `count` terms, and the arrays are flat. `turn` is 1 or -1.
    """

    def add_all(wide: int, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
        _, begin_, _, first_, count_, turn_, _, _, at_, _ = arguments
        all_of = _Vectors(context, builder, total.dtype, wide)
        p_total, p_which, p_factors, p_row = data_of(context, builder, signature, arguments, 0, 2, 6, 7)

        def add(term: Any, sums: list[Any]) -> list[Any]:
            e = builder.add(first_, builder.mul(turn_, term))
            n = builder.mul(turn_, builder.sext(builder.load(builder.gep(p_which, [e])), _I64))
            factor, given = all_of.number(p_factors, e), all_of.load(p_row, builder.add(at_, n))
            return [builder.fadd(sum_, builder.fmul(factor, one)) for sum_, one in zip(sums, given, strict=True)]

        zero = ir.Constant(all_of.vector, [0.0] * all_of.lanes)
        found = generate_loop(builder, count_, [zero] * wide, add)
        sums = zip(all_of.load(p_total, begin_), found, strict=True)
        all_of.store([builder.fadd(before, more) for before, more in sums], p_total, begin_)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = context, builder, signature, arguments
        cases = {wide: partial(add_all, wide, *given) for wide in range(1, MOST_VECTORS + 1)}
        generate_cases(builder, arguments[-1], cases)
        return context.get_dummy_value()

    i = types.int64
    return types.none(total, i, which, i, i, i, factors, row, i, i), generate


add_products: Any = intrinsic(_add_products)


def _filter_tile(
    typing_context: Any,
    x: Any,
    at: Any,
    apart: Any,
    memory: Any,
    block: Any,
    blocks: Any,
    taps: Any,
    used: Any,
    y: Any,
    to: Any,
    steps_apart: Any,
    more: Any,
    large: Any,
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        at_, apart_, block_, blocks_, used_, to_, steps_apart_, more_, large_ = (
            arguments[n] for n in (1, 2, 4, 5, 7, 9, 10, 11, 12)
        )
        of = _Vectors(context, builder, taps.dtype, 1)
        p_x, p_memory, p_taps, p_y = data_of(context, builder, signature, arguments, 0, 3, 6, 8)
        row, steps = of.lanes, range(STEPS)

        def place(begin: Any, distance: Any, i: int) -> Any:
            return builder.add(begin, builder.mul(distance, _number(i)))

        # The inputs of these steps; those of the last block also lie in front of the first.
        inputs = [of.numbers(p_x, place(at_, apart_, i)) for i in steps]
        here = builder.mul(block_, _number(STEPS * row))
        for i in steps:
            of.write(inputs[i], p_memory, builder.add(here, _number(i * row)))
        with builder.if_then(builder.icmp_signed("==", block_, blocks_)):
            for i in steps:
                of.write(inputs[i], p_memory, _number(i * row))

        zero, begin = ir.Constant(of.vector, [0.0] * row), builder.block
        with builder.if_then(more_):
            before, loaded = [of.numbers(p_y, place(to_, steps_apart_, i)) for i in steps], builder.block
        sums = [builder.phi(of.vector) for _ in steps]
        for sum_, value in zip(sums, before, strict=True):
            sum_.add_incoming(zero, begin)
            sum_.add_incoming(value, loaded)

        def whole_round(turn: Any, variables: list[Any]) -> list[Any]:
            (now, *found), first = variables, builder.mul(turn, _number(STEPS))
            origin = builder.mul(now, _number(STEPS * row))
            rows = {i: of.numbers(p_memory, builder.add(origin, _number(i * row))) for i in range(1 - STEPS, STEPS)}
            for n in steps:
                tap = of.number(p_taps, builder.add(first, _number(n)))
                found = [builder.fadd(found[i], builder.fmul(tap, rows[i - n])) for i in steps]
            earlier = builder.sub(now, _number(1))
            return [builder.select(builder.icmp_signed("==", now, _number(1)), blocks_, earlier), *found]

        rounds = builder.sdiv(used_, _number(STEPS))
        now, *sums = generate_loop(builder, rounds, [block_, *sums], whole_round)
        done, origin = builder.mul(rounds, _number(STEPS)), builder.mul(now, _number(STEPS * row))

        def one_tap(n: Any, found: list[Any]) -> list[Any]:
            tap, first = of.number(p_taps, builder.add(done, n)), builder.sub(origin, builder.mul(n, _number(row)))
            rows = [of.numbers(p_memory, builder.add(first, _number(i * row))) for i in steps]
            return [builder.fadd(sum_, builder.fmul(tap, one)) for sum_, one in zip(found, rows, strict=True)]

        sums = generate_loop(builder, builder.sub(used_, done), sums, one_tap)
        with builder.if_else(large_) as (then, otherwise):
            for branch, write in ((then, of.write_past_caches), (otherwise, of.write)):
                with branch:
                    for i in steps:
                        write(sums[i], p_y, place(to_, steps_apart_, i))
        return context.get_dummy_value()

    i, flag = types.int64, types.boolean
    return types.none(x, i, i, memory, i, i, taps, i, y, i, i, flag, flag), generate


# filter_tile(x, at, apart, memory, block, blocks, taps, used, y, to, steps_apart, more, large): filter the vector of
# columns at a place of x, STEPS steps that are `apart`, into those at a place of y, which are `steps_apart`, by the
# first `used` taps; add the sums to y if `more`, write them past the caches if `large`. All arrays are flat. The memory
# has the earlier steps, in a circle of `blocks` blocks of STEPS vectors each, from block 1 on; block 0 is a copy of the
# last one. `block` is the one for these steps.
filter_tile: Any = intrinsic(_filter_tile)
