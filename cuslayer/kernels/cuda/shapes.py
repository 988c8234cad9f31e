"""Shapes of a kernel's arrays, by the comments on its parameters, and the sizes that follow from them.

A comment may begin with a shape: ``const real *x,  // (steps, columns), input``. An axis is an integer, an integer
parameter of the kernel, or a product such as ``2 x columns``. The last axis takes all further axes of an array. A shape
with any other word, such as a field of a struct, says nothing. A call may lack an array whose comment has "empty".
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

# The axes, as the comment has them.
Shape = tuple[str, ...]

_COMMENT = re.compile(r"(\w)\s*([,)])[ \t]*//(?:[ \t]*\(([^()\n]*)\))?([^\n]*)")


def marked(code: str) -> str:
    """Return a source with the shape behind each name; ``?`` for an array that may be empty.

    >>> marked("real *x,  // (2, steps x columns), input, or empty")
    'real *x@2;steps x columns?,'
    """

    def mark(match: re.Match[str]) -> str:
        name, end, axes, remark = match.groups()
        shape = f"{(axes or '').replace(', ', ';').rstrip(',')}{'?' * ('empty' in remark)}"
        return f"{name}@{shape}{end}" if shape else f"{name}{end}"

    return _COMMENT.sub(mark, code)


def shape_of(mark: str) -> Shape:
    """Return the shape behind a name in a marked source.

    >>> shape_of("2;steps x columns?")
    ('2', 'steps x columns')
    """
    return tuple(filter(None, mark.rstrip("?").split(";")))


def sizes(
    shapes: Mapping[str, Shape], names: Sequence[str], actual: tuple[tuple[int, ...], ...], call_sizes: tuple[Any, ...]
) -> list[Any]:
    """Return the sizes of a call; where one is None, from its arrays. ValueError if an array has another size.

    Args:
        shapes: of the arrays, by their labels.
        names: of the sizes.
        actual: the shapes of the arrays of the call.
        call_sizes: its sizes, None where it lacks one.
    """
    known = dict(zip(names, call_sizes, strict=True))
    # Sizes of arrays without elements, which may stand for an absent one, only if no other has them.
    for shape, axes in sorted(zip(shapes.values(), actual, strict=True), key=lambda pair: not math.prod(pair[1])):
        last = len(shape) - 1
        if shape and len(axes) > last:
            for name, size in zip(shape, (*axes[:last], math.prod(axes[last:])), strict=True):
                if known.get(name, 0) is None:
                    known[name] = size
    for (label, shape), axes in zip(shapes.items(), actual, strict=True):
        factors = [factor for axis in shape for factor in axis.split(" x ")]
        numbers: list[Any] = [int(factor) if factor.isdecimal() else known.get(factor) for factor in factors]
        if not numbers or None in numbers:
            continue
        count = math.prod(map(int, numbers))
        if math.prod(axes) not in (0, count):
            raise ValueError(f"{label} ({', '.join(shape)}) must have {count} elements, got shape {axes}")
    return list(known.values())
