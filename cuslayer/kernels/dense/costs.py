"""Which rows of spikes of a dense layer are busy, by what it costs the CPU to walk them or to look up sums.

Forward, this decides the order in which the spikes of a row are added. A GPU adds them in the same order, so it asks
here too.
"""

from __future__ import annotations

from functools import lru_cache

from cuslayer.backend import Array

# Tables that one word of codes, a byte each, looks up; and the inputs whose subsets a table has: neighbours, which are
# added to each other first where a row is busy.
TABLES, INPUTS = 6, 6
# Rows of the matrix that a word of codes stands for.
ROWS = TABLES * INPUTS
# VECTOR_BYTES of host/simd.py.
_VECTOR_BYTES = 64
# Nanoseconds of a core by which both ways are compared, measured on an AMD EPYC. A spike that is walked: to
# list it forward, to sort it for the weight's gradient, and each vector of its row, by the size of the matrix.
LISTED, SORTED = 0.8, 7.0
_VECTOR = [(64 << 10, 0.9), (10 << 20, 0.95), (18 << 20, 1.35), (1 << 62, 1.75)]
_IN_PARTS = 10 << 20
# These sums: a vector of a line for each word of codes, the tables of a word for each vector and each part of the
# lines, to write a vector of a line, more for one that is not whole, and to make the codes of a bin. And a line that is
# walked.
_LOOK_UP, _FILL, _WRITE, _WRITE_PART, _CODE, _LINE = 2.5, 480.0, 5.0, 27.0, 0.2, 5.0
# The most lines whose sums stay in the second-level cache, the least that are worth a table, and the parts of the work
# that are wanted for two threads.
_MOST_LINES, _LEAST_LINES, PARTS = 4096, 256, 8
# Spikes of a row that are walked whatever the sizes are: they take a tenth of a microsecond.
_FEW = 4
# Rows that share the tables where a row's number of spikes alone decides.
_SHARED = 2048


def pay(spikes: int, lines: int, matrix: Array, of_spike: float) -> bool:
    """Return whether this is faster than walking spikes, by their number alone.

    Args:
        spikes: the number of spikes.
        lines: the lines of spikes, each of which is the sum of some rows of the matrix.
        matrix: (rows, width).
        of_spike: LISTED or SORTED.
    """
    return spikes > _break_even(lines, *matrix.shape, matrix.itemsize, of_spike)


@lru_cache
def _break_even(lines: int, rows: int, width: int, itemsize: int, of_spike: float) -> float:
    vectors = _vectors(width, itemsize)
    parts = max(1, -(-lines // lines_together(lines, vectors, PARTS)))
    a_line, a_spike = _costs(rows, width, itemsize, max(1.0, lines / parts), of_spike)
    # One part is the work of one thread, while two walk.
    alone = 2 if parts * vectors == 1 else 1
    return lines * (alone * a_line - _LINE) / a_spike


def busy_above(w: Array) -> int:
    """Return the number of spikes in a row above which they are added in the order of `subsets.py`, forward.

    It depends on the shape of the weights (inputs, outputs) alone: what this costs where many rows share the tables.
    """
    return _busy_above(w.shape[0], w.shape[1], w.itemsize)


@lru_cache
def _busy_above(inputs: int, width: int, itemsize: int) -> int:
    a_line, a_spike = _costs(inputs, width, itemsize, _SHARED, LISTED)
    return max(_FEW, int((a_line - _LINE) / a_spike))


def _vectors(width: int, itemsize: int) -> int:
    return -(-width * itemsize // _VECTOR_BYTES)


def _costs(rows: int, width: int, itemsize: int, shared: float, of_spike: float) -> tuple[float, float]:
    """Return what the sums of a line cost where so many lines share tables, and a spike that is walked."""
    vectors, words, part = _vectors(width, itemsize), -(-rows // ROWS), width * itemsize % _VECTOR_BYTES > 0
    write, size = vectors * _WRITE + part * _WRITE_PART, rows * width * itemsize
    if of_spike == SORTED:
        # Errors that are larger than the caches are walked in parts, weights are not.
        size = min(size, _IN_PARTS)
    of_vector = next(cost for most, cost in _VECTOR if size <= most)
    a_line = words * vectors * (_LOOK_UP + _FILL / shared) + write + words * ROWS * _CODE
    return a_line, of_spike + vectors * of_vector


def lines_together(lines: int, blocks: int, parts: int) -> int:
    """Return the lines that share tables, for some blocks of columns and at least so many parts of the work."""
    return max(_LEAST_LINES, min(_MOST_LINES, -(-lines * blocks // parts)))
