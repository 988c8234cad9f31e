"""Sums of rows of a table in vector registers: rows of spikes, or precomputed row sums.

A loop over arrays would load and store the sum for every few rows. Here each row takes one addition from memory. The
loop does not branch on spikes: a mispredicted branch takes as long as the rows of some spikes. All arrays are flat.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir

from cuslayer.kernels.host.llvm import I32, I64, Bits, Emitted, Emitter, Flat, Int, generated
from cuslayer.kernels.host.vectors import REGISTER_BYTES, Rows, added, vectors_of

# Tables that one word of codes, a byte each, looks up; and the neighbouring rows of a table. Each sum of rows adds the
# rows of such neighbours to each other first, with tables or without.
TABLES, INPUTS = 6, 6
# Rows of the matrix that a word of codes stands for.
ROWS = TABLES * INPUTS
# Two registers for each vector of a sum.
_MOST_VECTORS = 8 if REGISTER_BYTES == 64 else 4
# Bytes of a sum in registers; longer rows are added in several passes.
KEPT_BYTES = _MOST_VECTORS * REGISTER_BYTES


def _chosen(conditions: Emitted, yes: list[Emitted], no: list[Emitted]) -> list[Emitted]:
    return [conditions.choose(one, other) for one, other in zip(yes, no, strict=True)]


def _summing(more: bool) -> Any:
    """Return a function that writes sums of rows; with `more`, it adds the total before."""

    @generated
    def sum_rows(
        code: Emitter,
        total: Flat,
        begin: Int,
        table: Flat,
        table_at: Int,
        stride: Int,
        index: Flat,
        first: Int,
        last: Int,
        width: Int,
    ) -> None:
        def of_vectors(vectors: int) -> None:
            rows = Rows(code, total, vectors, width)
            before = rows.load(total, begin) if more else rows.zero

            def in_group(e: Emitted, values: list[Emitted]) -> list[Emitted]:
                group, sums, some = values[0], values[1 : vectors + 1], values[vectors + 1 :]
                at = index.load(e).into("sext", I64)
                own = (at // INPUTS).into("trunc", I32)
                # As vectors, and each its own, so that both become masks of an addition: no branch, no copy.
                other, same = (own.splat(rows.lanes).compare(sign, group.splat(rows.lanes)) for sign in (">", "=="))
                row = rows.load(table, table_at + at * stride)
                done = _chosen(other, added(sums, some), sums)
                return [own, *done, *_chosen(same, added(row, some), row)]

            start = [Emitted(code, ir.Constant(I32, -1)), *before, *rows.zero]
            _, values = code.loop(first, last, start, in_group, unrolled=False)
            rows.store(added(values[1 : vectors + 1], values[vectors + 1 :]), total, begin)

        cases = {count: partial(of_vectors, count) for count in range(1, _MOST_VECTORS + 1)}
        code.cases(vectors_of(width, total), cases)

    return sum_rows


# sum_rows(total, begin, table, table_at, stride, index, first, last, width): write the sum of the rows of the table
# that begin at table_at + index[e] stride, for e from first to last, to the row of total that begins at `begin`.
# They have `width` numbers, KEPT_BYTES at most. The rows of INPUTS neighbours in the table are added to each other
# first, in ascending order.
sum_rows: Any = _summing(more=False)
# The same, added to the row of total.
sum_more_rows: Any = _summing(more=True)


@generated
def add_subsets(code: Emitter, total: Flat, at: Int, word: Bits, tables: Flat) -> None:
    """Add to total[at : at + lanes] the rows of the tables that a word of codes names, a byte for each table.

    The tables are (TABLES, 2 ** INPUTS, lanes).
    """
    lanes, sums = total.line.count, total.load(at, total.line)
    for i in range(TABLES):
        row = ((word >> 8 * i) & 255) * lanes + (i << INPUTS) * lanes
        sums = sums + tables.load(row, total.line)
    total.store(sums, at)


@generated
def fill_table(code: Emitter, tables: Flat, at: Int, lines: Flat, low: Int) -> None:
    """Write all sums of INPUTS lines, one vector each in lines from `low` on, to tables, from `at` on.

    Bit i of the number of a sum stands for line i; each sum adds its lines in ascending order.
    """
    vector, lanes = tables.line, tables.line.count

    def line(i: int) -> Emitted:
        return lines.load(low + i * lanes, vector)

    # The sums of the first lines stay in registers; sums with the last two are only written.
    sums = [Emitted(code, ir.Constant(vector, None))]
    for i in range(INPUTS - 2):
        one = line(i)
        sums += [each + one for each in sums]
    last, count = (line(INPUTS - 2), line(INPUTS - 1)), len(sums)
    for subset, total in enumerate(sums):
        with_one = total + last[0]
        for n, each in enumerate((total, with_one, total + last[1], with_one + last[1])):
            tables.store(each, at + (subset + n * count) * lanes)
