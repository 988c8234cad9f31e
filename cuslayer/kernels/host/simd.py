"""Sums of rows and tiles in vector registers, which LLVM's own vectorization does not find; for compiled kernels only.

A vector is 64 bytes, LANES numbers: one register of the widest kind, several of a narrower one. Each number of a vector
is summed by itself and in a fixed order, so that the bits do not depend on the registers of a machine.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

VECTOR_BYTES = 64
# Tables that one word of codes, a byte each, looks up; and the inputs whose subsets a table has.
TABLES, INPUTS = 6, 6
_I64 = ir.IntType(64)


def _number(value: int) -> Any:
    return ir.Constant(_I64, value)


def _pointer(context: Any, builder: Any, array_type: Any, array: Any, at: Any) -> Any:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [at])


def _vector(context: Any, array_type: Any) -> Any:
    real = context.get_value_type(array_type.dtype)
    return ir.VectorType(real, VECTOR_BYTES // (array_type.dtype.bitwidth // 8))


def _load(builder: Any, pointer: Any, vector: Any, align: int) -> Any:
    loaded = builder.load(builder.bitcast(pointer, vector.as_pointer()))
    loaded.align = align
    return loaded


def _add_subsets(typing_context: Any, total: Any, at: Any, code: Any, tables: Any) -> Any:
    """Add to total[at : at + lanes] the rows of the tables that a code names, a byte for each table.

    The tables are flat: (TABLES, 2 ** INPUTS, lanes).
    """

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        total_, at_, code_, tables_ = arguments
        vector = _vector(context, total)
        align = total.dtype.bitwidth // 8
        place = _pointer(context, builder, total, total_, at_)
        table = _pointer(context, builder, tables, tables_, _number(0))
        added = _load(builder, place, vector, align)
        for i in range(TABLES):
            byte = builder.and_(builder.lshr(code_, _number(8 * i)), _number(255))
            row = builder.add(builder.mul(byte, _number(vector.count)), _number((i << INPUTS) * vector.count))
            added = builder.fadd(added, _load(builder, builder.gep(table, [row]), vector, align))
        builder.store(added, builder.bitcast(place, vector.as_pointer())).align = align
        return context.get_dummy_value()

    return types.none(total, types.intp, types.uint64, tables), generate


add_subsets: Any = intrinsic(_add_subsets)


def _add_to_vectors(typing_context: Any, x: Any, source: Any, count: Any, line: Any, target: Any) -> Any:
    """Write count > 0 vectors of x, from `source` on, plus the vector line[: lanes], to x from `target` on."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        x_, source_, count_, line_, target_ = arguments
        vector = _vector(context, x)
        align = x.dtype.bitwidth // 8
        added = _load(builder, _pointer(context, builder, line, line_, _number(0)), vector, align)
        data = context.make_array(x)(context, builder, x_).data
        before, body = builder.block, builder.append_basic_block("vectors")
        after = builder.append_basic_block("written")
        builder.branch(body)
        builder.position_at_end(body)
        at = builder.phi(_I64)
        at.add_incoming(_number(0), before)
        place = builder.mul(at, _number(vector.count))
        found = _load(builder, builder.gep(data, [builder.add(source_, place)]), vector, align)
        written = builder.bitcast(builder.gep(data, [builder.add(target_, place)]), vector.as_pointer())
        builder.store(builder.fadd(found, added), written).align = align
        following = builder.add(at, _number(1))
        at.add_incoming(following, body)
        builder.cbranch(builder.icmp_signed("<", following, count_), body, after)
        builder.position_at_end(after)
        return context.get_dummy_value()

    return types.none(x, types.intp, types.intp, line, types.intp), generate


add_to_vectors: Any = intrinsic(_add_to_vectors)


def _load_word(typing_context: Any, x: Any, at: Any) -> Any:
    """Return the bytes x[at : at + 8] as a word, the first one lowest."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        loaded = builder.load(
            builder.bitcast(_pointer(context, builder, x, arguments[0], arguments[1]), _I64.as_pointer())
        )
        loaded.align = 1
        return loaded

    return types.uint64(x, types.intp), generate


load_word: Any = intrinsic(_load_word)


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


def _splat(builder: Any, value: Any, vector: Any) -> Any:
    empty = ir.Constant(vector, ir.Undefined)
    one = builder.insert_element(empty, value, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(one, empty, ir.Constant(ir.VectorType(ir.IntType(32), vector.count), None))


def _sum_tile(
    typing_context: Any, x: Any, at: Any, gain: Any, s: Any, begin: Any, across: Any, wide: Any, down: Any, high: Any
) -> Any:
    """Write to x[at : at + lanes] gain times the sum of the vectors of bytes s of a tile's pixels."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vector = _vector(context, x)
        bytes_, counts = (ir.VectorType(ir.IntType(bits), vector.count) for bits in (8, 32))

        def add(place: Any, before: Any) -> Any:
            found = _load(builder, _pointer(context, builder, s, arguments[3], place), bytes_, 1)
            return builder.add(before, builder.zext(found, counts))

        total = _vectors_of_tile(context, builder, signature, arguments, add, ir.Constant(counts, None))
        product = builder.fmul(builder.sitofp(total, vector), _splat(builder, arguments[2], vector))
        written = builder.bitcast(_pointer(context, builder, x, arguments[0], arguments[1]), vector.as_pointer())
        builder.store(product, written).align = x.dtype.bitwidth // 8
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
        found = _load(builder, _pointer(context, builder, x, arguments[0], arguments[1]), vector, align)
        product = builder.fmul(_splat(builder, arguments[2], vector), found)

        def write(place: Any, before: Any) -> Any:
            written = builder.bitcast(_pointer(context, builder, y, arguments[3], place), vector.as_pointer())
            builder.store(product, written).align = align
            return before

        _vectors_of_tile(context, builder, signature, arguments, write, _number(0))
        return context.get_dummy_value()

    i = types.intp
    return types.none(x, i, x.dtype, y, i, i, i, i, i), generate


spread_tile: Any = intrinsic(_spread_tile)
