"""Shapes of a kernel's arrays, by the comments on its parameters, and the sizes that follow from them.

A comment may begin with a shape: ``const real *x,  // (steps, columns), input``. An axis is an integer, an integer
parameter of the kernel, or a product such as ``2 x columns``. The last axis takes all further axes of an array. A shape
with any other word, such as a field of a struct, says nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

# For each axis its factors.
Shape = tuple[tuple[str, ...], ...]

_COMMENT = re.compile(r"(\w)\s*([,)])[ \t]*//[ \t]*\(([^()\n]*)\)([^\n]*)")


def marked(code: str) -> str:
    """Return a source with the shape behind each name; ``?`` if the comment says that the array may be empty.

    >>> marked("real *x,  // (2, steps x columns), or empty")
    'real *x @ 2; steps x columns?,'
    """

    def mark(match: re.Match[str]) -> str:
        name, end, axes, rest = match.groups()
        return f"{name} @ {axes.replace(',', ';')}{'?' if 'empty' in rest else ''}{end}"

    return _COMMENT.sub(mark, code)


def shape_of(mark: str) -> Shape:
    """Return the shape behind a name in a marked source.

    >>> shape_of(" 2; steps x columns?")
    (('2',), ('steps', 'columns'))
    """
    axes = mark.rstrip("?").split(";")
    return tuple(tuple(axis.split(" x ")) for axis in map(str.strip, axes) if axis)


def size_in(name: str, shape: Shape, actual: tuple[int, ...]) -> int | None:
    """Return a size that is an axis of a shape from the shape of an array; None if that has too few axes."""
    if (name,) not in shape or len(actual) < len(shape):
        return None
    axis = shape.index((name,))
    return actual[axis] if axis + 1 < len(shape) else math.prod(actual[axis:])


def count(shape: Shape, sizes: Mapping[str, int]) -> int | None:
    """Return the elements of an array of a shape; None if it has a word that is no size."""
    names = [name for axis in shape for name in axis]
    if not names or not all(name.isdecimal() or name in sizes for name in names):
        return None
    return math.prod(int(name) if name.isdecimal() else int(sizes[name]) for name in names)
