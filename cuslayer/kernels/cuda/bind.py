"""Conversion of numbers to the types of kernel parameters; errors name the parameter."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from functools import cache, lru_cache
from typing import Any, TypeAlias

import numpy as np

from cuslayer.backend import DType

# Converts a number to the type of a parameter.
Bind: TypeAlias = Callable[[Any], Any]


def real(label: str, dtype: DType) -> Bind:
    """Return a function that converts a number to float32 or float64; it raises TypeError or ValueError."""
    exact = dtype.type
    largest = float(np.finfo(dtype).max)
    # An optimizer passes the same float objects at every launch, and a conversion to float32 is slow.
    known: tuple[Any, Any] = (math.nan, exact(math.nan))

    def bind(value: float) -> float:
        nonlocal known
        last, bound = known
        if value is last:
            return bound
        if type(value) is float and abs(value) <= largest:
            bound = exact(value)
            known = value, bound
            return bound
        if isinstance(value, (bool, np.bool_)) or not isinstance(value, (int, float, np.integer, np.floating)):
            raise TypeError(f"{label} must be a number, got {type(value).__name__}")
        try:
            number = float(value)
        except OverflowError:
            raise ValueError(f"{label} does not fit {dtype}, got an integer past every float") from None
        # Infinity fits, unless it is the result of rounding a wider float.
        if abs(number) > largest and abs(value) != math.inf:
            raise ValueError(f"{label} does not fit {dtype}, got {value!s}")
        return exact(number)

    return bind


@cache
def _as_type(dtype: DType) -> Callable[[int], Any]:
    return lru_cache(maxsize=1024)(dtype.type)


def integer(label: str, dtype: DType) -> Bind:
    """Return a function that converts an integer to an integer type; it raises TypeError or ValueError."""
    # Sizes and cuts are the same at every launch, and a look-up is faster than a conversion.
    as_type = _as_type(dtype)

    def bind(value: int) -> int:
        if type(value) is not int:
            if isinstance(value, (bool, np.bool_)):
                raise TypeError(f"{label} must be an integer, got {type(value).__name__}")
            try:
                value = operator.index(value)
            except TypeError:
                raise TypeError(f"{label} must be an integer, got {type(value).__name__}") from None
        try:
            return as_type(value)
        except OverflowError:
            raise ValueError(f"{label} does not fit {dtype}, got {value}") from None

    return bind


def boolean(label: str, _: DType) -> Bind:
    """Return a function that converts a bool; it raises TypeError."""

    def bind(value: Any) -> Any:
        if not isinstance(value, (bool, np.bool_)):
            raise TypeError(f"{label} must be a bool, got {type(value).__name__}")
        return np.bool_(value)

    return bind


def struct(label: str, values: Mapping[str, Any], dtype: DType, binds: Mapping[str, Bind]) -> np.ndarray[Any, DType]:
    """Return a struct of numbers, which CuPy passes by value; it raises TypeError or ValueError."""
    if not isinstance(values, Mapping) or values.keys() != binds.keys():
        received = ", ".join(values) if isinstance(values, Mapping) else type(values).__name__
        raise TypeError(f"{label} must have {', '.join(binds)}, got {received}")
    return np.array(tuple(convert(values[name]) for name, convert in binds.items()), dtype)
