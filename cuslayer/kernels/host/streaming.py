"""Rows of results, written past the caches, and of arguments, fetched early; for compiled kernels, but for `is_large`.

A processor reads a line of memory before it changes a part of it. Vectors that fill a line at once need not
(non-temporal stores): a result that stays in no cache then takes half the traffic, if it is written in long pieces.

A loop over neighbouring columns reads a row far from the one before, which no processor expects, and waits for it. A
kernel that asks for a piece of the next row before it computes with that piece of this one does not.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from cuslayer.backend import Array
from cuslayer.jit import compiled
from cuslayer.kernels.host.llvm import data_of, vector_at
from cuslayer.kernels.host.simd import VECTOR_BYTES
from cuslayer.kernels.host.tiles import copy

_function: Any = cgutils.get_or_insert_function
# Bytes of results that stay in no cache: what the cores of a socket share is about as much.
_LARGE = 1 << 25
# Columns of a piece of a row: more requests than a few hundred at once are waited for.
PIECE = 512


def is_large(*results: Array) -> bool:
    """Return whether the results of a kernel are so large that they are written past the caches."""
    return sum(result.nbytes for result in results) >= _LARGE


def store_past_caches(builder: Any, vector: Any, pointer: Any, align: int) -> None:
    """Generate a store of a vector past the caches, to a place that is a multiple of its size, `align`."""
    stored = builder.store(vector, pointer, align=align)
    stored.set_metadata("nontemporal", builder.module.add_metadata([ir.Constant(ir.IntType(32), 1)]))


def _store_line(typing_context: Any, x: Any, at: Any, y: Any, to: Any) -> Any:
    """Copy the vector x[at : at + lanes] to y[to : to + lanes], a cache line, past the caches; x and y are flat."""
    if x.dtype != y.dtype or x.layout != "C" or y.layout != "C":
        raise TypingError(f"write_row: rows must be contiguous and of one type, got {x} and {y}")

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        size = x.dtype.bitwidth // 8
        vector = ir.VectorType(context.get_value_type(x.dtype), VECTOR_BYTES // size)
        p_x, p_y = data_of(context, builder, signature, arguments, 0, 2)
        found = builder.load(vector_at(builder, p_x, arguments[1], vector), align=size)
        store_past_caches(builder, found, vector_at(builder, p_y, arguments[3], vector), VECTOR_BYTES)
        return context.get_dummy_value()

    return types.none(x, types.intp, y, types.intp), generate


_line: Any = intrinsic(_store_line)


def _fence(typing_context: Any) -> Any:
    """Complete what was written past the caches before anything that follows, for other threads too."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.fence("seq_cst")
        return context.get_dummy_value()

    return types.none(), generate


fence: Any = intrinsic(_fence)


def _request_line(typing_context: Any, x: Any, at: Any) -> Any:
    """Ask for the cache line of x[at]; x is flat."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (data,) = data_of(context, builder, signature, arguments, 0)
        address = vector_at(builder, data, arguments[1], ir.IntType(8))
        word, byte = ir.IntType(32), ir.IntType(8).as_pointer()
        request = ir.FunctionType(ir.VoidType(), [byte, word, word, word])
        function = _function(builder.module, request, "llvm.prefetch.p0")
        # To read it, into every cache, as data.
        builder.call(function, [address, *(ir.Constant(word, n) for n in (0, 3, 1))])
        return context.get_dummy_value()

    return types.none(x, types.intp), generate


request: Any = intrinsic(_request_line)


@compiled
def prefetch(row: Any) -> None:
    """Ask for a row that is read soon."""
    for j in range(0, row.size, VECTOR_BYTES // row.itemsize):
        request(row, j)


@compiled
def write_row(target: Any, source: Any, large: bool) -> None:
    """Copy a row to another as long as itself, past the caches if it is one of a large result.

    A kernel calls `fence` after its last row.
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
        _line(source, j, target, j)
    copy(target[last:], source[last:])
