"""Large arrays of the CPU's kernels, lent out again and again.

The system hands out fresh memory page by page, each cleared at its first touch, which can cost a kernel more than its
own work. Every training step wants the same large arrays, so that what one step gives back serves the next, as CuPy
does it on a GPU.
"""

from __future__ import annotations

import math
import mmap
import threading
from collections import deque
from contextlib import suppress
from typing import Any

import numpy as np

from cuslayer.backend import Array

_LEAST_BYTES = 1 << 20
# Loans begin at multiples of this: a cache line, and as wide as any SIMD register.
_ALIGNMENT = 64


class _Block:
    """A piece of memory, and the intervals of it that nobody uses, in order and apart."""

    def __init__(self, size: int) -> None:
        # Straight from the system, which gets it back whole: what malloc is given back, it may keep.
        pages = mmap.mmap(-1, size)
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):  # a kernel may be built without
                pages.madvise(mmap.MADV_HUGEPAGE)
        self.bytes = np.frombuffer(pages, np.uint8)
        self.free = [(0, size)]

    def best(self, size: int) -> tuple[int, int] | None:
        """Return the smallest free interval of at least a size."""
        return min((f for f in self.free if f[1] - f[0] >= size), key=lambda f: f[1] - f[0], default=None)

    def take(self, interval: tuple[int, int], size: int) -> tuple[int, int]:
        """Return the front of a free interval, which is free no more."""
        start, stop = interval
        at = self.free.index(interval)
        self.free[at : at + 1] = [(start + size, stop)] if start + size < stop else []
        return start, start + size

    def give_back(self, interval: tuple[int, int]) -> None:
        """Make an interval free, one with its free neighbours."""
        merged: list[tuple[int, int]] = []
        for start, stop in sorted([*self.free, interval]):
            if merged and merged[-1][1] == start:
                merged[-1] = (merged[-1][0], stop)
            else:
                merged.append((start, stop))
        self.free = merged

    @property
    def idle(self) -> bool:
        """Whether nobody uses any of it."""
        return self.free == [(0, self.bytes.size)]


class Pool:
    """Blocks of memory, lent out in parts.

    Once everything has come back, several blocks become one that would have held all that was lent at once: loans that
    lie in one block waste less between them. Should they not fit into it, the next is larger by an eighth. No more is
    kept than twice of what has been lent at once, so that old shapes do not hold memory for ever.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        # A loan may end at any moment, in any thread, even amid `take`: it only joins this queue.
        self.returned: deque[tuple[_Block, tuple[int, int]]] = deque()
        self.blocks: list[_Block] = []
        self.lent = self.most_lent = self.whole = 0

    @property
    def held(self) -> int:
        """How many bytes the blocks have."""
        return sum(block.bytes.size for block in self.blocks)

    def take(self, size: int) -> tuple[_Block, tuple[int, int]]:
        """Return a block and the interval of it that is lent; who is done appends both to `returned`."""
        size = -(-size // _ALIGNMENT) * _ALIGNMENT
        with self.lock:
            while self.returned:
                block, interval = self.returned.popleft()
                block.give_back(interval)
                self.lent -= interval[1] - interval[0]
            if not self.lent and len(self.blocks) > 1:
                self.whole = max(self.most_lent, min(self.held, self.whole + self.whole // 8))
                self.blocks = [_Block(self.whole)]
            self.lent += size
            self.most_lent = max(self.most_lent, self.lent)
            fits = [(best[1] - best[0], i, best) for i, b in enumerate(self.blocks) if (best := b.best(size))]
            if fits:
                _, i, best = min(fits)
                return self.blocks[i], self.blocks[i].take(best, size)
            for block in [b for b in self.blocks if b.idle]:
                if self.held + size > 2 * self.most_lent:
                    self.blocks.remove(block)
            self.blocks.append(_Block(size))
            return self.blocks[-1], self.blocks[-1].take((0, size), size)


_pool = Pool()


class _Loan:
    """Memory that is given back when the last array that looks at it is gone."""

    def __init__(self, shape: tuple[int, ...], dtype: np.dtype[Any], size: int) -> None:
        self.pool = _pool
        self.part = block, (start, _) = _pool.take(size)
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (block.bytes.ctypes.data + start, False),
        }

    def __del__(self) -> None:
        self.pool.returned.append(self.part)


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an array of unset elements, as `numpy.empty` does; a large one in memory that was used before."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    if size < _LEAST_BYTES:
        return np.empty(shape, dtype)
    return np.asarray(_Loan(shape, dtype, size))
