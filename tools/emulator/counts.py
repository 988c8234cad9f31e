"""Counts of what the accesses of a launch to memory would cost on a GPU.

`emulation(counting=True)` fills `emulator.counts`, one `LaunchCounts` for each launch:

    with emulation(counting=True) as emulator:
        gpu.srm.psp(x, response)
    (launch,) = emulator.counts
    launch.kernel                           # "psp"
    launch.sectors["x"].read                # 32-byte sectors that the warps read from x
    launch.sectors["x"].ideal_read          # the fewest that hold the bytes they wanted
    launch.conflicts, launch.divergence

A warp access is one instruction run by the lanes of a warp together. The threads of the emulator run one after another,
so their accesses are grouped afterwards: those of one instruction in the same iteration of every loop around it, in the
same call. So lanes that part at a branch or a loop meet again right behind it. That is exact where all lanes take the
same way. Where they part, it is the best that a GPU does: its compiler may let them meet later.

Instructions are those of the host's compiler (-O1): one for each load and store of the source that it does not remove.
A GPU's compiler may move a load out of a loop, or join two of them, where this one does not. Accesses to registers,
local arrays, constants and parameters do not count. One pass is counted, with threads and blocks ascending.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import NamedTuple

from tools.emulator import build as emulator_build


class ArrayCounts(NamedTuple):
    """Accesses to one array, or to one that is several arguments.

    Sectors are counted for each warp access: one that two accesses touch counts twice, as if there was no cache. The
    ideal is the distinct bytes that an access wants divided by 32, rounded up. The distinct sectors count once, as if
    the cache held all of them.
    """

    reads: int = 0  # warp accesses
    read: int = 0  # sectors
    ideal_read: int = 0
    distinct_read: int = 0
    writes: int = 0  # the same of writes
    written: int = 0
    ideal_written: int = 0
    distinct_written: int = 0
    atomics: int = 0  # neither reads nor writes
    changed: int = 0
    ideal_changed: int = 0
    distinct_changed: int = 0


@dataclass(frozen=True)
class LaunchCounts:
    """The counts of one launch.

    Attributes:
        kernel: the kernel's name.
        grid: blocks, in three dimensions.
        block: threads of a block.
        shared_bytes: static and dynamic shared memory of a block.
        sectors: for each array its accesses, by the parameter's name; ``x=y`` for an array that is x and y.
        accesses: warp accesses to arrays and shared memory.
        partial: those in which not all lanes take part that entered the kernel.
        lanes: the sum of the lanes that take part.
        shared_accesses: warp accesses to shared memory.
        conflicts: the passes that these need beyond the first, summed: for each access, the largest number of different
            4-byte words in one of the 32 banks, less 1. Lanes that want the same word share it. Accesses of 8 and 16
            bytes are served in halves and quarters of a warp, each counted on its own.
    """

    kernel: str
    grid: tuple[int, ...]
    block: tuple[int, ...]
    shared_bytes: int
    sectors: dict[str, ArrayCounts]
    accesses: int
    partial: int
    lanes: int
    shared_accesses: int
    conflicts: int

    @property
    def divergence(self) -> float:
        """The share of warp accesses in which not all lanes take part that entered the kernel; 0 without accesses."""
        return self.partial / self.accesses if self.accesses else 0.0


def argument_counts(number: int) -> ArrayCounts:
    """Return the accesses to an argument in the last pass that counted."""
    counts = (ctypes.c_uint64 * 12)()
    emulator_build.runtime().emulator_argument_counts(ctypes.c_uint(number), counts)
    return ArrayCounts(*counts)


def totals() -> tuple[int, ...]:
    """Return accesses, partial, lanes, shared_accesses and conflicts of the last pass that counted."""
    counts = (ctypes.c_uint64 * 5)()
    emulator_build.runtime().emulator_counts(counts)
    return tuple(counts)
