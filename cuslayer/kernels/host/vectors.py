"""Sums that stay in vector registers while their terms are added; for compiled kernels only.

A loop over arrays loads and stores a sum for every row that it adds. LLVM's vectors keep up to six registers of it:
each row then takes one addition from memory, and in a product a multiplication. Each number is a sum in a fixed order,
whatever the size of its block and the registers of a machine. The product of a number and a spike, 0 or 1, is exact:
such a sum has the same bits as adding the number for each spike.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from llvmlite import binding, ir

from cuslayer._base.jit import compiled
from cuslayer.kernels.host.llvm import I32, I64, Emitted, Emitter, Flat, Int, generated

FEATURES = binding.get_host_cpu_features()
REGISTER_BYTES = 64 if FEATURES.get("avx512f") else 32 if FEATURES.get("avx") else 16
_MOST_VECTORS = 6
# Bytes of a sum in registers; longer rows are added in several passes.
KEPT_BYTES = _MOST_VECTORS * REGISTER_BYTES
# The runs of a row, and the vectors of each, that fit in the registers.
_SHAPES = [(runs, each) for runs in range(1, _MOST_VECTORS + 1) for each in range(1, _MOST_VECTORS // runs + 1)]
# Rows and vectors of a block of a product: their sums, a row of the second factor and a number fit in the registers.
_MOST_ROWS = 8 if FEATURES.get("avx512f") else 4
_HEIGHTS = [count for count in (8, 4, 2, 1) if count <= _MOST_ROWS]
_MOST_COLUMNS = 3
_BLOCK_BYTES = _MOST_COLUMNS * REGISTER_BYTES


class Rows:
    """Generates loads and stores of rows in the number type of an array, in runs of some vectors.

    The last vector of a run may be incomplete: a run has `width` numbers.
    """

    def __init__(self, code: Emitter, like: Flat, vectors: int, width: Emitted | int, pieces: int = 1) -> None:
        self.code, self.pieces, self.lanes = code, pieces, REGISTER_BYTES // like.itemsize
        self.vector = ir.VectorType(like.number, self.lanes)
        self.zero = [Emitted(code, ir.Constant(self.vector, [0.0] * self.lanes))] * (pieces * vectors)
        self._suffix = f"v{self.lanes}f{8 * like.itemsize}"
        self._whole, done = range(vectors - 1), (vectors - 1) * self.lanes
        lanes = Emitted(code, ir.Constant(ir.VectorType(I64, self.lanes), list(range(self.lanes))))
        self._masked = lanes.compare("<", (code.value(width) - done).splat(self.lanes))

    def _places(self, at: Emitted, apart: Emitted | None) -> list[Emitted]:
        """Return where the vectors of each run begin."""
        starts = [at] if apart is None else [at + apart * piece for piece in range(self.pieces)]
        return [start + v * self.lanes for start in starts for v in range(len(self._whole) + 1)]

    def _is_whole(self, number: int) -> bool:
        return number % (len(self._whole) + 1) in self._whole

    def load(self, flat: Flat, at: Emitted, apart: Emitted | None = None) -> list[Emitted]:
        """Return the row that begins at an index, 0 past the width of a run."""
        align, found = self.code.value(flat.itemsize, I32), list[Emitted]()
        for number, place in enumerate(self._places(at, apart)):
            if self._is_whole(number):
                found.append(flat.load(place, self.vector))
            else:
                given = Emitted(self.code, flat.pointer(place, self.vector)), align, self._masked, self.zero[0]
                found.append(self.code.call(f"llvm.masked.load.{self._suffix}.p0", self.vector, *given))
        return found

    def store(self, row: list[Emitted], flat: Flat, at: Emitted, apart: Emitted | None = None) -> None:
        """Write a row to an index, and nothing past the width of a run."""
        align = self.code.value(flat.itemsize, I32)
        for number, (value, place) in enumerate(zip(row, self._places(at, apart), strict=True)):
            if self._is_whole(number):
                flat.store(value, place)
            else:
                given = value, Emitted(self.code, flat.pointer(place, self.vector)), align, self._masked
                self.code.call(f"llvm.masked.store.{self._suffix}.p0", ir.VoidType(), *given)

    def add_product(self, number: Emitted, row: Emitted, total: Emitted) -> Emitted:
        """Return a vector of a total plus a number times a row, with one rounding where the processor can."""
        if not FEATURES.get("fma"):
            return total + number * row
        return self.code.call(f"llvm.fma.{self._suffix}", self.vector, number, row, total)


def added(row: list[Emitted], other: list[Emitted]) -> list[Emitted]:
    """Return the sum of two rows."""
    return [one + more for one, more in zip(row, other, strict=True)]


def vectors_of(width: Emitted, like: Flat) -> Emitted:
    """Return the number of vectors for so many numbers of an array; the last may be incomplete."""
    lanes = REGISTER_BYTES // like.itemsize
    return (width + (lanes - 1)) // lanes


def shape_of(pieces: int, width: int, itemsize: int) -> int:
    """Return the number of the shape of a row of some runs of some numbers; 0 for nothing."""
    if not pieces * width:
        return 0
    found = pieces, -(-width * itemsize // REGISTER_BYTES)
    if found not in _SHAPES:
        raise ValueError(f"a row has {_MOST_VECTORS} vectors at most, got {pieces} pieces of {found[1]}")
    return _SHAPES.index(found) + 1


def _of_shape(code: Emitter, shape: Emitted, like: Flat, width: Emitted, generate: Callable[[Rows], None]) -> None:
    """Generate code for rows of each shape."""

    def of_one(pieces: int, vectors: int) -> None:
        generate(Rows(code, like, vectors, width, pieces))

    code.cases(shape, {n + 1: partial(of_one, *found) for n, found in enumerate(_SHAPES)})


@generated
def add_rows(
    code: Emitter,
    total: Flat,
    begin: Int,
    apart: Int,
    table: Flat,
    table_at: Int,
    table_apart: Int,
    stride: Int,
    index: Flat,
    first: Int,
    last: Int,
    shape: Int,
    width: Int,
) -> None:
    """Add the rows of a table for the entries first to last to a row of the total, which begins at an index.

    The row of entry e begins at ``table_at + index[e] stride``. A row has some runs of `width` numbers, which lie
    `apart` in the total and `table_apart` in the table; for the shape see `shape_of`. All arrays are flat.
    """

    def add(rows: Rows) -> None:
        def one_row(e: Emitted, sums: list[Emitted]) -> list[Emitted]:
            at = table_at + index.load(e).into("sext", I64) * stride
            return added(sums, rows.load(table, at, table_apart))

        _, sums = code.loop(first, last, rows.load(total, begin, apart), one_row)
        rows.store(sums, total, begin, apart)

    _of_shape(code, shape, total, width, add)


def _block(
    code: Emitter,
    out: Flat,
    out_at: Emitted,
    out_row: Emitted,
    a: Flat,
    a_row: Emitted,
    b: Flat,
    rows: Emitted,
    width: Emitted,
    loops: Callable[[list[Emitted], Callable[[Emitted, Emitted, list[Emitted]], list[Emitted]]], list[Emitted]],
) -> None:
    """Generate a block of a product, by `loops` over its terms, for each number of rows and vectors that may come."""

    def of_size(count: int, vectors: int) -> None:
        of = Rows(code, out, vectors, width)
        offsets = [a_row * r for r in range(count)]

        def add(at: Emitted, b_at: Emitted, sums: list[Emitted]) -> list[Emitted]:
            line, found = of.load(b, b_at), list[Emitted]()
            for r, offset in enumerate(offsets):
                number, mine = a.load(at + offset).splat(of.lanes), sums[r * vectors : (r + 1) * vectors]
                found += [of.add_product(number, one, total) for one, total in zip(line, mine, strict=True)]
            return found

        sums = loops(of.zero * count, add)
        for r in range(count):
            of.store(sums[r * vectors : (r + 1) * vectors], out, out_at + out_row * r)

    sizes = [(count, vectors) for vectors in range(1, _MOST_COLUMNS + 1) for count in _HEIGHTS]
    cases = {vectors * (_MOST_ROWS + 1) + count: partial(of_size, count, vectors) for count, vectors in sizes}
    code.cases(vectors_of(width, out) * (_MOST_ROWS + 1) + rows, cases)


@generated
def _multiply(
    code: Emitter,
    out: Flat,
    out_at: Int,
    out_row: Int,
    a: Flat,
    a_at: Int,
    a_row: Int,
    a_k: Int,
    a_j: Int,
    b: Flat,
    b_at: Int,
    b_k: Int,
    b_j: Int,
    terms: Int,
    times: Int,
    rows: Int,
    width: Int,
) -> None:
    def loops(zero: list[Emitted], add: Callable[..., list[Emitted]]) -> list[Emitted]:
        def outer(j: Emitted, before: list[Emitted]) -> list[Emitted]:
            a_from, b_from = a_at + j * a_j, b_at + j * b_j
            return code.loop(0, terms, before, lambda k, sums: add(a_from + k * a_k, b_from + k * b_k, sums))[1]

        return code.loop(0, times, zero, outer)[1]

    _block(code, out, out_at, out_row, a, a_row, b, rows, width, loops)


@generated
def _multiply_listed(
    code: Emitter,
    out: Flat,
    out_at: Int,
    out_row: Int,
    a: Flat,
    a_at: Int,
    a_row: Int,
    b: Flat,
    b_at: Int,
    places: Flat,
    places_at: Int,
    terms: Int,
    rows: Int,
    width: Int,
) -> None:
    def loops(zero: list[Emitted], add: Callable[..., list[Emitted]]) -> list[Emitted]:
        return code.loop(0, terms, zero, lambda k, sums: add(a_at + k, b_at + places.load(places_at + k), sums))[1]

    _block(code, out, out_at, out_row, a, a_row, b, rows, width, loops)


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

    The arrays are flat: `_at` is the index of the first number, `_row`, `_k` and `_j` are the distances of neighbours.
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

    The arrays are flat: `_at` is the index of the first number. The distance of rows of a is the number of terms.
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
