"""Sums over spikes that stay in vector registers while their terms are added; for compiled kernels only.

Each number is a sum of products in a fixed order, rounded after each operation, whatever the registers of a machine.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cuslayer.kernels.host.vectors import REGISTER_BYTES, Rows, generate_cases

# Vectors of a sum over spikes that are in registers at once.
MOST_VECTORS = 6
_I64 = ir.IntType(64)


def _number(value: int) -> Any:
    return ir.Constant(_I64, value)


class _Vectors(Rows):
    """Generates loads and stores of some whole vectors, from and to flat arrays of a number type."""

    def __init__(self, context: Any, builder: Any, number: Any, vectors: int) -> None:
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
