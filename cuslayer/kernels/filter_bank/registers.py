"""Sums of filters that stay in vector registers while their terms are added; for compiled kernels only.

Each number is a sum of products in a fixed order, rounded after each operation, whatever the registers of a machine.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cuslayer.kernels.host.vectors import FEATURES, REGISTER_BYTES, Rows, generate_cases

# Steps whose sums are in registers at once: they and the inputs of as many steps fit in.
STEPS = 8 if FEATURES.get("avx512f") else 4
# Vectors of a sum over spikes that are in registers at once.
MOST_VECTORS = 6
_I64 = ir.IntType(64)


def _number(value: int) -> Any:
    return ir.Constant(_I64, value)


class _Vectors(Rows):
    """Generates loads and stores of some whole vectors, from and to flat arrays of a number type."""

    def __init__(self, context: Any, builder: Any, number: Any, vectors: int = 1) -> None:
        width = vectors * REGISTER_BYTES * 8 // number.bitwidth
        super().__init__(context, builder, number, vectors, _number(width))
        self._context = context

    def data(self, array_type: Any, array: Any) -> Any:
        """Return the address of an array."""
        return self._context.make_array(array_type)(self._context, self.builder, array).data

    def number(self, data: Any, at: Any) -> Any:
        """Return a vector that has the number at a place in each lane."""
        return self.splat(self.builder.load(self.builder.gep(data, [at])))


def _loop(builder: Any, count: Any, first: list[Any], body: Any) -> list[Any]:
    """Generate a loop of `count` passes over variables: `body` is given the pass and them, and returns the next ones.

    Returns the variables after the last pass.
    """
    before = builder.block
    head, inside, after = (builder.append_basic_block(name) for name in ("head", "inside", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    turn = builder.phi(_I64)
    variables = [builder.phi(value.type) for value in first]
    builder.cbranch(builder.icmp_signed("<", turn, count), inside, after)
    builder.position_at_end(inside)
    following = [builder.add(turn, _number(1)), *body(turn, variables)]
    for variable, value, other in zip([turn, *variables], [_number(0), *first], following, strict=True):
        variable.add_incoming(value, before)
        variable.add_incoming(other, builder.block)
    builder.branch(head)
    builder.position_at_end(after)
    return variables


def _add_taps(typing_context: Any, sums: Any, begin: Any, row: Any, x: Any, at: Any, taps: Any, used: Any) -> Any:
    """Add ``taps[k] x[at + (i - k) lanes + j]``, k < used, to ``sums[begin + i row + j]``, i < STEPS, j < lanes.

    The arrays are flat; those of x are the inputs of one vector of columns, step after step.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        sums_, begin_, row_, x_, at_, taps_, used_ = arguments
        one = _Vectors(context, builder, sums.dtype)
        p_sums, p_x, p_taps = (one.data(*of) for of in ((sums, sums_), (x, x_), (taps, taps_)))
        lanes = _number(one.lanes)
        places = [builder.add(begin_, builder.mul(row_, _number(i))) for i in range(STEPS)]
        # The inputs of the steps move on by one for each tap: only one of them is loaded.
        later = [builder.add(at_, builder.mul(lanes, _number(i))) for i in range(1, STEPS)]

        def add(k: Any, variables: list[Any]) -> list[Any]:
            place, totals, window = variables[0], variables[1 : 1 + STEPS], variables[1 + STEPS :]
            tap, inputs = one.number(p_taps, k), [*one.load(p_x, place), *window]
            found = [builder.fadd(sum_, builder.fmul(tap, given)) for sum_, given in zip(totals, inputs, strict=True)]
            return [builder.sub(place, lanes), *found, *inputs[:-1]]

        first = [vector for to in places for vector in one.load(p_sums, to)]
        first += [vector for to in later for vector in one.load(p_x, to)]
        _, *variables = _loop(builder, used_, [at_, *first], add)
        for total, to in zip(variables[:STEPS], places, strict=True):
            one.store([total], p_sums, to)
        return context.get_dummy_value()

    i = types.int64
    return types.none(sums, i, i, x, i, taps, i), generate


add_taps: Any = intrinsic(_add_taps)


def _add_products(
    typing_context: Any, total: Any, begin: Any, which: Any, count: Any, factors: Any, row: Any, at: Any, vectors: Any
) -> Any:
    """Add ``sum_e factors[which[e]] row[at + which[e] + j]``, e < count in order, to ``total[begin + j]``.

    j < vectors lanes; there are MOST_VECTORS at most, and the arrays are flat.
    """

    def add_all(wide: int, context: Any, builder: Any, arguments: Any) -> None:
        total_, begin_, which_, count_, factors_, row_, at_, _ = arguments
        all_of = _Vectors(context, builder, total.dtype, wide)
        arrays = (total, total_), (which, which_), (factors, factors_), (row, row_)
        p_total, p_which, p_factors, p_row = (all_of.data(*array) for array in arrays)

        def add(e: Any, sums: list[Any]) -> list[Any]:
            n = builder.sext(builder.load(builder.gep(p_which, [e])), _I64)
            factor, given = all_of.number(p_factors, n), all_of.load(p_row, builder.add(at_, n))
            return [builder.fadd(sum_, builder.fmul(factor, one)) for sum_, one in zip(sums, given, strict=True)]

        zero = ir.Constant(all_of.vector, [0.0] * all_of.lanes)
        sums = zip(all_of.load(p_total, begin_), _loop(builder, count_, [zero] * wide, add), strict=True)
        all_of.store([builder.fadd(before, found) for before, found in sums], p_total, begin_)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        cases = {wide: partial(add_all, wide, context, builder, arguments) for wide in range(1, MOST_VECTORS + 1)}
        generate_cases(builder, arguments[-1], cases)
        return context.get_dummy_value()

    i = types.int64
    return types.none(total, i, which, i, factors, row, i, i), generate


add_products: Any = intrinsic(_add_products)


def _copy_register(typing_context: Any, x: Any, at: Any, y: Any, to: Any) -> Any:
    """Copy a vector of one register from x[at] on to y[to] on; x and y are flat."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        one = _Vectors(context, builder, x.dtype)
        one.store(one.load(one.data(x, arguments[0]), arguments[1]), one.data(y, arguments[2]), arguments[3])
        return context.get_dummy_value()

    return types.none(x, types.int64, y, types.int64), generate


copy_register: Any = intrinsic(_copy_register)
