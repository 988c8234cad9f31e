"""Sums of rows of a table that stay in vector registers while the rows are added; for compiled kernels only.

A loop over arrays loads and stores a sum for every row that it adds. LLVM's vectors keep up to six registers of it:
what is left for each row is one addition from memory. Each element is added to in the order of the rows, as in a loop.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from cuslayer.kernels.host.llvm import data_of, splat, vector_at

FEATURES = binding.get_host_cpu_features()
REGISTER_BYTES = 64 if FEATURES.get("avx512f") else 32 if FEATURES.get("avx") else 16
_MOST_VECTORS = 6
# Bytes of a sum that is kept in registers; longer rows are added in several passes.
KEPT_BYTES = _MOST_VECTORS * REGISTER_BYTES

_INDEX, _SHORT = ir.IntType(64), ir.IntType(32)
_function: Any = cgutils.get_or_insert_function


class Rows:
    """Generates loads and stores of rows of some vectors, the last of which may be a part of a vector."""

    def __init__(self, context: Any, builder: Any, number: Any, vectors: int, width: Any) -> None:
        self.builder, self.vectors = builder, range(vectors)
        self.lanes = REGISTER_BYTES * 8 // number.bitwidth
        self.vector = ir.VectorType(context.get_value_type(number), self.lanes)
        self._align = ir.Constant(_SHORT, number.bitwidth // 8)
        self.suffix = f"v{self.lanes}f{number.bitwidth}"
        bits = ir.VectorType(ir.IntType(1), self.lanes)
        pointer = self.vector.as_pointer()
        load = ir.FunctionType(self.vector, [pointer, _SHORT, bits, self.vector])
        store = ir.FunctionType(ir.VoidType(), [self.vector, pointer, _SHORT, bits])
        self._load = _function(builder.module, load, f"llvm.masked.load.{self.suffix}.p0")
        self._store = _function(builder.module, store, f"llvm.masked.store.{self.suffix}.p0")
        rest = builder.sub(width, ir.Constant(_INDEX, (vectors - 1) * self.lanes))
        places = ir.Constant(ir.VectorType(_INDEX, self.lanes), list(range(self.lanes)))
        self._within = builder.icmp_signed("<", places, self.splat(rest))

    def splat(self, value: Any) -> Any:
        """Return a vector that has a number in each lane."""
        return splat(self.builder, value, ir.VectorType(value.type, self.lanes))

    def _pointer(self, data: Any, at: Any, vector: int) -> Any:
        place = self.builder.add(at, ir.Constant(_INDEX, vector * self.lanes))
        return vector_at(self.builder, data, place, self.vector)

    def load(self, data: Any, at: Any) -> list[Any]:
        """Return the row that begins at a place; what is past its width is 0."""
        pointers = [self._pointer(data, at, v) for v in self.vectors]
        whole = [self.builder.load(p, align=self._align.constant) for p in pointers[:-1]]
        zero = ir.Constant(self.vector, [0.0] * self.lanes)
        return [*whole, self.builder.call(self._load, [pointers[-1], self._align, self._within, zero])]

    def store(self, row: list[Any], data: Any, at: Any) -> None:
        """Write a row to a place, and nothing past its width."""
        pointers = [self._pointer(data, at, v) for v in self.vectors]
        for value, pointer in zip(row[:-1], pointers[:-1], strict=True):
            self.builder.store(value, pointer, align=self._align.constant)
        self.builder.call(self._store, [row[-1], pointers[-1], self._align, self._within])


def _places(builder: Any, at: Any, apart: Any, pieces: int) -> list[Any]:
    """Return the places of so many pieces, the first of which begins at a place."""
    return [builder.add(at, builder.mul(apart, ir.Constant(_INDEX, n))) for n in range(pieces)]


def _load(builder: Any, rows: Rows, data: Any, at: Any, apart: Any, pieces: int) -> list[Any]:
    return [vector for place in _places(builder, at, apart, pieces) for vector in rows.load(data, place)]


def _generate(pieces: int, vectors: int, context: Any, builder: Any, signature: Any, arguments: Any) -> None:
    """Generate the loop over rows of so many pieces of so many vectors."""
    _, begin, apart, _, table_at, table_apart, stride, _, first, last, _, width = arguments
    p_total, p_table, p_index = data_of(context, builder, signature, arguments, 0, 3, 7)
    rows = Rows(context, builder, signature.args[0].dtype, vectors, width)
    before, start = _load(builder, rows, p_total, begin, apart, pieces), builder.block
    head, add, after = (builder.append_basic_block(name) for name in ("head", "add", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    entry = builder.phi(_INDEX)
    entry.add_incoming(first, start)
    sums = [builder.phi(rows.vector) for _ in before]
    builder.cbranch(builder.icmp_signed("<", entry, last), add, after)
    builder.position_at_end(add)
    position = builder.sext(builder.load(builder.gep(p_index, [entry])), _INDEX)
    at = builder.add(table_at, builder.mul(position, stride))
    row = _load(builder, rows, p_table, at, table_apart, pieces)
    found = [builder.fadd(one, other) for one, other in zip(sums, row, strict=True)]
    for variable, value, result in zip(sums, before, found, strict=True):
        variable.add_incoming(value, start)
        variable.add_incoming(result, add)
    entry.add_incoming(builder.add(entry, ir.Constant(_INDEX, 1)), add)
    builder.branch(head)
    builder.position_at_end(after)
    for n, place in enumerate(_places(builder, begin, apart, pieces)):
        rows.store(sums[n * vectors : (n + 1) * vectors], p_total, place)


def vectors_of(builder: Any, width: Any, number: Any) -> Any:
    """Return the number of vectors that so many numbers of a type take, the last of which may be a part of one."""
    lanes = REGISTER_BYTES * 8 // number.bitwidth
    return builder.sdiv(builder.add(width, ir.Constant(_INDEX, lanes - 1)), ir.Constant(_INDEX, lanes))


def generate_cases(builder: Any, value: Any, cases: Mapping[int, Callable[[], Any]]) -> list[tuple[Any, Any]]:
    """Generate code for each number that a value may be; for any other, none.

    Returns what each case returns, and the block in which it ends.
    """
    done, ends = builder.append_basic_block("done"), []
    choice = builder.switch(value, done)
    for number, generate in cases.items():
        block = builder.append_basic_block(f"case{number}")
        choice.add_case(ir.Constant(_INDEX, number), block)
        builder.position_at_end(block)
        result = generate()
        ends.append((result, builder.block))
        builder.branch(done)
    builder.position_at_end(done)
    return ends


# The pieces of a row, and the vectors of each, that fit in the registers.
_SHAPES = [
    (pieces, vectors) for pieces in range(1, _MOST_VECTORS + 1) for vectors in range(1, _MOST_VECTORS // pieces + 1)
]


def shape_of(pieces: int, width: int, itemsize: int) -> int:
    """Return the number of the shape of a row of some pieces of some numbers; 0 for nothing.

    Raises:
        ValueError: the row does not fit in the registers.
    """
    if not pieces * width:
        return 0
    found = pieces, -(-width * itemsize // REGISTER_BYTES)
    if found not in _SHAPES:
        raise ValueError(f"a row has {_MOST_VECTORS} vectors at most, got {pieces} pieces of {found[1]}")
    return _SHAPES.index(found) + 1


def _add_rows(
    typing_context: Any,
    total: Any,
    begin: Any,
    apart: Any,
    table: Any,
    table_at: Any,
    table_apart: Any,
    stride: Any,
    index: Any,
    first: Any,
    last: Any,
    shape: Any,
    width: Any,
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = context, builder, signature, arguments
        cases = {n + 1: partial(_generate, *shape, *given) for n, shape in enumerate(_SHAPES)}
        generate_cases(builder, arguments[-2], cases)
        return context.get_dummy_value()

    i = types.int64
    return types.none(total, i, i, table, i, i, i, index, i, i, i, i), generate


# add_rows(total, begin, apart, table, table_at, table_apart, stride, index, first, last, shape, width): for e from
# first to last, add the row of the flat table that begins at table_at + index[e] stride to the row of the flat array
# total that begins at `begin`. A row has some pieces of `width` numbers, which lie `apart` in the total and
# `table_apart` in the table; for the shape see `shape_of`.
add_rows: Any = intrinsic(_add_rows)


def _add_places(
    typing_context: Any,
    total: Any,
    total_at: Any,
    apart: Any,
    of_total: Any,
    table: Any,
    table_at: Any,
    table_apart: Any,
    of_table: Any,
    index: Any,
    first: Any,
    last: Any,
    places: Any,
    parts: Any,
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        _, total_at_, apart_, of_total_, _, table_at_, table_apart_, of_table_ = arguments[:8]
        _, first_, last_, _, parts_ = arguments[8:]
        p_total, p_table, p_index, p_places = data_of(context, builder, signature, arguments, 0, 4, 8, 11)
        start, names = builder.block, ("head", "body", "part", "row", "next", "after")
        head, body, part, add_row, following, after = (builder.append_basic_block(name) for name in names)
        one, four = ir.Constant(_INDEX, 1), ir.Constant(_INDEX, 4)
        builder.branch(head)
        builder.position_at_end(head)
        entry = builder.phi(_INDEX)
        entry.add_incoming(first_, start)
        builder.cbranch(builder.icmp_signed("<", entry, last_), body, after)
        builder.position_at_end(body)
        position = builder.sext(builder.load(builder.gep(p_index, [entry])), _INDEX)
        row = builder.mul(builder.mul(position, parts_), four)
        end = builder.add(row, builder.mul(parts_, four))
        builder.branch(part)
        builder.position_at_end(part)
        at_row = builder.phi(_INDEX)
        at_row.add_incoming(row, body)
        builder.cbranch(builder.icmp_signed("<", at_row, end), add_row, following)
        builder.position_at_end(add_row)

        def number(column: Any) -> Any:
            return builder.sext(builder.load(builder.gep(p_places, [builder.add(at_row, column)])), _INDEX)

        to, at = builder.add(total_at_, number(of_total_)), builder.add(table_at_, number(of_table_))
        shape, width = (number(ir.Constant(_INDEX, column)) for column in (2, 3))

        def add(pieces: int, vectors: int) -> None:
            rows = Rows(context, builder, signature.args[0].dtype, vectors, width)
            sums = _load(builder, rows, p_total, to, apart_, pieces)
            more = _load(builder, rows, p_table, at, table_apart_, pieces)
            found = [builder.fadd(one, other) for one, other in zip(sums, more, strict=True)]
            for n, place in enumerate(_places(builder, to, apart_, pieces)):
                rows.store(found[n * vectors : (n + 1) * vectors], p_total, place)

        generate_cases(builder, shape, {n + 1: partial(add, *found) for n, found in enumerate(_SHAPES)})
        at_row.add_incoming(builder.add(at_row, four), builder.block)
        builder.branch(part)
        builder.position_at_end(following)
        entry.add_incoming(builder.add(entry, one), following)
        builder.branch(head)
        builder.position_at_end(after)
        return context.get_dummy_value()

    i = types.int64
    return types.none(total, i, i, i, table, i, i, i, index, i, i, places, i), generate


# add_places(total, total_at, apart, of_total, table, table_at, table_apart, of_table, index, first, last, places,
# parts): for e from first to last, add some parts of a row of the flat table to a row of the flat array total, one part
# after the other; both depend on index[e]. The flat array of places has four numbers for each index and part: two
# distances, of which number of_total is that of the total from total_at and of_table that of the table from table_at,
# the shape (`shape_of`) and the numbers of a piece. Pieces lie as in `add_rows`.
add_places: Any = intrinsic(_add_places)
