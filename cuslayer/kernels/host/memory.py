"""Memory on the CPU: a pool for large arrays, and how much a process may still take.

The system provides fresh memory page by page and clears each page at its first access, which can cost a kernel more
than its own work. Every training step needs the same large arrays, so each step uses memory that an earlier one
released, as in CuPy's pool on a GPU.
"""

from __future__ import annotations

import math
import mmap
import os
import re
import threading
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from cuslayer.backend import Array, DType, Setting

# Smaller arrays are NumPy's.
_LEAST_BYTES = 1 << 17
# For larger blocks, the pool checks whether there is memory.
_LARGE = 1 << 28
# Allocations begin at multiples of this: a cache line, and the width of the widest SIMD register.
_ALIGNMENT = 64
_MEMORY = Path("/proc/meminfo")
_OWN = Path("/proc/self/statm")
# Files of a control group, such as a container: the limit, the use, the details; in version 2 and in version 1.
_GROUPS = (
    tuple(Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current", "memory.stat")),
    tuple(
        Path("/sys/fs/cgroup/memory") / name
        for name in ("memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat")
    ),
)


# While a network is read from a file: how many elements its arrays may still have, in a list.
elements_left: Setting[list[int] | None] = Setting(None)


def count_elements(shape: tuple[int, ...]) -> None:
    """Raise ValueError if a new array of a shape is larger than the file being read allows.

    All arrays of a file count together, so a small file cannot take much memory.
    """
    allowed = elements_left.get()
    count = math.prod(shape)
    if allowed is None:
        return
    if count > allowed[0]:
        raise ValueError(f"a parameter of shape {shape} is larger than the arrays of its file")
    allowed[0] -= count


def available_memory() -> int | None:
    """Return the bytes that this process may still take: the least of all limits; None if unknown."""
    limits = []
    for measure in (_of_system, _of_group, _of_process):
        with suppress(OSError, ValueError, AttributeError, ImportError, KeyError):
            limits.append(measure())
    known = [limit for limit in limits if limit is not None]
    return max(0, min(known)) if known else None


def _of_system() -> int:
    """Return the memory of the system: on Linux free and reclaimable memory and swap, elsewhere all its memory."""
    if not _MEMORY.exists():
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    sizes = {name: int(size) * 1024 for name, size in re.findall(r"(\w+): *(\d+) kB", _MEMORY.read_text())}
    return sizes["MemAvailable"] + sizes.get("SwapFree", 0)


def _of_group() -> int | None:
    """Return the rest under the control group's limit, without cached files; None without a limit."""
    for limit, used, details in _GROUPS:
        text = limit.read_text().strip() if limit.exists() else "max"
        if text != "max":
            cached = re.search(r"^(?:total_)?inactive_file (\d+)$", details.read_text(), re.MULTILINE)
            return int(text) - int(used.read_text()) + (int(cached[1]) if cached else 0)
    return None


def _of_process() -> int | None:
    """Return the rest under the limit of the process's address space; None without a limit."""
    import resource

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    return limit - int(_OWN.read_text().split()[0]) * resource.getpagesize()


def in_words(size: float) -> str:
    """Return a number of bytes as text.

    >>> in_words(1536), in_words(12.3e9)
    ('1.54 kB', '12.3 GB')
    """
    units = ["bytes", "kB", "MB", "GB", "TB", "PB"]
    while size >= 999.5 and len(units) > 1:
        size /= 1000
        units.pop(0)
    return f"{size:.3g} {units[0]}"


class _Block:
    """A chunk of memory and its free intervals, in order and not adjacent."""

    def __init__(self, size: int) -> None:
        if size >= _LARGE:
            # Linux promises more memory than there is, and ends a process that uses it.
            available = available_memory()
            if available is not None and size > available:
                raise MemoryError(f"an array needs {in_words(size)}, {in_words(available)} are free")
        # From the system, which gets it back at once; malloc may keep freed memory. Private: memory that processes
        # share, the default of mmap, has no huge pages on Linux.
        options = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}
        try:
            pages = mmap.mmap(-1, size, **options)
        except (OSError, OverflowError):
            raise MemoryError(f"an array needs {in_words(size)}, which the system does not have") from None
        if hasattr(mmap, "MADV_HUGEPAGE"):
            with suppress(OSError):  # the kernel may lack huge pages
                pages.madvise(mmap.MADV_HUGEPAGE)
        self.bytes = np.frombuffer(pages, np.uint8)
        self.address = self.bytes.ctypes.data
        self.free = [(0, size)]

    def best_fit(self, size: int) -> tuple[int, int] | None:
        """Return the smallest free interval of at least a size."""
        return min((f for f in self.free if f[1] - f[0] >= size), key=lambda f: f[1] - f[0], default=None)

    def take(self, interval: tuple[int, int], size: int) -> tuple[int, int]:
        """Allocate the front of a free interval and return the allocated part."""
        start, stop = interval
        at = self.free.index(interval)
        self.free[at : at + 1] = [(start + size, stop)] if start + size < stop else []
        return start, start + size

    def release(self, interval: tuple[int, int]) -> None:
        """Free an interval and merge it with adjacent free ones."""
        merged: list[tuple[int, int]] = []
        for start, stop in sorted([*self.free, interval]):
            if merged and merged[-1][1] == start:
                merged[-1] = (merged[-1][0], stop)
            else:
                merged.append((start, stop))
        self.free = merged

    @property
    def unused(self) -> bool:
        """Whether the whole block is free."""
        return self.free == [(0, self.bytes.size)]


