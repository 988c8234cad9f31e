"""Shapes of a kernel's arrays, by the comments on its parameters, and the sizes that follow from them.

A comment may begin with a shape: ``const real *x,  // (steps, columns), input``. An axis is an integer, an integer
parameter of the kernel, or a product such as ``2 x columns``. The last axis takes all further axes of an array. A shape
with any other word, such as a field of a struct, and an array without elements say nothing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

# The axes, as the comment has them.
Shape = tuple[str, ...]

_COMMENT = re.compile(r"(\w)\s*([,)])[ \t]*//[ \t]*\(([^()\n]*)\)")


def marked(code: str) -> str:
    """Return a source with the shape behind each name.

    >>> marked("real *x,  // (2, steps x columns), input")
    'real *x@2;steps x columns,  //, input'
    """
    return _COMMENT.sub(lambda match: f"{match[1]}@{match[3].replace(', ', ';').rstrip(',')}{match[2]}  //", code)


def shape_of(mark: str) -> Shape:
    """Return the shape behind a name in a marked source.

    >>> shape_of("2;steps x columns")
    ('2', 'steps x columns')
    """
    return tuple(mark.split(";")) if mark else ()


def read(shape: Shape, actual: tuple[int, ...], sizes: dict[str, Any]) -> None:
    """Set the sizes that are None and an axis of an array, unless it has too few axes."""
    last = len(shape) - 1
    if len(actual) > last:
        for name, size in zip(shape, (*actual[:last], math.prod(actual[last:])), strict=True):
            if sizes.get(name, 0) is None:
                sizes[name] = size


def count(shape: Shape, sizes: Mapping[str, Any]) -> int | None:
    """Return the elements of an array of a shape; None if it has a word that is no size."""
    factors = [factor for axis in shape for factor in axis.split(" x ")]
    numbers: list[Any] = [int(factor) if factor.isdecimal() else sizes.get(factor) for factor in factors]
    return None if None in numbers else math.prod(map(int, numbers))
