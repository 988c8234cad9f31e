"""Which rows of spikes are busy, for the dense layers of both devices.

In a busy row, the CPU takes less time to look up precomputed sums than to add a row of weights for each spike. Forward,
this decides the order in which the spikes of a row are added. A GPU adds them in the same order.
"""

from __future__ import annotations

from functools import lru_cache

# Tables that one word of codes, a byte each, looks up; and the neighbouring inputs of a table, which are added to each
# other first where a row is busy.
TABLES, INPUTS = 6, 6
# Rows of the matrix that a word of codes stands for.
ROWS = TABLES * INPUTS
# VECTOR_BYTES of host/llvm.py.
_VECTOR_BYTES = 64
# Nanoseconds of a core, measured on an AMD EPYC, to compare both ways. A spike that adds its row: to list it forward,
# to sort it for the weight's gradient, and each vector of its row, by the size of the matrix.
LISTED, SORTED = 0.8, 7.0
_VECTOR = [(64 << 10, 0.9), (10 << 20, 0.95), (18 << 20, 1.35), (1 << 62, 1.75)]
_IN_PARTS = 10 << 20
# Precomputed sums: a vector of a line for each word of codes, the tables of a word for each vector and each part of the
# lines, to write a vector of a line, more for an incomplete one, and to make the codes of a bin. And a line whose
# spikes add their rows.
_LOOK_UP, _FILL, _WRITE, _WRITE_PART, _CODE, LINE = 2.5, 480.0, 5.0, 27.0, 0.2, 5.0
# Spikes of a row that always add their rows: they take a tenth of a microsecond.
_FEW = 4
# Rows that share the tables where a row's number of spikes alone decides.
_SHARED = 2048


@lru_cache
def busy_above(inputs: int, outputs: int, itemsize: int) -> int:
    """Return the number of spikes in a row above which forward adds the rows of each six neighbours first.

    It depends on the shape of the weights alone, by the costs where many rows share the tables.
    """
    a_line, a_spike = costs(inputs, outputs, itemsize, _SHARED, LISTED)
    return max(_FEW, int((a_line - LINE) / a_spike))


def costs(rows: int, width: int, itemsize: int, shared: float, of_spike: float) -> tuple[float, float]:
    """Return the costs of the sums of a line where so many lines share tables, and of a spike that adds its row."""
    vectors, part = -(-width * itemsize // _VECTOR_BYTES), width * itemsize % _VECTOR_BYTES > 0
    write, words, size = vectors * _WRITE + part * _WRITE_PART, -(-rows // ROWS), rows * width * itemsize
    if of_spike == SORTED:
        # Errors larger than the caches are added in parts, weights are not.
        size = min(size, _IN_PARTS)
    of_vector = next(cost for most, cost in _VECTOR if size <= most)
    a_line = words * vectors * (_LOOK_UP + _FILL / shared) + write + words * ROWS * _CODE
    return a_line, of_spike + vectors * of_vector
