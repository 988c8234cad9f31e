"""The constants of each neuron by column, for kernels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, cast

import numpy as np

from cuslayer._base import check
from cuslayer.backend import Array, namespace, sent_once
from cuslayer.kernels.constants import least_factor


def per_column(name: str, constants: Array, like: Array, features: tuple[int, ...]) -> Array:
    """Return constants that broadcast to neurons of a shape for kernels, (K,) in an array's number type.

    Column m has the constant m % K. Constants below `least_factor` are 0.
    """
    xp = namespace(like)
    try:
        broadcast = xp.broadcast_to(constants, features)
    except ValueError:
        raise ValueError(f"{name} must broadcast to the neurons {features}, got shape {constants.shape}") from None
    flat = constants.reshape(-1) if constants.size == 1 or constants.shape == features[-1:] else broadcast.reshape(-1)
    flat = xp.where(abs(flat) < least_factor(like.dtype), 0, flat)
    return xp.ascontiguousarray(check.as_type(name, flat, like.dtype))


def side_by_side(names: Sequence[str], constants: Sequence[Array], like: Array, features: tuple[int, ...]) -> Array:
    """Return constants that broadcast to neurons of a shape for kernels, (constants, K).

    Column m has number m % K of each. They are on the device of an array, in its number type; constants of the host are
    sent to a device once.
    """
    xp = namespace(like)
    if len(constants) != len(names):
        raise ValueError(f"constants must be {', '.join(names) or 'none'}, got {len(constants)} arrays")
    if not names:
        return no_columns(xp, like.dtype)
    if xp is np or any(namespace(values) is not np for values in constants):
        return _spread(names, constants, like, features)
    return sent_once(_spread(names, list(map(np.asarray, constants)), np.empty(0, like.dtype), features), like)


def no_columns(xp: Any, dtype: np.dtype[Any]) -> Array:
    """Return no constants of neurons, for kernels, on the device in use."""
    none: Array = _none_on_the_host(dtype) if xp is np else xp.empty((0, 1), dtype)
    return none


@cache
def _none_on_the_host(dtype: np.dtype[Any]) -> Array:
    return np.empty((0, 1), dtype)


def _spread(names: Sequence[str], constants: Sequence[Array], like: Array, features: tuple[int, ...]) -> Array:
    xp = namespace(like)
    columns = [per_column(name, column, like, features) for name, column in zip(names, constants, strict=True)]
    if not all(column.size for column in columns):  # there are no neurons
        return cast(Array, xp.zeros((len(columns), 1), like.dtype))
    most = max(column.size for column in columns)
    rows = [xp.broadcast_to(column, (most // column.size, column.size)).reshape(1, most) for column in columns]
    return cast(Array, xp.concatenate(rows, axis=0))
