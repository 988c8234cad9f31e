"""Rows of arrays in compiled kernels: scratch memory, copies, transposes."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir

from cuslayer._base.jit import compiled, uncounted
from cuslayer.backend import Array
from cuslayer.kernels.host.llvm import I32, VECTOR_BYTES, Emitted, Emitter, Flat, Int, generated

# Rows and columns of a transposed tile: a vector of float32 is a cache line.
LANES = 16


@compiled
def scratch(size: int, like: Array) -> Any:
    """Return zeros (size,) in the type of an array, from the beginning of a cache line on; see `memory.aligned`."""
    memory = np.zeros(size + VECTOR_BYTES // like.itemsize, like.dtype)
    begin = -memory.ctypes.data % VECTOR_BYTES // like.itemsize
    return memory[begin : begin + size]


@compiled
def scratch_rows(rows: int, width: int, like: Array) -> Array:
    """Return zeros (rows, width) as `scratch` does; each row begins at a line if the width is a multiple of a line."""
    return scratch(rows * width, like).reshape(rows, width)


def repeated(values: Array, times: int) -> Array:
    """Return rows that have values (..., n) some times each, (..., times n)."""
    *rows, size = values.shape
    repeats = np.empty((*rows, times, size), values.dtype)
    repeats[...] = values[..., None, :]
    return repeats.reshape(*rows, times * size)


@uncounted
def copy(target: Array, source: Array) -> None:
    """Copy a row to another as long as itself, with SIMD: Numba copies slices number by number."""
    for j in range(target.size):
        target[j] = source[j]


@uncounted
def add_row(total: Array, row: Array) -> None:
    """Add a row to another as long as itself."""
    for j in range(total.size):
        total[j] += row[j]


@generated
def copy_vector(code: Emitter, x: Flat, at: Int, y: Flat, to: Int) -> None:
    """Copy x[at : at + lanes] to y[to : to + lanes], a vector of VECTOR_BYTES; x and y are flat."""
    y.store(x.load(at, x.line), to)


def _exchanged(code: Emitter, rows: list[Emitted]) -> list[Emitted]:
    """Generate the transpose of LANES vectors of LANES numbers; plain loops would move single numbers."""
    for width in (1, 2, 4, 8):
        # Rows i and i + width exchange the blocks of `width` numbers next to the diagonal.
        first = [n + LANES - width if n & width else n for n in range(LANES)]
        second = [n + LANES if n & width else n + width for n in range(LANES)]
        for i in range(LANES):
            if not i & width:
                pair = rows[i].raw, rows[i + width].raw
                for j, lanes in ((i, first), (i + width, second)):
                    mask = ir.Constant(ir.VectorType(I32, LANES), lanes)
                    rows[j] = Emitted(code, code.builder.shuffle_vector(*pair, mask))
    return rows


@generated
def transpose(code: Emitter, target: Flat, at: Int, step: Int, source: Flat, begin: Int, stride: Int) -> None:
    """Set ``target[at + step i + j]`` to ``source[begin + stride j + i]``, i and j < LANES, of arrays with one axis."""
    vector = ir.VectorType(source.number, LANES)
    for i, row in enumerate(_exchanged(code, [source.load(begin + stride * i, vector) for i in range(LANES)])):
        target.store(row, at + step * i)
