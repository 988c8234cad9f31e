"""Buckets: parameters whose gradients are added and sent together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from cuslayer.backend import Array, namespace
from cuslayer.tape import Tensor


class Bucket:
    """Parameters of one type, whose gradients lie one behind the other in an array.

    Attributes:
        parameters: the parameters.
        size: the number of their elements.
        dtype: their type.
    """

    def __init__(self, parameters: Sequence[Tensor]) -> None:
        self.parameters = list(parameters)
        self.size = sum(p.data.size for p in parameters)
        self.dtype = parameters[0].dtype

    def take(self) -> Array:
        """Return the gradients in one array, of zeros where there is none; the parameters have none afterwards."""
        grads: list[Any] = [p.grad for p in self.parameters]
        for p in self.parameters:
            p.grad = None
        flat = [_zeros(p) if g is None else g.reshape(-1) for p, g in zip(self.parameters, grads, strict=True)]
        return flat[0] if len(flat) == 1 else namespace(flat[0]).concatenate(flat, axis=0)

    def give(self, flat: Array) -> None:
        """Set the gradients to the parts of an array."""
        first = 0
        for p in self.parameters:
            p.grad = flat[first : first + p.data.size].reshape(p.data.shape)
            first += p.data.size

    def zeros(self) -> Array:
        """Return gradients of zeros."""
        return namespace(self.parameters[0].data).zeros(self.size, self.dtype)


def _zeros(p: Tensor) -> Array:
    return namespace(p.data).zeros(p.data.size, p.dtype)


def fill(parameters: Sequence[Tensor], megabytes: float) -> list[Bucket]:
    """Return the buckets of parameters, the last parameter first: backward completes its gradient first.

    A bucket is closed before it would be larger than so many million bytes; a larger parameter has one of its own.

    >>> import numpy as np
    >>> sizes = [100, 300, 5, 5]
    >>> buckets = fill([Tensor(np.zeros(n, np.float32)) for n in sizes], 1000e-6)
    >>> [[p.size for p in bucket.parameters] for bucket in buckets]
    [[5, 5], [300], [100]]
    """
    found: list[list[Tensor]] = []
    bytes_so_far, limit = 0, megabytes * 1e6
    for p in reversed(parameters):
        size = p.data.size * np.dtype(p.dtype).itemsize
        if not found or found[-1][0].dtype != p.dtype or bytes_so_far + size > limit:
            found.append([])
            bytes_so_far = 0
        found[-1].append(p)
        bytes_so_far += size
    return [Bucket(group) for group in found]
