"""Rows of arrays in compiled kernels: scratch memory, copies, transposes, non-temporal stores, requests.

A processor reads a line of memory before it changes a part of it. Vectors that fill a line at once need not
(non-temporal stores): a result that stays in no cache then takes half the traffic, if it is written in long pieces.

A loop over neighbouring columns reads a row far from the one before, which no processor expects, and waits for it. A
kernel that asks for a piece of the next row before it computes with that piece of this one does not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core.errors import TypingError

from cuslayer.jit import compiled
from cuslayer.kernels.host.llvm import I8, I32, VECTOR_BYTES, Code, Flat, Int, Value, generated

# Rows and columns of a tile that is transposed: a vector of float32 is a cache line.
LANES = 16
# Columns of a piece of a row: more requests than a few hundred at once are waited for.
PIECE = 512


@compiled
def scratch(size: int, like: Any) -> Any:
    """Return zeros (size,) in the type of an array, from the beginning of a cache line on.

    A vector that crosses two lines takes twice as long to load.
    """
    memory = np.zeros(size + VECTOR_BYTES // like.itemsize, like.dtype)
    begin = -memory.ctypes.data % VECTOR_BYTES // like.itemsize
    return memory[begin : begin + size]


@compiled
def scratch_rows(rows: int, width: int, like: Any) -> Any:
    """Return zeros (rows, width) in the same way; each row begins at a line if the width is a whole number of them."""
    return scratch(rows * width, like).reshape(rows, width)


@compiled
def copy(target: Any, source: Any) -> None:
    """Copy a row to another as long as itself, with SIMD: Numba copies slices number by number."""
    for j in range(target.size):
        target[j] = source[j]


@generated
def copy_vector(code: Code, x: Flat, at: Int, y: Flat, to: Int) -> None:
    """Copy x[at : at + lanes] to y[to : to + lanes], a vector of VECTOR_BYTES; x and y are flat."""
    y.store(x.load(at, x.line), to)


@generated
def _copy_line(code: Code, x: Flat, at: Int, y: Flat, to: Int) -> None:
    """Copy a vector to a place that is a cache line, by a non-temporal store."""
    if x.number != y.number:
        raise TypingError(f"write_row: rows must be of one type, got {x.number} and {y.number}")
    y.store(x.load(at, x.line), to, VECTOR_BYTES, temporal=False)


@generated
def fence(code: Code) -> None:
    """Complete non-temporal stores before anything that follows, for other threads too."""
    code.builder.fence("seq_cst")


@generated
def request(code: Code, x: Flat, at: Int) -> None:
    """Ask for the cache line of x[at]; x is flat."""
    # To read it, into every cache, as data.
    how = (code.value(n, I32) for n in (0, 3, 1))
    code.call("llvm.prefetch.p0", ir.VoidType(), Value(code, x.pointer(at, I8)), *how)


@compiled
def prefetch(row: Any) -> None:
    """Ask for a row that is read soon."""
    for j in range(0, row.size, VECTOR_BYTES // row.itemsize):
        request(row, j)


@compiled
def write_row(target: Any, source: Any, large: bool) -> None:
    """Copy a row to another as long as itself, with non-temporal stores if it is one of a large result.

    `memory.is_large` says which results are. A kernel calls `fence` after its last row.
    """
    size, lanes = source.size, VECTOR_BYTES // source.itemsize
    before = -target.ctypes.data % VECTOR_BYTES
    if not large or before % source.itemsize:
        copy(target, source)
        return
    first = min(before // source.itemsize, size)
    last = first + (size - first) // lanes * lanes
    copy(target[:first], source[:first])
    for j in range(first, last, lanes):
        _copy_line(source, j, target, j)
    copy(target[last:], source[last:])


def _exchanged(code: Code, rows: list[Value]) -> list[Value]:
    """Generate the transpose of LANES vectors of LANES numbers.

    Compiled from plain loops, it would take a scalar load and store for each number.
    """
    for width in (1, 2, 4, 8):
        # Rows i and i + width exchange the blocks of `width` numbers that lie beside the diagonal.
        first = [n + LANES - width if n & width else n for n in range(LANES)]
        second = [n + LANES if n & width else n + width for n in range(LANES)]
        for i in range(LANES):
            if not i & width:
                pair = rows[i].raw, rows[i + width].raw
                for j, lanes in ((i, first), (i + width, second)):
                    mask = ir.Constant(ir.VectorType(I32, LANES), lanes)
                    rows[j] = Value(code, code.builder.shuffle_vector(*pair, mask))
    return rows


@generated
def transpose(code: Code, target: Flat, at: Int, step: Int, source: Flat, begin: Int, stride: Int) -> None:
    """Set ``target[at + step i + j]`` to ``source[begin + stride j + i]``, i and j < LANES, of arrays with one axis."""
    vector = ir.VectorType(source.number, LANES)
    for i, row in enumerate(_exchanged(code, [source.load(begin + stride * i, vector) for i in range(LANES)])):
        target.store(row, at + step * i)
