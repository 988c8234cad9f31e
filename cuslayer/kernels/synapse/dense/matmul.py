"""Launcher of `matmul.cu`: products of matrices of numbers on a GPU."""

from __future__ import annotations

from cuslayer.backend import Array
from cuslayer.kernels.cuda.compile import kernel
from cuslayer.kernels.cuda.launch import contiguous, empty, zeros
from cuslayer.kernels.synapse.conv.tap_sums import add_parts

__all__ = ["matmul"]

# SIDE and THREADS of matmul.cu.
_SIDE = 64
_THREADS = 256
# The blocks that keep a GPU busy, where there are not more tiles; and the fewest terms of a part.
_BLOCKS = 256
_LEAST = 256
# DEPTH of matmul.cu: terms that are read together.
_DEPTH = 16


def matmul(a: Array, b: Array, *, a_transposed: bool = False, b_transposed: bool = False) -> Array:
    """Return a b, a' b or a b', of matrices of one type of numbers.

    A sum of many terms is computed in parts where the product is small; the shapes alone decide their number.
    """
    rows, inner = a.shape[::-1] if a_transposed else a.shape
    columns = b.shape[0] if b_transposed else b.shape[1]
    if not rows * inner * columns:
        return zeros(b, (rows, columns), b.dtype)
    tiles = -(-rows // _SIDE) * -(-columns // _SIDE)
    parts = min(max(1, _BLOCKS // tiles), max(1, inner // _LEAST))
    chunk = -(-inner // (parts * _DEPTH)) * _DEPTH
    parts = -(-inner // chunk)
    c = empty(b, (parts, rows, columns), b.dtype)
    kernel("matmul", b.dtype).launch(
        (tiles, parts),
        (_THREADS,),
        0,
        a=contiguous(a),
        b=contiguous(b),
        c=c,
        inner=inner,
        chunk=chunk,
        a_transposed=a_transposed,
        b_transposed=b_transposed,
    )
    return add_parts(c.reshape(parts, rows * columns), (rows, columns))
