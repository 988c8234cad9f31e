"""Large arrays of the CPU's kernels, lent out again and again.

The system hands out fresh memory page by page, each cleared at its first touch, which costs a kernel as much as its
own work. Every training step wants the same large arrays, so that what one step gives back serves the next, as CuPy
does it on a GPU.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from typing import Any

import numpy as np

from cuslayer.backend import Array

_LEAST_BYTES = 1 << 20
# A block serves a wish of up to this much less than its size.
_SLACK = 1.25


class _Pool:
    """Blocks that nobody uses, the longest idle first.

    No more is kept idle than has been in use at once, so that a change of shapes does not keep the old ones for ever.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        # A block may come back at any moment, from any thread, even amid `take`: it only joins this queue.
        self.returned: deque[Array] = deque()
        self.idle: list[Array] = []
        self.lent_bytes = self.most_lent = 0

    def take(self, size: int) -> Array:
        with self.lock:
            while self.returned:
                block = self.returned.popleft()
                self.lent_bytes -= block.nbytes
                self.idle.append(block)
            fitting = [b for b in self.idle if size <= b.nbytes <= _SLACK * size]
            best = min(fitting, key=lambda b: b.nbytes) if fitting else np.empty(size, np.uint8)
            self.lent_bytes += best.nbytes
            self.most_lent = max(self.most_lent, self.lent_bytes)
            self.idle = [b for b in self.idle if b is not best]
            excess = sum(b.nbytes for b in self.idle) - self.most_lent
            while excess > 0:
                excess -= self.idle.pop(0).nbytes
            return best


_pool = _Pool()


class _Loan:
    """A block that is given back when the last array that looks at it is gone."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], size: int) -> None:
        self.pool = _pool
        self.block = _pool.take(size)
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (self.block.ctypes.data, False),
        }

    def __del__(self) -> None:
        self.pool.returned.append(self.block)


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array of unset elements, as `numpy.empty` does; a large one in memory that was used before."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < _LEAST_BYTES:
        return np.empty(shape, dtype)
    return np.asarray(_Loan(shape, dtype, size))
