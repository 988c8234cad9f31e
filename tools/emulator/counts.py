"""Counts of what the accesses of a launch to memory would cost on a GPU.

`emulation(counting=True)` fills `emulator.counts`, one `LaunchCounts` for each launch:

    with emulation(counting=True) as emulator:
        response.apply(gpu, x)
    (launch,) = emulator.counts
    launch.kernel                           # "neuron_of_kind"
    launch.sectors["x"].read                # 32-byte sectors that the warps read from x
    launch.sectors["x"].ideal_read          # the fewest that hold the bytes they wanted
    launch.conflicts

A warp access is one instruction of the PTX, run by the lanes of a warp together. The threads of the emulator run one
after another, so their accesses are grouped afterwards: those of one instruction that each lane runs for the same time.
That is exact where all lanes take the same way; where they part, it is about the best that a GPU does.

A GPU's assembler may still move a load out of a loop, or join two of them. Accesses to parameters do not count. One
pass is counted, with threads and blocks ascending.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import NamedTuple

from tools.emulator import build as emulator_build


class ArrayCounts(NamedTuple):
    """Accesses to one array, or to one that is several arguments.

    Sectors are counted for each warp access: one that two accesses touch counts twice, as if there was no cache. The
    ideal is the distinct bytes that an access wants divided by 32, rounded up.
    """

    reads: int = 0  # warp accesses
    read: int = 0  # sectors
    ideal_read: int = 0
    writes: int = 0  # the same of writes
    written: int = 0
    ideal_written: int = 0
    atomics: int = 0  # neither reads nor writes
    changed: int = 0
    ideal_changed: int = 0


@dataclass(frozen=True)
class LaunchCounts:
    """The counts of one launch.

    Attributes:
        kernel: the kernel's name.
        grid: blocks, in three dimensions.
        block: threads of a block.
        shared_bytes: static and dynamic shared memory of a block.
        sectors: for each array its accesses, by the parameter's name; ``x=y`` for an array that is x and y.
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
    shared_accesses: int
    conflicts: int


def argument_counts(number: int) -> ArrayCounts:
    """Return the accesses to an argument in the last pass that counted."""
    counts = (ctypes.c_uint64 * 9)()
    emulator_build.runtime().machine_argument_counts(ctypes.c_uint(number), counts)
    return ArrayCounts(*counts)


def shared_counts() -> tuple[int, ...]:
    """Return shared_accesses and conflicts of the last pass that counted."""
    counts = (ctypes.c_uint64 * 2)()
    emulator_build.runtime().machine_shared_counts(counts)
    return tuple(counts)
