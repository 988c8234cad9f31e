"""Sums that stay in vector registers while their terms are added; for compiled kernels only.

A loop over arrays loads and stores a sum for every row that it adds. LLVM's vectors keep a block of sums in registers:
some runs of some vectors. Each row then takes one addition from memory, and in a product a multiplication. The
functions sum:

- `add_rows`, `sum_neighbours`, `add_neighbours`: the rows of a table that a list names, such as the rows of spikes.
- `add_products`: listed rows, each times a number.
- `multiply`, `multiply_listed`: products, a number for each run with a row that all runs share.
- `add_subsets`: precomputed sums of rows, which `fill_table` writes.

Each number is a sum in a fixed order, whatever the size of its block and the registers of a machine. The product of a
number and a spike, 0 or 1, is exact: such a sum has the same bits as adding the number for each spike. No loop branches
on spikes: a mispredicted branch takes as long as the rows of some spikes. All arrays are flat.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from llvmlite import binding, ir

from cuslayer._base.jit import compiled
from cuslayer.backend import Array
from cuslayer.kernels.host.llvm import I32, I64, Bits, Emitted, Emitter, Flat, Int, generated

FEATURES = binding.get_host_cpu_features()
REGISTER_BYTES = 64 if FEATURES.get("avx512f") else 32 if FEATURES.get("avx") else 16
_MOST_VECTORS = 6
# Bytes of a sum in registers; longer rows are added in several passes.
KEPT_BYTES = _MOST_VECTORS * REGISTER_BYTES
# The runs of a row, and the vectors of each, that fit in the registers.
_RUNS = [(runs, vectors) for runs in range(1, _MOST_VECTORS + 1) for vectors in range(1, _MOST_VECTORS // runs + 1)]

# The same for one run, with two registers for each vector of a sum.
_MOST_OF_A_RUN = 8 if REGISTER_BYTES == 64 else 4
RUN_BYTES = _MOST_OF_A_RUN * REGISTER_BYTES
_ONE_RUN = [(1, vectors) for vectors in range(1, _MOST_OF_A_RUN + 1)]

# Neighbouring rows of a table that `sum_neighbours` adds to each other first, the tables of `add_subsets`, and the rows
# of a matrix for which they have sums.
NEIGHBOURS = 6
TABLES = 6
ROWS = TABLES * NEIGHBOURS
# Runs of a product and the vectors of each: their sums, a row of the second factor and a number fit in the registers.
_REGISTERS = 32 if FEATURES.get("avx512f") else 16
_MOST_COLUMNS = 3
_RUNS_OF_PRODUCTS = 14, 8, 7, 4, 2, 1
_PRODUCTS = [
    (runs, vectors)
    for vectors in range(1, _MOST_COLUMNS + 1)
    for runs in _RUNS_OF_PRODUCTS
    if runs * vectors + vectors + 1 <= _REGISTERS
]
# Runs whose addresses are computed from one.
_NEAR = 4
_MOST_RUNS = tuple(max(runs for runs, count in _PRODUCTS if count == vectors) for vectors in (1, 2, 3))


class Rows:
    """Generates loads and stores of rows in the number type of an array, in runs of some vectors.

    The last vector of a run may be incomplete: a run has `width` numbers.
    """

    def __init__(self, code: Emitter, like: Flat, vectors: int, width: Emitted | int, runs: int = 1) -> None:
        self.code = code
        self.runs = runs
        self.vectors = vectors
        self.lanes = REGISTER_BYTES // like.itemsize
        self.vector = ir.VectorType(like.number, self.lanes)
        self.zero = [Emitted(code, ir.Constant(self.vector, [0.0] * self.lanes))] * (runs * vectors)
        self._suffix = f"v{self.lanes}f{8 * like.itemsize}"
        self._align = code.value(like.itemsize, I32)
        # Of 32 bits: LLVM would join the masks of two halves at each use.
        lanes = Emitted(code, ir.Constant(ir.VectorType(I32, self.lanes), list(range(self.lanes))))
        remaining = (code.value(width) - (vectors - 1) * self.lanes).into("trunc", I32)
        self._mask = lanes.compare("<", remaining.splat(self.lanes))

    def _places(self, at: Emitted, apart: Emitted | int) -> list[tuple[Emitted, bool]]:
        """Return where the vectors of each run begin, and whether they are complete."""
        runs = range(self.runs)
        vectors = range(self.vectors)
        last = self.vectors - 1
        return [(at + apart * run + vector * self.lanes, vector < last) for run in runs for vector in vectors]

    def load(self, flat: Flat, at: Emitted, apart: Emitted | int = 0) -> list[Emitted]:
        """Return the row that begins at an index, 0 past the width of a run."""
        row = list[Emitted]()
        for place, complete in self._places(at, apart):
            if complete:
                row.append(flat.load(place, self.vector))
            else:
                arguments = Emitted(self.code, flat.pointer(place, self.vector)), self._align, self._mask, self.zero[0]
                row.append(self.code.call(f"llvm.masked.load.{self._suffix}.p0", self.vector, *arguments))
        return row

    def store(self, row: list[Emitted], flat: Flat, at: Emitted, apart: Emitted | int = 0) -> None:
        """Write a row to an index, and nothing past the width of a run."""
        for value, (place, complete) in zip(row, self._places(at, apart), strict=True):
            if complete:
                flat.store(value, place)
            else:
                arguments = value, Emitted(self.code, flat.pointer(place, self.vector)), self._align, self._mask
                self.code.call(f"llvm.masked.store.{self._suffix}.p0", ir.VoidType(), *arguments)

    def add_product(self, number: Emitted, row: Emitted, total: Emitted) -> Emitted:
        """Return a vector of a total plus a number times a row, with one rounding where the processor can."""
        if not FEATURES.get("fma"):
            return total + number * row
        return self.code.call(f"llvm.fma.{self._suffix}", self.vector, number, row, total)


def added(row: list[Emitted], other: list[Emitted]) -> list[Emitted]:
    """Return the sum of two rows."""
    return [value + addend for value, addend in zip(row, other, strict=True)]


def _of_shape(
    code: Emitter,
    shapes: Sequence[tuple[int, int]],
    runs: Emitted | int,
    width: Emitted,
    like: Flat,
    generate: Callable[[Rows], None],
) -> None:
    """Generate code for blocks of each shape, some runs of some vectors."""
    lanes = REGISTER_BYTES // like.itemsize
    apart = 16

    def of_one(runs: int, vectors: int) -> None:
        generate(Rows(code, like, vectors, width, runs))

    cases = {vectors * apart + runs: partial(of_one, runs, vectors) for runs, vectors in shapes}
    code.cases((width + (lanes - 1)) // lanes * apart + runs, cases)


def _by_neighbours(
    code: Emitter,
    rows: Rows,
    first: Emitted,
    last: Emitted,
    start: list[Emitted],
    listed: Callable[[Emitted], tuple[Emitted, list[Emitted]]],
) -> list[Emitted]:
    """Generate a sum of rows in which the rows of NEIGHBOURS in the table are added to each other first."""
    size = len(start)

    def add(e: Emitted, values: list[Emitted]) -> list[Emitted]:
        group = values[0]
        sums = values[1 : size + 1]
        group_sums = values[size + 1 :]
        number, row = listed(e)
        group_of_row = (number // NEIGHBOURS).into("trunc", I32)
        # Two vectors of conditions, so that both become masks of an addition: no branch, no copy.
        begins, continues = (
            group_of_row.splat(rows.lanes).compare(sign, group.splat(rows.lanes)) for sign in (">", "==")
        )
        complete = [begins.choose(total, before) for total, before in zip(added(sums, group_sums), sums, strict=True)]
        incomplete = [continues.choose(total, value) for total, value in zip(added(row, group_sums), row, strict=True)]
        return [group_of_row, *complete, *incomplete]

    values = [Emitted(code, ir.Constant(I32, -1)), *start, *rows.zero]
    _, values = code.loop(first, last, values, add, unrolled=False)
    return added(values[1 : size + 1], values[size + 1 :])


def _summing(shapes: Sequence[tuple[int, int]], *, neighbours: bool, keeps_total: bool) -> Any:
    """Return a function that writes sums of listed rows; with `keeps_total`, it adds the total before."""

    @generated
    def sum_listed(
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
        runs: Int,
        width: Int,
    ) -> None:
        def write(rows: Rows) -> None:
            def listed(e: Emitted) -> tuple[Emitted, list[Emitted]]:
                number = index.load(e).into("sext", I64)
                return number, rows.load(table, table_at + number * stride, table_apart)

            sums = rows.load(total, begin, apart) if keeps_total else rows.zero
            if neighbours:
                sums = _by_neighbours(code, rows, first, last, sums, listed)
            else:
                _, sums = code.loop(first, last, sums, lambda e, before: added(before, listed(e)[1]))
            rows.store(sums, total, begin, apart)

        _of_shape(code, shapes, runs, width, total, write)

    return sum_listed


# add_rows(total, begin, apart, table, table_at, table_apart, stride, index, first, last, runs, width): add the rows of
# the table that begin at table_at + index[e] stride, for e from first to last, to the row of total that begins at
# `begin`. A row has some runs of `width` numbers, which lie `apart` in the total and `table_apart` in the table; they
# fit in KEPT_BYTES.
add_rows: Any = _summing(_RUNS, neighbours=False, keeps_total=True)
# `add_neighbours` does so for rows of one run, of RUN_BYTES at most: it adds the rows of NEIGHBOURS in the table to
# each other first, in ascending order. `sum_neighbours` replaces the row of total.
add_neighbours: Any = _summing(_ONE_RUN, neighbours=True, keeps_total=True)
sum_neighbours: Any = _summing(_ONE_RUN, neighbours=True, keeps_total=False)


@generated
def add_products(
    code: Emitter,
    total: Flat,
    begin: Int,
    table: Flat,
    table_at: Int,
    index: Flat,
    factors: Flat,
    first: Int,
    last: Int,
    width: Int,
) -> None:
    """Add ``sum_e factors[e] table[table_at + index[e] + c]``, first <= e < last, to total[begin + c], c < width.

    A row has RUN_BYTES at most. Each product and sum is rounded.
    """

    def write(rows: Rows) -> None:
        def add(e: Emitted, sums: list[Emitted]) -> list[Emitted]:
            factor = factors.load(e).splat(rows.lanes)
            row = rows.load(table, table_at + index.load(e).into("sext", I64))
            return added(sums, [factor * number for number in row])

        _, sums = code.loop(first, last, rows.zero, add)
        rows.store(added(rows.load(total, begin), sums), total, begin)

    _of_shape(code, _ONE_RUN, 1, width, total, write)


@generated
def add_subsets(code: Emitter, total: Flat, at: Int, word: Bits, tables: Flat) -> None:
    """Add to total[at : at + lanes] the rows of the tables that a word of codes names, a byte for each table.

    The tables are (TABLES, 2 ** NEIGHBOURS, lanes).
    """
    lanes = total.line.count
    sums = total.load(at, total.line)
    for i in range(TABLES):
        row = ((word >> 8 * i) & 255) * lanes + (i << NEIGHBOURS) * lanes
        sums = sums + tables.load(row, total.line)
    total.store(sums, at)


@generated
def fill_table(code: Emitter, tables: Flat, at: Int, lines: Flat, low: Int) -> None:
    """Write all sums of NEIGHBOURS lines, one vector each in lines from `low` on, to tables, from `at` on.

    Bit i of the number of a sum stands for line i; each sum adds its lines in ascending order.
    """
    vector = tables.line
    lanes = tables.line.count

    def line(i: int) -> Emitted:
        return lines.load(low + i * lanes, vector)

    # The sums of the first lines stay in registers; sums with the last two are only written.
    sums = [Emitted(code, ir.Constant(vector, None))]
    for i in range(NEIGHBOURS - 2):
        next_line = line(i)
        sums += [total + next_line for total in sums]
    last = (line(NEIGHBOURS - 2), line(NEIGHBOURS - 1))
    count = len(sums)
    for subset, total in enumerate(sums):
        with_first = total + last[0]
        for n, value in enumerate((total, with_first, total + last[1], with_first + last[1])):
            tables.store(value, at + (subset + n * count) * lanes)


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
    places: Flat,
    terms: Int,
    times: Int,
    rows: Int,
    width: Int,
) -> None:
    def write(block: Rows) -> None:
        line = Rows(code, out, block.vectors, width)

        def add(j: Emitted, k: Emitted, *sums: Emitted) -> list[Emitted]:
            place = places.load(k) if isinstance(places, Flat) else k * b_k
            row = line.load(b, b_at + j * b_j + place)
            products = list[Emitted]()
            for run in range(block.runs):
                if run % _NEAR == 0:
                    near = code.opaque(a_at + j * a_j + k * a_k + a_row * run)
                number = a.load(near + a_row * (run % _NEAR)).splat(block.lanes)
                of_run = sums[run * block.vectors : (run + 1) * block.vectors]
                products += [block.add_product(number, value, total) for value, total in zip(row, of_run, strict=True)]
            return products

        if isinstance(places, Flat):
            sums = code.loops([(0, terms)], block.zero, partial(add, code.value(0)))
        else:
            sums = code.loops([(0, times), (0, terms)], block.zero, add)
        block.store(sums, out, out_at, out_row)

    _of_shape(code, _PRODUCTS, rows, width, out, write)


@compiled
def product_columns(width: int, itemsize: int) -> int:
    """Return the columns of a product that are computed at once: about as many in each block of a width."""
    lanes = REGISTER_BYTES // itemsize
    vectors = -(-width // lanes)
    blocks = max(1, -(-vectors // _MOST_COLUMNS))
    return max(1, -(-vectors // blocks)) * lanes


@compiled
def _tall(rows: int) -> int:
    """Return the most rows of a block of a product, at most `rows`."""
    for runs in _RUNS_OF_PRODUCTS:
        if runs <= rows:
            return runs
    return 1


@compiled
def multiply_listed(
    out: Array,
    out_at: int,
    out_row: int,
    a: Array,
    a_at: int,
    a_row: int,
    a_k: int,
    a_j: int,
    b: Array,
    b_at: int,
    b_k: int,
    b_j: int,
    places: Array | None,
    terms: int,
    times: int,
    rows: int,
    width: int,
) -> None:
    """Write what `multiply` does, for rows of b at ``places[k]``, or at ``k b_k`` if places is None."""
    at_once = product_columns(width, out.itemsize)
    for column in range(0, width, at_once):
        wide = min(at_once, width - column)
        row = 0
        most = _MOST_RUNS[(wide * out.itemsize + REGISTER_BYTES - 1) // REGISTER_BYTES - 1]
        while row < rows:
            tall = _tall(min(most, rows - row))
            at = out_at + row * out_row + column
            at_a = a_at + row * a_row
            at_b = b_at + column
            _multiply(out, at, out_row, a, at_a, a_row, a_k, a_j, b, at_b, b_k, b_j, places, terms, times, tall, wide)
            row += tall


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

    `_at` is the index of the first number, `_row`, `_k` and `_j` are the distances of neighbours. The numbers of a row
    lie together.
    """
    multiply_listed(out, out_at, out_row, a, a_at, a_row, a_k, a_j, b, b_at, b_k, b_j, None, terms, times, rows, width)
