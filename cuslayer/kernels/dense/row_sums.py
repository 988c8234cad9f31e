"""Sums of the rows of a table that spikes name, in vector registers; for compiled kernels only.

A loop over arrays would load and store the sum for every few rows. What is left for each row is one addition from
memory. There are two orders of the sum, those of `dense/cpu.py`. Neither jumps where spikes lie: a jump that is
not foreseen takes as long as the rows of some spikes.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cuslayer.kernels.dense.costs import INPUTS
from cuslayer.kernels.host.llvm import data_of
from cuslayer.kernels.host.vectors import REGISTER_BYTES, Rows, generate_cases, vectors_of

_INDEX, _SHORT = ir.IntType(64), ir.IntType(32)
# By neighbours, two registers for each vector of a sum.
_MOST_VECTORS = 8 if REGISTER_BYTES == 64 else 4
# Bytes of a sum that is kept in registers; longer rows are added in several passes.
KEPT_BYTES = _MOST_VECTORS * REGISTER_BYTES


def _number(value: int) -> Any:
    return ir.Constant(_INDEX, value)


class _Loop:
    """Generates a loop over entries ``e``, from a first one on in steps while ``e + step <= last``.

    Its values are those before the first entry, then what the function `body` of the entry and the values returns.
    """

    def __init__(
        self, builder: Any, first: Any, last: Any, step: int, values: list[Any], body: Callable[..., list[Any]]
    ) -> None:
        before, head = builder.block, builder.append_basic_block("head")
        add, after = builder.append_basic_block("add"), builder.append_basic_block("after")
        builder.branch(head)
        builder.position_at_end(head)
        self.entry, self.values = builder.phi(_INDEX), [builder.phi(value.type) for value in values]
        following = builder.add(self.entry, _number(step))
        builder.cbranch(builder.icmp_signed("<=", following, last), add, after)
        builder.position_at_end(add)
        found = body(self.entry, self.values)
        for variable, begin, value in zip(
            [self.entry, *self.values], [first, *values], [following, *found], strict=True
        ):
            variable.add_incoming(begin, before)
            variable.add_incoming(value, add)
        builder.branch(head)
        builder.position_at_end(after)


def _generate(
    neighbours: bool, more: bool, vectors: int, context: Any, builder: Any, signature: Any, arguments: Any
) -> None:
    """Generate the sum of rows of so many vectors; with `more`, and of the total before."""
    _, begin, _, table_at, stride, _, first, last, width = arguments
    p_total, p_table, p_index = data_of(context, builder, signature, arguments, 0, 2, 5)
    rows = Rows(context, builder, signature.args[0].dtype, vectors, width)
    zero = [ir.Constant(rows.vector, [0.0] * rows.lanes)] * vectors
    before = rows.load(p_total, begin) if more else zero

    def position(e: Any, after: int = 0) -> Any:
        return builder.sext(builder.load(builder.gep(p_index, [builder.add(e, _number(after))])), _INDEX)

    def row(at: Any) -> list[Any]:
        return rows.load(p_table, builder.add(table_at, builder.mul(at, stride)))

    def add(a: list[Any], b: list[Any]) -> list[Any]:
        return [builder.fadd(one, other) for one, other in zip(a, b, strict=True)]

    def one_row(e: Any, sums: list[Any]) -> list[Any]:
        return add(sums, row(position(e)))

    def four_rows(e: Any, sums: list[Any]) -> list[Any]:
        a, b, c, d = (row(position(e, k)) for k in range(4))
        return add(sums, add(add(a, b), add(c, d)))

    def in_group(e: Any, values: list[Any]) -> list[Any]:
        group, sums, some = values[0], values[1 : vectors + 1], values[vectors + 1 :]
        at = position(e)
        own = builder.trunc(builder.udiv(at, _number(INPUTS)), _SHORT)
        # As vectors, so that it becomes the mask of an addition and not a jump.
        changes = builder.icmp_signed("!=", rows.splat(own), rows.splat(group))
        found = row(at)

        def where(condition: Any, added: list[Any], kept: list[Any]) -> list[Any]:
            return [builder.select(condition, one, other) for one, other in zip(added, kept, strict=True)]

        done = where(changes, add(sums, some), sums)
        return [own, *done, *where(changes, found, add(found, some))]

    if neighbours:
        values = _Loop(builder, first, last, 1, [ir.Constant(_SHORT, -1), *before, *zero], in_group).values
        sums = add(values[1 : vectors + 1], values[vectors + 1 :])
    else:
        fours = _Loop(builder, first, last, 4, before, four_rows)
        sums = _Loop(builder, fours.entry, last, 1, fours.values, one_row).values
    rows.store(sums, p_total, begin)


def _of_any_width(neighbours: bool, more: bool = False) -> Any:
    def sum_rows(
        typing_context: Any,
        total: Any,
        begin: Any,
        table: Any,
        table_at: Any,
        stride: Any,
        index: Any,
        first: Any,
        last: Any,
        width: Any,
    ) -> Any:
        def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            given = context, builder, signature, arguments
            cases = {
                count: partial(_generate, neighbours, more, count, *given) for count in range(1, _MOST_VECTORS + 1)
            }
            generate_cases(builder, vectors_of(builder, arguments[-1], total.dtype), cases)
            return context.get_dummy_value()

        i64 = types.int64
        return types.none(total, i64, table, i64, i64, index, i64, i64, i64), generate

    return intrinsic(sum_rows)


# sum_rows(total, begin, table, table_at, stride, index, first, last, width): write the sum of the rows of the flat
# table that begin at table_at + index[e] stride, for e from first to last, to the row of total that begins at `begin`.
# They have `width` numbers, KEPT_BYTES at most. Four rows are added to each other before they are added to the sum.
sum_rows: Any = _of_any_width(False)
# The same, added to what the row of total has.
sum_more_rows: Any = _of_any_width(False, more=True)
# The first, but those of each INPUTS neighbours in the table are added to each other first, in ascending order.
sum_neighbours: Any = _of_any_width(True)
