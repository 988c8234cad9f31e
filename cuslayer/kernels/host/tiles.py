"""What loops over tiles of an array share: scratch memory at cache lines, and the transpose of a tile in registers."""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from cuslayer.jit import compiled
from cuslayer.kernels.host.llvm import data_of, vector_at

# Rows and columns of a tile: a vector of float32 is a cache line.
LANES = 16
_LINE = 64


@compiled
def scratch(size: int, like: Any) -> Any:
    """Return zeros (size,) in the type of an array, from the beginning of a cache line on.

    A vector that crosses two lines takes twice as long to load.
    """
    memory = np.zeros(size + _LINE // like.itemsize, like.dtype)
    begin = -memory.ctypes.data % _LINE // like.itemsize
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


def _exchange(builder: Any, rows: list[Any]) -> list[Any]:
    """Generate the transpose of LANES vectors of LANES numbers.

    Compiled from plain loops, it would take a scalar load and store for each number.
    """
    for width in (1, 2, 4, 8):
        # Rows i and i + width exchange the blocks of `width` numbers that lie beside the diagonal.
        first = [n + LANES - width if n & width else n for n in range(LANES)]
        second = [n + LANES if n & width else n + width for n in range(LANES)]
        for i in range(LANES):
            if not i & width:
                pair = rows[i], rows[i + width]
                for j, lanes in ((i, first), (i + width, second)):
                    mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), lanes)
                    rows[j] = builder.shuffle_vector(*pair, mask)
    return rows


def _transpose(typing_context: Any, target: Any, at: Any, step: Any, source: Any, begin: Any, stride: Any) -> Any:
    """Set ``target[at + step i + j]`` to ``source[begin + stride j + i]``, i and j < LANES, of arrays with one axis."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        number = context.get_data_type(signature.args[0].dtype)
        vector, size = ir.VectorType(number, LANES), context.get_abi_sizeof(number)
        data = data_of(context, builder, signature, arguments, 0, 3)

        def pointer(array: int, begin: Any, apart: Any, i: int) -> Any:
            place = builder.add(begin, builder.mul(apart, ir.Constant(apart.type, i)))
            return vector_at(builder, data[array], place, vector)

        _, to, by, _, off, apart = arguments
        rows = _exchange(builder, [builder.load(pointer(1, off, apart, i), align=size) for i in range(LANES)])
        for i in range(LANES):
            builder.store(rows[i], pointer(0, to, by, i), align=size)
        return context.get_dummy_value()

    place = types.intp
    return types.void(target, place, place, source, place, place), generate


transpose: Any = intrinsic(_transpose)
