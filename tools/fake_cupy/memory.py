"""Memory: of the driver, and of pools that keep what is freed, as in CuPy.

A pool gives freed memory to the next array of the same size and stream. Where it has none, it first gives all that is
free back to the driver: CuPy does so where memory is short, so no program may rely on the contrary. Freed memory is
overwritten. A graph uses memory at its addresses: its launch is refused if they belong to something else by then.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import numpy as np

from tools.fake_cupy.state import pushed, state
from tools.fake_cupy.streams import Stream, current

# CuPy's pool allocates multiples of so many bytes, which begin at multiples of it.
_UNIT = 512
# Freed memory is NaN as a float, -1 as an integer, neither True nor False as a bool.
POISON = 0xFF


class OutOfMemoryError(MemoryError):
    """As cupy.cuda.memory.OutOfMemoryError."""

    def __init__(self, size: int, total: int, limit: int) -> None:
        super().__init__(
            f"Out of memory allocating {size:,} bytes (allocated so far: {total:,} bytes, "
            f"limit set to: {limit:,} bytes)."
        )


class Memory:
    """Bytes from the driver, which has them again when nothing refers to this object."""

    def __init__(self, size: int) -> None:
        now, device = state(), state().device
        total = now.used.get(device, 0)
        if now.limit is not None and total + size > now.limit:
            raise OutOfMemoryError(size, total, now.limit)
        now.used[device] = total + size
        self.size, self.device_id = size, device
        # NumPy would take an array for the base of all views, whose type and shape are others.
        self.room = bytearray(size + _UNIT)
        self.first = -np.frombuffer(self.room, np.uint8).ctypes.data % _UNIT
        self.bytes = np.frombuffer(self.room, np.uint8, size, self.first)
        # Whether its last part was allocated within a capture.
        self.captured = False
        weakref.finalize(self, _give_back, now.used, device, size)


def _give_back(used: dict[int, int], device: int, size: int) -> None:
    used[device] -= size


class MemoryPointer:
    """As cupy.cuda.MemoryPointer; its memory is that of the driver, or of a pool."""

    def __init__(self, mem: Any, offset: int) -> None:
        self.mem = mem


class Part:
    """Memory that a pool has given to an array; the pool has it again when nothing refers to this object."""

    def __init__(self, memory: Memory, pool: Pool, stream: Stream) -> None:
        self.memory = memory
        memory.captured = stream.is_capturing()
        # Work that is still to come reads the memory before it is overwritten.
        weakref.finalize(self, _free, weakref.ref(pool), memory, stream, state().compute)

    def promise(self) -> Callable[[], None]:
        """Return a function that raises RuntimeError if a graph may not use the memory any more."""
        part, memory, within = weakref.ref(self), weakref.ref(self.memory), self.memory.captured

        def check() -> None:
            owner = memory()
            if owner is None or not (owner.captured if within else part()):
                raise RuntimeError("cudaErrorIllegalAddress: a graph uses memory that was freed since its capture")

        return check


def _free(pool: weakref.ref[Pool], memory: Memory, stream: Stream, compute: bool) -> None:
    if compute:
        # The work refers to the bytes alone, not to the memory.
        stream.run(partial(memory.bytes.fill, POISON))
    owner = pool()
    if owner is not None:
        owner.take_back(memory, stream)


class Pool:
    """A pool; `malloc` is its allocator."""

    def __init__(self, allocator: Callable[[int], MemoryPointer] | None = None) -> None:
        self._allocator = allocator or (lambda size: MemoryPointer(Memory(size), 0))
        self._free = dict[tuple[int, int, int], list[Memory]]()

    def malloc(self, size: int) -> MemoryPointer:
        """Return memory for an array that the stream in use works on.

        Raises:
            OutOfMemoryError: there is not so much memory.
        """
        size, stream = -(-size // _UNIT) * _UNIT, current()
        free = self._free.get((state().device, size, id(stream)))
        return MemoryPointer(Part(free.pop() if free else self._new(size), self, stream), 0)

    def _new(self, size: int) -> Memory:
        """Return memory of the allocator, after all that is free has gone back."""
        self.free_all_blocks()
        try:
            return self._allocator(size).mem  # type: ignore[no-any-return]
        except OutOfMemoryError:
            gc.collect()
            self.free_all_blocks()
            return self._allocator(size).mem  # type: ignore[no-any-return]

    def take_back(self, memory: Memory, stream: Stream) -> None:
        """Keep memory for later arrays."""
        self._free.setdefault((memory.device_id, memory.size, id(stream)), []).append(memory)

    def free_bytes(self) -> int:
        """Return the bytes that the pool keeps of the device in use."""
        return sum(len(free) * size for (device, size, _), free in self._free.items() if device == state().device)

    def free_all_blocks(self) -> None:
        """Give the memory that is free back to the driver."""
        self._free.clear()


def default_pool() -> Pool:
    """Return the default pool."""
    now = state()
    now.pool = now.pool or Pool()
    return now.pool


def alloc(size: int) -> MemoryPointer:
    """Return memory from the allocator in use."""
    allocators = state().stacks.allocators
    return (allocators[-1] if allocators else default_pool().malloc)(size)


def using_allocator(allocator: Callable[[int], MemoryPointer]) -> AbstractContextManager[Any]:
    """Use an allocator within the block, in this thread."""
    return pushed(state().stacks.allocators, allocator)
