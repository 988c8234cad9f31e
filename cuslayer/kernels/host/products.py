"""Blocks of a matrix product that stay in vector registers while their terms are added; for compiled kernels only.

Each number is a sum of products in a fixed order, whatever the size of its block. The product of a number and a spike,
0 or 1, is exact: such a sum has the bits of one that adds the number where there is a spike.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cuslayer.jit import compiled
from cuslayer.kernels.host.llvm import data_of
from cuslayer.kernels.host.vectors import FEATURES, REGISTER_BYTES, Rows, generate_cases, vectors_of

# Rows and vectors of a block: their sums, a row of the second factor and a number fit in the registers.
_MOST_ROWS = 8 if FEATURES.get("avx512f") else 4
_MOST_VECTORS = 3
_BLOCK_BYTES = _MOST_VECTORS * REGISTER_BYTES
_I64 = ir.IntType(64)
_function: Any = cgutils.get_or_insert_function


def _number(value: int) -> Any:
    return ir.Constant(_I64, value)


def add_product(builder: Any, suffix: str, number: Any, row: Any, total: Any) -> Any:
    """Return the total plus a number times a row, with one rounding where the processor can.

    All three are vectors of a type with a suffix, such as v16f32.
    """
    if not FEATURES.get("fma"):
        return builder.fadd(total, builder.fmul(number, row))
    kind = ir.FunctionType(total.type, [total.type] * 3)
    found = _function(builder.module, kind, f"llvm.fma.{suffix}")
    return builder.call(found, [number, row, total])


def _block(count: int, vectors: int, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
    """Generate the two loops over the terms of a block of so many rows and vectors."""
    _, out_at, out_row, _, a_at, a_row, a_k, a_j, _, b_at, b_k, b_j, terms, times, _, width = arguments
    p_out, p_a, p_b = data_of(context, builder, signature, arguments, 0, 3, 8)
    rows = Rows(context, builder, signature.args[0].dtype, vectors, width)
    offsets = [builder.mul(a_row, _number(r)) for r in range(count)]
    start = builder.block
    outer, head, add, after = (builder.append_basic_block(name) for name in ("outer", "head", "add", "after"))
    end = builder.append_basic_block("end")
    zero = ir.Constant(rows.vector, [0.0] * rows.lanes)
    builder.branch(outer)
    builder.position_at_end(outer)
    j = builder.phi(_I64)
    j.add_incoming(_number(0), start)
    before = [builder.phi(rows.vector) for _ in range(count * vectors)]
    a_from, b_from = builder.add(a_at, builder.mul(j, a_j)), builder.add(b_at, builder.mul(j, b_j))
    builder.cbranch(builder.icmp_signed("<", j, times), head, end)
    builder.position_at_end(head)
    k = builder.phi(_I64)
    k.add_incoming(_number(0), outer)
    sums = [builder.phi(rows.vector) for _ in before]
    builder.cbranch(builder.icmp_signed("<", k, terms), add, after)
    builder.position_at_end(add)
    line = rows.load(p_b, builder.add(b_from, builder.mul(k, b_k)))
    at, found = builder.add(a_from, builder.mul(k, a_k)), []
    for r in range(count):
        number = rows.splat(builder.load(builder.gep(p_a, [builder.add(at, offsets[r])])))
        found += [add_product(builder, rows.suffix, number, line[v], sums[r * vectors + v]) for v in range(vectors)]
    for total, value, result in zip(sums, before, found, strict=True):
        total.add_incoming(value, outer)
        total.add_incoming(result, add)
    k.add_incoming(builder.add(k, _number(1)), add)
    builder.branch(head)
    builder.position_at_end(after)
    for value, total in zip(before, sums, strict=True):
        value.add_incoming(zero, start)
        value.add_incoming(total, after)
    j.add_incoming(builder.add(j, _number(1)), after)
    builder.branch(outer)
    builder.position_at_end(end)
    for r in range(count):
        rows.store(
            before[r * vectors : (r + 1) * vectors], p_out, builder.add(out_at, builder.mul(out_row, _number(r)))
        )


def _generate_sizes(block: Callable[..., None], context: Any, builder: Any, signature: Any, arguments: Any) -> None:
    """Generate a block for each number of rows and vectors that the last two arguments, rows and width, may ask for."""
    vectors = vectors_of(builder, arguments[-1], signature.args[0].dtype)
    which = builder.add(builder.mul(vectors, _number(_MOST_ROWS + 1)), arguments[-2])
    cases = {
        wide * (_MOST_ROWS + 1) + tall: partial(block, tall, wide, context, builder, signature, arguments)
        for wide in range(1, _MOST_VECTORS + 1)
        for tall in _HEIGHTS
    }
    generate_cases(builder, which, cases)


def _multiply_block(
    typing_context: Any,
    out: Any,
    out_at: Any,
    out_row: Any,
    a: Any,
    a_at: Any,
    a_row: Any,
    a_k: Any,
    a_j: Any,
    b: Any,
    b_at: Any,
    b_k: Any,
    b_j: Any,
    terms: Any,
    times: Any,
    rows: Any,
    width: Any,
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _generate_sizes(_block, context, builder, signature, arguments)
        return context.get_dummy_value()

    i = types.int64
    return types.none(out, i, i, out, i, i, i, i, out, i, i, i, i, i, i, i), generate


def _listed_block(count: int, vectors: int, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
    """Generate the loop over the terms of a block, whose rows of the second factor begin at places in a list."""
    _, out_at, out_row, _, a_at, a_row, _, b_at, _, places_at, terms, _, width = arguments
    p_out, p_a, p_b, p_places = data_of(context, builder, signature, arguments, 0, 3, 6, 8)
    rows = Rows(context, builder, signature.args[0].dtype, vectors, width)
    offsets = [builder.mul(a_row, _number(r)) for r in range(count)]
    start = builder.block
    head, add, after = (builder.append_basic_block(name) for name in ("head", "add", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    k = builder.phi(_I64)
    k.add_incoming(_number(0), start)
    sums = [builder.phi(rows.vector) for _ in range(count * vectors)]
    builder.cbranch(builder.icmp_signed("<", k, terms), add, after)
    builder.position_at_end(add)
    place = builder.load(builder.gep(p_places, [builder.add(places_at, k)]))
    line = rows.load(p_b, builder.add(b_at, place))
    at, found = builder.add(a_at, k), []
    for r in range(count):
        number = rows.splat(builder.load(builder.gep(p_a, [builder.add(at, offsets[r])])))
        found += [add_product(builder, rows.suffix, number, line[v], sums[r * vectors + v]) for v in range(vectors)]
    for total, result in zip(sums, found, strict=True):
        total.add_incoming(ir.Constant(rows.vector, [0.0] * rows.lanes), start)
        total.add_incoming(result, add)
    k.add_incoming(builder.add(k, _number(1)), add)
    builder.branch(head)
    builder.position_at_end(after)
    for r in range(count):
        rows.store(sums[r * vectors : (r + 1) * vectors], p_out, builder.add(out_at, builder.mul(out_row, _number(r))))


def _multiply_listed_block(
    typing_context: Any,
    out: Any,
    out_at: Any,
    out_row: Any,
    a: Any,
    a_at: Any,
    a_row: Any,
    b: Any,
    b_at: Any,
    places: Any,
    places_at: Any,
    terms: Any,
    rows: Any,
    width: Any,
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _generate_sizes(_listed_block, context, builder, signature, arguments)
        return context.get_dummy_value()

    i = types.int64
    return types.none(out, i, i, out, i, i, out, i, places, i, i, i, i), generate


_HEIGHTS = [count for count in (8, 4, 2, 1) if count <= _MOST_ROWS]
_multiply: Any = intrinsic(_multiply_block)
_multiply_listed: Any = intrinsic(_multiply_listed_block)


@compiled
def multiply(
    out: Any,
    out_at: int,
    out_row: int,
    a: Any,
    a_at: int,
    a_row: int,
    a_k: int,
    a_j: int,
    b: Any,
    b_at: int,
    b_k: int,
    b_j: int,
    terms: int,
    times: int,
    rows: int,
    width: int,
) -> None:
    """Write ``out[r, c] = sum_j sum_k a[r, j, k] b[j, k, c]``, r < rows, c < width, j < times, k < terms.

    The arrays are flat: `_at` is the place of the first number, `_row`, `_k` and `_j` are the distances of neighbours.
    The numbers of a row lie together.
    """
    most = _BLOCK_BYTES // out.itemsize
    for column in range(0, width, most):
        wide = min(most, width - column)
        row, tall = 0, _MOST_ROWS
        while row < rows:
            while tall > rows - row:
                tall //= 2
            at, given = out_at + row * out_row + column, a_at + row * a_row
            _multiply(out, at, out_row, a, given, a_row, a_k, a_j, b, b_at + column, b_k, b_j, terms, times, tall, wide)
            row += tall


@compiled
def multiply_listed(
    out: Any,
    out_at: int,
    out_row: int,
    a: Any,
    a_at: int,
    b: Any,
    b_at: int,
    places: Any,
    places_at: int,
    terms: int,
    rows: int,
    width: int,
) -> None:
    """Write ``out[r, c] = sum_k a[r, k] b[places[k] + c]``, r < rows, c < width, k < terms.

    The arrays are flat: `_at` is the place of the first number. Rows of a have the distance of the number of terms.
    """
    most = _BLOCK_BYTES // out.itemsize
    for column in range(0, width, most):
        wide = min(most, width - column)
        row, tall = 0, _MOST_ROWS
        while row < rows:
            while tall > rows - row:
                tall //= 2
            at, given = out_at + row * out_row + column, a_at + row * terms
            _multiply_listed(out, at, out_row, a, given, terms, b, b_at + column, places, places_at, terms, tall, wide)
            row += tall