_Part: TypeAlias = tuple[_Block, tuple[int, int]]


class MemoryPool:
    """Blocks of memory from which arrays are allocated.

    When all memory is released, several blocks are replaced by one of the size of the peak use: allocations in one
    block waste less between them. If that is too small, the next is larger by an eighth. The pool keeps at most twice
    the peak use, so shapes no longer in use do not keep memory.
    """

    def __init__(self) -> None:
        self.lock = threading.Lock()
        # An allocation may end at any time in any thread, even within `take`, so it is only added to this queue.
        self.released: deque[_Part] = deque()
        # Released parts by their size, until another size is taken: each step of training takes the same sizes again.
        self.waiting: dict[int, list[_Part]] = {}
        self.blocks: list[_Block] = []
        self.in_use = 0
        self.peak = 0
        self.combined = 0

    @property
    def size(self) -> int:
        """The number of bytes of all blocks."""
        return sum(block.bytes.size for block in self.blocks)

    def take(self, size: int) -> _Part:
        """Return a block and the allocated interval; to release it, append both to `released`."""
        size = -(-size // _ALIGNMENT) * _ALIGNMENT
        with self.lock:
            while self.released:
                block, (start, stop) = self.released.popleft()
                self.waiting.setdefault(stop - start, []).append((block, (start, stop)))
                self.in_use -= stop - start
            if self.in_use and self.waiting.get(size):
                self.in_use += size
                self.peak = max(self.peak, self.in_use)
                return self.waiting[size].pop()
            for parts in self.waiting.values():
                for block, interval in parts:
                    block.release(interval)
            self.waiting.clear()
            if not self.in_use and len(self.blocks) > 1:
                self.combined = max(self.peak, min(self.size, self.combined + self.combined // 8))
                self.blocks = [_Block(self.combined)]
            intervals = [(i, block.best_fit(size)) for i, block in enumerate(self.blocks)]
            fits = [(interval[1] - interval[0], i, interval) for i, interval in intervals if interval]
            if fits:
                _, i, best_fit = min(fits)
                block = self.blocks[i]
            else:
                peak = max(self.peak, self.in_use + size)
                for block in [b for b in self.blocks if b.unused]:
                    if self.size + size > 2 * peak:
                        self.blocks.remove(block)
                block = _Block(size)
                best_fit = (0, size)
                self.blocks.append(block)
            # Only now: a block that is not available must not count as in use.
            self.in_use += size
            self.peak = max(self.peak, self.in_use)
            return block, block.take(best_fit, size)


_pool = MemoryPool()


class _Allocation:
    """Memory that is released when the last array that refers to it is deleted."""

    def __init__(self, shape: tuple[int, ...], dtype: DType, pool: MemoryPool, part: _Part) -> None:
        self.pool = pool
        self.part = part
        block, (start, _) = part
        self.__array_interface__ = {
            "version": 3,
            "shape": shape,
            "typestr": dtype.str,
            "data": (block.address + start, False),
        }

    def __del__(self) -> None:
        self.pool.released.append(self.part)


def empty(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an uninitialized array as `numpy.empty` does, a large one from the memory pool."""
    small = math.prod(shape) * np.dtype(dtype).itemsize < _LEAST_BYTES
    return np.empty(shape, dtype) if small else aligned(shape, dtype)


def aligned(shape: tuple[int, ...], dtype: Any) -> Array:
    """Return an uninitialized array from the beginning of a cache line on: vectors across two load slower."""
    dtype = np.dtype(dtype)
    size = max(math.prod(shape) * dtype.itemsize, 1)
    return np.asarray(_Allocation(shape, dtype, _pool, _pool.take(size)))


def aligned_copy(x: Array, dtype: DType) -> Array:
    """Return a copy of an array in a number type, from the beginning of a cache line on."""
    copy = aligned(x.shape, dtype)
    copy[...] = x
    return copy


def held_memory() -> int:
    """Return the bytes of the memory pool, used and unused."""
    return _pool.size
