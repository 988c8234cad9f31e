"""Argument validation: each message names operation, argument, rule and value."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any


def number(op: str, name: str, value: Any) -> float:
    """Return value as a finite float.

    Raises:
        TypeError: value is not a real number.
        ValueError: value is infinite or NaN.
    """
    if isinstance(value, bool) or not hasattr(value, "__float__") or getattr(value, "ndim", 0) != 0:
        raise TypeError(f"{op}: {name} must be a number, got {type(value).__name__}")
    result = float(value)
    if not math.isfinite(result):
        raise ValueError(f"{op}: {name} must be finite, got {result}")
    return result


def positive(op: str, name: str, value: Any) -> float:
    """Return value as a finite float above zero; raise ValueError, or an error of `number`."""
    result = number(op, name, value)
    if result <= 0:
        raise ValueError(f"{op}: {name} must be positive, got {result:g}")
    return result


def not_negative(op: str, name: str, value: Any) -> float:
    """Return value as a finite float of at least zero; raise ValueError, or an error of `number`."""
    result = number(op, name, value)
    if result < 0:
        raise ValueError(f"{op}: {name} must not be negative, got {result:g}")
    return result


def fraction(op: str, name: str, value: Any) -> float:
    """Return value as a float in [0, 1); raise ValueError, or an error of `number`."""
    result = number(op, name, value)
    if not 0 <= result < 1:
        raise ValueError(f"{op}: {name} must lie in [0, 1), got {result:g}")
    return result


def integer(op: str, name: str, value: Any, *, least: int) -> int:
    """Return value as an int of at least `least`.

    Raises:
        TypeError: value is not an integer.
        ValueError: value is less than `least`.
    """
    if isinstance(value, bool):
        raise TypeError(f"{op}: {name} must be an integer, got bool")
    try:
        result = operator.index(value)
    except TypeError:
        raise TypeError(f"{op}: {name} must be an integer, got {type(value).__name__}") from None
    if result < least:
        raise ValueError(f"{op}: {name} must be at least {least}, got {result}")
    return result


def pair(op: str, name: str, value: Any, *, least: int) -> tuple[int, int]:
    """Return (rows, columns) from one integer or two."""
    if isinstance(value, (tuple, list)):
        if len(value) != 2:
            raise ValueError(f"{op}: {name} must be one integer or two, got {len(value)}")
        rows, columns = value
        return integer(op, name, rows, least=least), integer(op, name, columns, least=least)
    side = integer(op, name, value, least=least)
    return side, side


def neuron_index(op: str, shape: tuple[int, ...], neuron: Any) -> tuple[int, ...]:
    """Return the index of a neuron in a layer of a shape, given as such an index or as a flat one in C order.

    Raises:
        TypeError: the index is not made of integers.
        ValueError: the index is out of range.
    """
    if isinstance(neuron, (tuple, list)):
        index = tuple(integer(op, "neuron", n, least=0) for n in neuron)
        if len(index) == len(shape) and all(n < size for n, size in zip(index, shape, strict=True)):
            return index
    else:
        flat = integer(op, "neuron", neuron, least=0)
        if flat < math.prod(shape):
            return tuple(flat // math.prod(shape[axis + 1 :]) % size for axis, size in enumerate(shape))
    raise ValueError(f"{op}: neuron {neuron} lies outside a layer of shape {shape}")


def one_line(value: Any, most: int = 200) -> str:
    """Return the repr of a value in one line, cut where it is longer than `most` characters."""
    text = " ".join(repr(value).split())
    return text if len(text) <= most else f"{text[: most - 3]}..."


def one_of(op: str, name: str, value: Any, known: Iterable[str]) -> str:
    """Return value if it is one of the known words; raise ValueError that suggests the nearest."""
    words = list(known)
    if isinstance(value, str) and value in words:
        return value
    raise ValueError(f"{op}: {name} must be one of {', '.join(words)}, got {value!r}{nearest(value, words)}")


def nearest(word: Any, known: Iterable[Any]) -> str:
    """Return '; did you mean X?' with the known word nearest to `word`, or '' if none is near."""
    lowered = {str(k).lower(): str(k) for k in known}
    close = get_close_matches(str(word).lower(), lowered, n=1, cutoff=0.6)
    return f"; did you mean {lowered[close[0]]}?" if close else ""


def time_first(op: str, name: str, x: Any, *, least_dimensions: int = 2) -> None:
    """Raise ValueError unless x is an array (T, N, ...)."""
    if x.ndim < least_dimensions:
        layout = "(T, N, C)" if least_dimensions == 3 else "(T, N, ...)"
        raise ValueError(f"{op}: {name} must be {layout}, got shape {tuple(x.shape)}")


def floating(op: str, name: str, x: Any) -> None:
    """Raise TypeError unless x is of type float32 or float64."""
    if x.dtype.name not in ("float32", "float64"):
        raise TypeError(f"{op}: {name} must be float32 or float64, got {x.dtype}")


def same_shape(op: str, name: str, x: Any, other: str, y: Any) -> None:
    """Raise ValueError unless x and y have the same shape."""
    if tuple(x.shape) != tuple(y.shape):
        raise ValueError(f"{op}: {name} has shape {tuple(x.shape)}, {other} has shape {tuple(y.shape)}")
