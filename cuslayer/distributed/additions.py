"""Additions of large arrays that wait for each other: some of them are done in one pass over memory.

To add in pairs is to read two arrays and to write one for each pair. Four arrays that are added in one pass are read
once, and their sum is written once; what lies between stays in the cache. The operands of each addition are the same.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from cuslayer.backend import Array, namespace
from cuslayer.jit import parallel_for

# An array, or two sums whose sum it stands for.
Sum: TypeAlias = "Array | tuple[Sum, Sum]"

# Arrays that are added in one pass, and the most bytes that they may have.
_ARRAYS, _MOST_BYTES = 4, 1 << 26
# Elements of a piece of an array: what is between two additions fits into the cache of a core.
_PIECE = 1 << 15


def add_later(a: Sum, b: Sum) -> Sum:
    """Return a + b, added up once it has enough arrays; the arrays belong to the sum.

    >>> one, two = np.ones(3), np.full(3, 2.0)
    >>> later = add_later(one, two)
    >>> add_up(add_later(later, np.zeros(3))).tolist()
    [3.0, 3.0, 3.0]
    """
    both = a, b
    arrays = _arrays(both)
    if namespace(arrays[0]) is not np or len(arrays) >= _ARRAYS or arrays[0].nbytes * len(arrays) > _MOST_BYTES:
        return add_up(both)
    return both


def add_up(given: Sum, out: Array | None = None) -> Array:
    """Return the array of a sum: in `out`, by default in its first array."""
    arrays = _arrays(given)
    total = arrays[0] if out is None else out
    if namespace(total) is not np:
        # Two at most, which are added one to the other; none waits.
        if out is not None:
            out[...] = arrays[0]
        for each in arrays[1:]:
            total += each
    elif given is not total:

        def pieces(first: int, last: int) -> None:
            for n in range(first, last):
                piece = slice(n * _PIECE, (n + 1) * _PIECE)
                _write(given, piece, total[piece])

        parallel_for(pieces, -(-total.size // _PIECE), grain=1)
    return total


def _arrays(given: Sum) -> list[Any]:
    """Return the arrays of a sum from left to right."""
    return [*_arrays(given[0]), *_arrays(given[1])] if isinstance(given, tuple) else [given]


def _write(given: Sum, piece: slice, out: Array) -> None:
    """Write a piece of a sum of arrays of NumPy."""
    if not isinstance(given, tuple):
        out[...] = given[piece]
        return
    left, right = given
    np.add(_value(left, piece, out), _value(right, piece, None), out=out)


def _value(given: Sum, piece: slice, out: Array | None) -> Array:
    """Return a piece of an operand; if it is a sum, in `out` or an array of its own."""
    if not isinstance(given, tuple):
        part: Array = given[piece]
        return part
    space = np.empty_like(_arrays(given)[0][piece]) if out is None else out
    _write(given, piece, space)
    return space
