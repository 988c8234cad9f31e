"""Products of matrices of numbers on the CPU, as sums that stay in vector registers.

A task is a block of rows and columns of one of the products. It copies the columns of the second factor, as many as fit
in the registers, to a panel in the cache, and multiplies all of its rows by them. Each number is a sum in a fixed
order, whatever the blocks are: the bits do not depend on the number of cores.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from cuslayer._base.jit import compiled, uncounted
from cuslayer._base.parallel import parallel_for
from cuslayer.backend import Array, numeric_type
from cuslayer.kernels.host.memory import empty
from cuslayer.kernels.host.rows import LANES, add_row, copy, scratch, transpose
from cuslayer.kernels.host.vectors import multiply, product_columns

# The most rows of a task, and the terms that are summed before the next: their panel fits in the second-level cache.
_ROWS = 252
_TERMS = 512
# With fewer rows, a task reads the second factor where it lies: to copy it would take as long as the product. With
# fewer columns, it so reads the first factor.
_FEW_ROWS = 8
_FEW_COLUMNS = 64
# The terms of a part of a long sum, at least. Each part is a product of its own, whose result stays in the cache.
_PART = 1024
_LARGEST = 1 << 18
# Tasks that keep the threads equally busy, the rows that one has at least, and products that are worth a thread.
_TASKS = 16
_LEAST_ROWS = 28
_WORTH_A_THREAD = 1 << 19


class _Sizes(NamedTuple):
    """The sizes of products, those of a task, and the distances of neighbours in memory, in numbers."""

    rows: int
    terms: int
    columns: int
    task_rows: int
    task_columns: int
    row_of_first: int
    term_of_first: int
    term_of_second: int
    column_of_second: int


@uncounted
def _lay(
    source: Array, at: int, row_distance: int, column_distance: int, rows: int, columns: int, target: Array
) -> None:
    """Copy a matrix (rows, columns), which begins at `at`, row by row to the front of the target."""
    if column_distance == 1:
        for row in range(rows):
            begin = at + row * row_distance
            copy(target[row * columns : (row + 1) * columns], source[begin : begin + columns])
        return
    # Tiles in registers, if the numbers of a column are neighbours.
    high = rows // LANES * LANES if row_distance == 1 else 0
    wide = columns // LANES * LANES
    for row in range(0, high, LANES):
        for column in range(0, wide, LANES):
            begin = at + column * column_distance + row
            transpose(target, row * columns + column, columns, source, begin, column_distance)
    for row in range(rows):
        for column in range(wide if row < high else 0, columns):
            target[row * columns + column] = source[at + row * row_distance + column * column_distance]


@compiled
def _multiply(first: int, last: int, a: Array, a_begin: Array, b: Array, b_begin: Array, out: Array, s: _Sizes) -> None:
    """Compute tasks; the matrix n of a factor begins at ``begin[n]``."""
    flat = out.reshape(out.size)
    at_once = product_columns(s.columns, out.itemsize)
    most = min(_TERMS, s.terms)
    a_lies = s.term_of_first == 1 or s.task_columns < _FEW_COLUMNS
    b_lies = s.column_of_second == 1 and s.task_rows < _FEW_ROWS
    lines = a if a_lies else scratch(most * s.task_rows, out)
    panel = b if b_lies else scratch(most * at_once, out)
    sums = scratch(s.task_rows * at_once if s.terms > _TERMS else 0, out)
    by_rows = -(-s.rows // s.task_rows)
    by_columns = -(-s.columns // s.task_columns)
    for task in range(first, last):
        matrix = task // (by_rows * by_columns)
        top = task // by_columns % by_rows * s.task_rows
        left = task % by_columns * s.task_columns
        height = min(s.task_rows, s.rows - top)
        right = min(left + s.task_columns, s.columns)
        for term in range(0, max(s.terms, 1), _TERMS):
            terms = min(_TERMS, s.terms - term)
            at_a = a_begin[matrix] + top * s.row_of_first + term * s.term_of_first
            of_rows = at_a, s.row_of_first, s.term_of_first, 0
            if not a_lies:
                _lay(a, at_a, s.row_of_first, s.term_of_first, height, terms, lines)
                of_rows = 0, terms, 1, 0
            for column in range(left, right, at_once):
                width = min(at_once, right - column)
                at_b = b_begin[matrix] + term * s.term_of_second + column * s.column_of_second
                of_columns = at_b, s.term_of_second, 0
                if not b_lies:
                    _lay(b, at_b, s.term_of_second, s.column_of_second, terms, width, panel)
                    of_columns = 0, width, 0
                to = (matrix * s.rows + top) * s.columns + column
                if term == 0:
                    multiply(flat, to, s.columns, lines, *of_rows, panel, *of_columns, terms, 1, height, width)
                    continue
                multiply(sums, 0, width, lines, *of_rows, panel, *of_columns, terms, 1, height, width)
                for row in range(height):
                    begin = to + row * s.columns
                    add_row(flat[begin : begin + width], sums[row * width : (row + 1) * width])


def _memory(x: Array) -> tuple[Array, tuple[int, ...]]:
    """Return the memory of an array from its first number on, and the distances of its axes in numbers."""
    if x.size == 0:
        return np.empty(0, x.dtype), (0,) * x.ndim
    if min(x.strides, default=0) < 0 or any(stride % x.itemsize for stride in x.strides) or not x.flags.writeable:
        x = x.copy()
    apart = tuple(stride // x.itemsize for stride in x.strides)
    size = 1 + sum((n - 1) * distance for n, distance in zip(x.shape, apart, strict=True))
    return np.lib.stride_tricks.as_strided(x, (size,), (x.itemsize,)), apart


def _begins(leading: tuple[int, ...], shape: tuple[int, ...], apart: tuple[int, ...]) -> Array:
    """Return where each matrix of a factor begins, whose leading axes broadcast."""
    begins = np.zeros(1, np.int64)
    missing = len(leading) - len(shape)
    for axis, size in enumerate(leading):
        distance = 0 if axis < missing or shape[axis - missing] == 1 else apart[axis - missing]
        begins = (begins[:, None] + np.arange(size) * distance).reshape(-1)
    return begins


def matrices(a: Array, b: Array) -> Array:
    """Return a @ b, whose axes before the last two broadcast. Spikes count as 1.0."""
    dtype = np.result_type(numeric_type(a.dtype), numeric_type(b.dtype))
    a = a.astype(dtype, copy=False)
    b = b.astype(dtype, copy=False)
    if b.ndim > 2:
        return _multiplied(a, b)
    # One product, whose rows are of all matrices.
    shape = *a.shape[:-1], b.shape[1]
    return matmul(a.reshape(math.prod(a.shape[:-1]), a.shape[-1]), b).reshape(shape)


def matmul(a: Array, b: Array) -> Array:
    """Return the product of the matrices a and b, in the type of a."""
    b = b.astype(a.dtype, copy=False)
    terms, columns = b.shape
    parts = min(terms // _PART, _TASKS)
    if parts < 2 or len(a) * columns > _LARGEST:
        return _multiplied(a, b)
    end = terms // parts * parts
    rows_of_parts = a[:, :end].reshape(len(a), parts, -1).swapaxes(0, 1)
    total: Array = _multiplied(rows_of_parts, b[:end].reshape(parts, -1, columns)).sum(axis=0)
    if end < terms:
        total += _multiplied(a[:, end:], b[end:])
    return total


def _multiplied(a: Array, b: Array) -> Array:
    """Return a @ b for factors of one type."""
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    rows, terms = a.shape[-2:]
    columns = b.shape[-1]
    out = empty((*leading, rows, columns), a.dtype)
    number = math.prod(leading)
    at_once = product_columns(columns, a.itemsize)
    panels = -(-columns // at_once)
    missing = -(-_TASKS // max(1, number * panels))
    by_rows = max(1, -(-rows // _ROWS), min(missing, rows // _LEAST_ROWS))
    by_columns = max(1, min(_TASKS // max(1, number * by_rows), panels))
    flat_a, of_a = _memory(a)
    flat_b, of_b = _memory(b)
    sizes = _Sizes(
        rows=rows,
        terms=terms,
        columns=columns,
        task_rows=max(1, -(-rows // by_rows)),
        task_columns=max(1, -(-panels // by_columns)) * at_once,
        row_of_first=of_a[-2],
        term_of_first=of_a[-1],
        term_of_second=of_b[-2],
        column_of_second=of_b[-1],
    )
    parallel_for(
        _multiply,
        number * -(-rows // sizes.task_rows) * -(-columns // sizes.task_columns),
        flat_a,
        _begins(leading, a.shape[:-2], of_a),
        flat_b,
        _begins(leading, b.shape[:-2], of_b),
        out,
        sizes,
        grain=max(1, _WORTH_A_THREAD // max(1, sizes.task_rows * terms * sizes.task_columns)),
    )
    return out
