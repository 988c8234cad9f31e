"""Sums of rows and tiles in vector registers, which LLVM's own vectorization does not find; for compiled kernels only.

A vector is 64 bytes, LANES numbers: one register of the widest kind, several of a narrower one. Each number of a vector
is summed by itself and in a fixed order, so that the bits do not depend on the registers of a machine.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cuslayer.kernels.dense.costs import INPUTS, TABLES
from cuslayer.kernels.host.llvm import data_of, splat, vector_at

VECTOR_BYTES = 64
_I64 = ir.IntType(64)


def _number(value: int) -> Any:
    return ir.Constant(_I64, value)


def _vector(context: Any, array_type: Any) -> Any:
    real = context.get_value_type(array_type.dtype)
    return ir.VectorType(real, VECTOR_BYTES // (array_type.dtype.bitwidth // 8))


def _add_subsets(typing_context: Any, total: Any, at: Any, code: Any, tables: Any) -> Any:
    """Add to total[at : at + lanes] the rows of the tables that a code names, a byte for each table.

    The tables are flat: (TABLES, 2 ** INPUTS, lanes).
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, at_, code_, _ = arguments
        vector, align = _vector(context, total), total.dtype.bitwidth // 8
        p_total, p_tables = data_of(context, builder, signature, arguments, 0, 3)
        place = vector_at(builder, p_total, at_, vector)
        added = builder.load(place, align=align)
        for i in range(TABLES):
            byte = builder.and_(builder.lshr(code_, _number(8 * i)), _number(255))
            row = builder.add(builder.mul(byte, _number(vector.count)), _number((i << INPUTS) * vector.count))
            added = builder.fadd(added, builder.load(vector_at(builder, p_tables, row, vector), align=align))
        builder.store(added, place, align=align)
        return context.get_dummy_value()

    return types.none(total, types.intp, types.uint64, tables), generate


add_subsets: Any = intrinsic(_add_subsets)


def _copy_vector(typing_context: Any, x: Any, at: Any, y: Any, to: Any) -> Any:
    """Copy x[at : at + lanes] to y[to : to + lanes]; x and y are flat."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, align = _vector(context, x), x.dtype.bitwidth // 8
        p_x, p_y = data_of(context, builder, signature, arguments, 0, 2)
        found = builder.load(vector_at(builder, p_x, arguments[1], vector), align=align)
        builder.store(found, vector_at(builder, p_y, arguments[3], vector), align=align)
        return context.get_dummy_value()

    return types.none(x, types.intp, y, types.intp), generate


copy_vector: Any = intrinsic(_copy_vector)


def _fill_table(typing_context: Any, tables: Any, at: Any, lines: Any, low: Any) -> Any:
    """Write the sums of all subsets of six lines, one vector each in lines from `low` on, to tables, from `at` on.

    Bit i of the number of a subset stands for line i; each sum is that of its lines in ascending order.
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, at_, _, low_ = arguments
        vector, align = _vector(context, tables), tables.dtype.bitwidth // 8
        p_tables, p_lines = data_of(context, builder, signature, arguments, 0, 2)

        def line(i: int) -> Any:
            place = builder.add(low_, _number(i * vector.count))
            return builder.load(vector_at(builder, p_lines, place, vector), align=align)

        def write(subset: int, total: Any) -> None:
            place = builder.add(at_, _number(subset * vector.count))
            builder.store(total, vector_at(builder, p_tables, place, vector), align=align)

        # The sums of the first lines stay in registers; those of the last two are only written.
        sums = [ir.Constant(vector, None)]
        for i in range(INPUTS - 2):
            one = line(i)
            sums += [builder.fadd(each, one) for each in sums]
        last, count = (line(INPUTS - 2), line(INPUTS - 1)), len(sums)
        for subset, total in enumerate(sums):
            with_one = builder.fadd(total, last[0])
            write(subset, total)
            write(subset + count, with_one)
            write(subset + 2 * count, builder.fadd(total, last[1]))
            write(subset + 3 * count, builder.fadd(with_one, last[1]))
        return context.get_dummy_value()

    return types.none(tables, types.intp, lines, types.intp), generate


fill_table: Any = intrinsic(_fill_table)


