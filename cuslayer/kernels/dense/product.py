"""What the dense layers of both devices share: a deferred product, and which rows of spikes are busy.

In a busy row, the CPU takes less time to look up precomputed sums than to add a row of weights for each spike. Forward,
this decides the order in which the spikes of a row are added. A GPU adds them in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from cuslayer import kernels
from cuslayer.backend import Array

# Tables that one word of codes, a byte each, looks up; and the inputs whose subsets a table has: neighbours, which are
# added to each other first where a row is busy.
TABLES, INPUTS = 6, 6
# Rows of the matrix that a word of codes stands for.
ROWS = TABLES * INPUTS
# VECTOR_BYTES of host/llvm.py.
_VECTOR_BYTES = 64
# Nanoseconds of a core by which both ways are compared, measured on an AMD EPYC. A spike that adds its row: to
# list it forward, to sort it for the weight's gradient, and each vector of its row, by the size of the matrix.
LISTED, SORTED = 0.8, 7.0
_VECTOR = [(64 << 10, 0.9), (10 << 20, 0.95), (18 << 20, 1.35), (1 << 62, 1.75)]
_IN_PARTS = 10 << 20
# These sums: a vector of a line for each word of codes, the tables of a word for each vector and each part of the
# lines, to write a vector of a line, more for one that is not whole, and to make the codes of a bin. And a line
# whose spikes add their rows.
_LOOK_UP, _FILL, _WRITE, _WRITE_PART, _CODE, _LINE = 2.5, 480.0, 5.0, 27.0, 0.2, 5.0
# The most lines whose sums stay in the second-level cache, the least that are worth a table, and the parts of the work
# that are wanted for two threads.
_MOST_LINES, _LEAST_LINES, PARTS = 4096, 256, 8
# Spikes of a row that add their rows whatever the sizes are: they take a tenth of a microsecond.
_FEW = 4
# Rows that share the tables where a row's number of spikes alone decides.
_SHARED = 2048
# The widest next layer whose product is computed within a kernel, again at each step. A wider one is computed in
# advance by `dense_input_adjoint`, which reads each of its errors for 64 outputs at a time.
WIDEST = 32


@dataclass(frozen=True, eq=False)
class Product:
    """The gradient of the spikes in front of a dense layer, ``errors @ weight.T``.

    A kernel that takes a product computes each element when it needs it; it does not store the matrix.

    Attributes:
        errors: the gradient of the layer's weighted input, (rows, next).
        weight: the layer's weight, (outputs, next).
    """

    errors: Array
    weight: Array

    @property
    def shape(self) -> tuple[int, int]:
        """The shape of the matrix, (rows, outputs)."""
        return self.errors.shape[0], self.weight.shape[0]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of its elements."""
        return self.errors.dtype

    def materialize(self) -> Array:
        """Return the matrix."""
        g: Array = kernels.of(self.errors).dense.input_adjoint(self.errors, self.weight)
        return g


def narrow(g: Array | Product) -> Array | Product:
    """Return a gradient as it is, but a product of no inputs, or of more than `WIDEST`, as an array."""
    return g.materialize() if isinstance(g, Product) and not 0 < g.errors.shape[1] <= WIDEST else g


@lru_cache
def break_even(lines: int, rows: int, width: int, itemsize: int, of_spike: float) -> float:
    """Return the number of spikes above which precomputed sums are faster than a row for each of them.

    Args:
        lines: the lines of spikes, each of which is the sum of some rows of the matrix.
        rows: rows of the matrix.
        width: columns of the matrix.
        itemsize: bytes of its numbers.
        of_spike: LISTED or SORTED.
    """
    vectors = _vectors(width, itemsize)
    parts = max(1, -(-lines // lines_together(lines, vectors, PARTS)))
    a_line, a_spike = _costs(rows, width, itemsize, max(1.0, lines / parts), of_spike)
    # One part is the work of one thread, while two add rows.
    alone = 2 if parts * vectors == 1 else 1
    return lines * (alone * a_line - _LINE) / a_spike


@lru_cache
def busy_above(inputs: int, outputs: int, itemsize: int) -> int:
    """Return the number of spikes in a row above which the rows of each six neighbours are added first, forward.

    It depends on the shape of the weights alone: what this costs where many rows share the tables.
    """
    a_line, a_spike = _costs(inputs, outputs, itemsize, _SHARED, LISTED)
    return max(_FEW, int((a_line - _LINE) / a_spike))


def _vectors(width: int, itemsize: int) -> int:
    return -(-width * itemsize // _VECTOR_BYTES)


def _costs(rows: int, width: int, itemsize: int, shared: float, of_spike: float) -> tuple[float, float]:
    """Return what the sums of a line cost where so many lines share tables, and a spike that adds its row."""
    vectors, words, part = _vectors(width, itemsize), -(-rows // ROWS), width * itemsize % _VECTOR_BYTES > 0
    write, size = vectors * _WRITE + part * _WRITE_PART, rows * width * itemsize
    if of_spike == SORTED:
        # Errors that are larger than the caches are added in parts, weights are not.
        size = min(size, _IN_PARTS)
    of_vector = next(cost for most, cost in _VECTOR if size <= most)
    a_line = words * vectors * (_LOOK_UP + _FILL / shared) + write + words * ROWS * _CODE
    return a_line, of_spike + vectors * of_vector


def lines_together(lines: int, blocks: int, parts: int) -> int:
    """Return the lines that share tables, for some blocks of columns and at least so many parts of the work."""
    return max(_LEAST_LINES, min(_MOST_LINES, -(-lines * blocks // parts)))
