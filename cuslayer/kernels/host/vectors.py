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
        kind = ir.VectorType(value.type, self.lanes)
        one = self.builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(_SHORT, 0))
        first = ir.Constant(ir.VectorType(_SHORT, self.lanes), [0] * self.lanes)
        return self.builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), first)

    def _pointer(self, data: Any, at: Any, vector: int) -> Any:
        place = self.builder.add(at, ir.Constant(_INDEX, vector * self.lanes))
        return self.builder.bitcast(self.builder.gep(data, [place]), self.vector.as_pointer())

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


def _generate(vectors: int, context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Generate the loop over the rows of so many vectors, and return the entry after the last of them."""
    total, begin, table, table_at, stride, index, first, last, limit, width = arguments
    p_total, p_table, p_index = (
        context.make_array(signature.args[n])(context, builder, value).data
        for n, value in ((0, total), (2, table), (5, index))
    )
    rows = Rows(context, builder, signature.args[0].dtype, vectors, width)
    before, start = rows.load(p_total, begin), builder.block
    head, check, add, after = (builder.append_basic_block(name) for name in ("head", "check", "add", "after"))
    builder.branch(head)
    builder.position_at_end(head)
    entry = builder.phi(_INDEX)
    entry.add_incoming(first, start)
    sums = [builder.phi(rows.vector) for _ in before]
    builder.cbranch(builder.icmp_signed("<", entry, last), check, after)
    builder.position_at_end(check)
    position = builder.sext(builder.load(builder.gep(p_index, [entry])), _INDEX)
    builder.cbranch(builder.icmp_signed("<", position, limit), add, after)
    builder.position_at_end(add)
    at = builder.add(table_at, builder.mul(position, stride))
    found = [builder.fadd(one, other) for one, other in zip(sums, rows.load(p_table, at), strict=True)]
    for variable, value, result in zip(sums, before, found, strict=True):
        variable.add_incoming(value, start)
        variable.add_incoming(result, add)
    entry.add_incoming(builder.add(entry, ir.Constant(_INDEX, 1)), add)
    builder.branch(head)
    builder.position_at_end(after)
    rows.store(sums, p_total, begin)
    return entry


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


def _add_rows(
    typing_context: Any,
    total: Any,
    begin: Any,
    table: Any,
    table_at: Any,
    stride: Any,
    index: Any,
    first: Any,
    last: Any,
    limit: Any,
    width: Any,
) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        vectors = vectors_of(builder, arguments[-1], total.dtype)
        nothing = arguments[6], builder.block
        given = context, builder, signature, arguments
        cases = {count: partial(_generate, count, *given) for count in range(1, _MOST_VECTORS + 1)}
        ends = [nothing, *generate_cases(builder, vectors, cases)]
        end = builder.phi(_INDEX)
        for value, block in ends:
            end.add_incoming(value, block)
        return end

    i64 = types.int64
    return i64(total, i64, table, i64, i64, index, i64, i64, i64, i64), generate


# add_rows(total, begin, table, table_at, stride, index, first, last, limit, width): for e from first on, while e < last
# and index[e] < limit, add the row of the flat table that begins at table_at + index[e] stride to the row of the flat
# array total that begins at `begin`. Both have `width` numbers, KEPT_BYTES at most. Returns the first e that is left.
add_rows: Any = intrinsic(_add_rows)