def _load_bits(typing_context: Any, x: Any, at: Any) -> Any:
    """Return the bytes x[at : at + 64], each 0 or not, as the bits of a word, the first one lowest."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), 64)
        (data,) = data_of(context, builder, signature, arguments, 0)
        found = builder.load(vector_at(builder, data, arguments[1], vector), align=1)
        return builder.bitcast(builder.icmp_unsigned("!=", found, ir.Constant(vector, None)), _I64)

    return types.uint64(x, types.intp), generate


load_bits: Any = intrinsic(_load_bits)


def _store_bits(typing_context: Any, x: Any, at: Any, word: Any) -> Any:
    """Write the bits of a word, the lowest first, as the bytes x[at : at + 64], each 0 or 1."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = ir.VectorType(ir.IntType(8), 64)
        bits = builder.bitcast(arguments[2], ir.VectorType(ir.IntType(1), 64))
        (data,) = data_of(context, builder, signature, arguments, 0)
        builder.store(builder.zext(bits, vector), vector_at(builder, data, arguments[1], vector), align=1)
        return context.get_dummy_value()

    return types.none(x, types.intp, types.uint64), generate


store_bits: Any = intrinsic(_store_bits)


def _vectors_of_tile(context: Any, builder: Any, signature: Any, arguments: Any, one: Any, sums: Any) -> Any:
    """Generate a loop over the pixels of a tile: `one` is given the place of each and the sums before it.

    The arguments end in the place of the first pixel, the distance of neighbours in a row and their number, and the
    distance of rows and their number. Returns the sums after the last pixel.
    """
    begin, across, wide, down, high = arguments[-5:]
    before, head, row = builder.block, builder.append_basic_block("row"), builder.append_basic_block("pixels")
    pixel, after_row = builder.append_basic_block("pixel"), builder.append_basic_block("row_done")
    after = builder.append_basic_block("tile_done")
    builder.branch(head)
    builder.position_at_end(head)
    y, outer = builder.phi(_I64), builder.phi(sums.type)
    y.add_incoming(_number(0), before)
    outer.add_incoming(sums, before)
    builder.cbranch(builder.icmp_signed("<", y, high), row, after)
    builder.position_at_end(row)
    z, inner = builder.phi(_I64), builder.phi(sums.type)
    z.add_incoming(_number(0), head)
    inner.add_incoming(outer, head)
    builder.cbranch(builder.icmp_signed("<", z, wide), pixel, after_row)
    builder.position_at_end(pixel)
    found = one(builder.add(begin, builder.add(builder.mul(y, down), builder.mul(z, across))), inner)
    z.add_incoming(builder.add(z, _number(1)), pixel)
    inner.add_incoming(found, pixel)
    builder.branch(row)
    builder.position_at_end(after_row)
    y.add_incoming(builder.add(y, _number(1)), after_row)
    outer.add_incoming(inner, after_row)
    builder.branch(head)
    builder.position_at_end(after)
    return outer


def _sum_tile(
    typing_context: Any, x: Any, at: Any, gain: Any, s: Any, begin: Any, across: Any, wide: Any, down: Any, high: Any
) -> Any:
    """Write to x[at : at + lanes] gain times the sum of the vectors of bytes s of a tile's pixels."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _vector(context, x)
        bytes_, counts = (ir.VectorType(ir.IntType(bits), vector.count) for bits in (8, 32))
        p_x, p_s = data_of(context, builder, signature, arguments, 0, 3)

        def add(place: Any, before: Any) -> Any:
            found = builder.load(vector_at(builder, p_s, place, bytes_), align=1)
            return builder.add(before, builder.zext(found, counts))

        total = _vectors_of_tile(context, builder, signature, arguments, add, ir.Constant(counts, None))
        product = builder.fmul(builder.sitofp(total, vector), splat(builder, arguments[2], vector))
        builder.store(product, vector_at(builder, p_x, arguments[1], vector), align=x.dtype.bitwidth // 8)
        return context.get_dummy_value()

    i = types.intp
    return types.none(x, i, x.dtype, s, i, i, i, i, i), generate


# One vector of the sum of a tile of spikes: the pixels are at `begin`, `across` from each other in a row of `wide`, and
# `down` from row to row, `high` rows.
sum_tile: Any = intrinsic(_sum_tile)


def _spread_tile(
    typing_context: Any, x: Any, at: Any, gain: Any, y: Any, begin: Any, across: Any, wide: Any, down: Any, high: Any
) -> Any:
    """Write gain times x[at : at + lanes] to each of a tile's pixels in y, which lie as in `sum_tile`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector, align = _vector(context, x), x.dtype.bitwidth // 8
        p_x, p_y = data_of(context, builder, signature, arguments, 0, 3)
        found = builder.load(vector_at(builder, p_x, arguments[1], vector), align=align)
        product = builder.fmul(splat(builder, arguments[2], vector), found)

        def write(place: Any, before: Any) -> Any:
            builder.store(product, vector_at(builder, p_y, place, vector), align=align)
            return before

        _vectors_of_tile(context, builder, signature, arguments, write, _number(0))
        return context.get_dummy_value()

    i = types.intp
    return types.none(x, i, x.dtype, y, i, i, i, i, i), generate


spread_tile: Any = intrinsic(_spread_tile)
