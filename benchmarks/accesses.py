"""Accesses of kernels to memory, counted by the emulator on small cases of gpu.py: sectors, conflicts, divergence."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import gpu

sys.path.append(str(Path(__file__).parents[1]))

from tests.support.emulator.counts import LaunchCounts
from tests.support.emulator.driver import emulation

# The arrays of the case: (STEPS, COLUMNS) of float32, a block of threads for kernels with a thread a column.
STEPS, COLUMNS = 20, 128


@dataclass(frozen=True)
class Accesses:
    """The accesses of one launch.

    Attributes:
        sectors: the 32-byte sectors that warps read, write and change atomically; each access counts its own.
        ideal: the fewest sectors that hold the bytes.
        shared: the warp accesses to shared memory.
        conflicts: the further passes that they need because lanes want different words of a bank.
        divergence: the share of accesses in which only a part of a warp's lanes takes part.
    """

    sectors: int
    ideal: int
    shared: int
    conflicts: int
    divergence: float

    @property
    def efficiency(self) -> float:
        """The share of the sectors that is needed; 1 without accesses."""
        return self.ideal / self.sectors if self.sectors else 1.0


def of_launch(launch: LaunchCounts) -> Accesses:
    """Return the accesses of a launch, summed over its arrays."""
    arrays = launch.sectors.values()
    return Accesses(
        sum(x.read + x.written + x.changed for x in arrays),
        sum(x.ideal_read + x.ideal_written + x.ideal_changed for x in arrays),
        launch.shared_accesses,
        launch.conflicts,
        launch.divergence,
    )


def accesses(names: Iterable[str]) -> dict[str, Accesses]:
    """Return the accesses of kernels by name, for those of which gpu.py has a launch."""
    found = {}
    with emulation(counting=True) as emulator:
        launches = gpu.launches("float32", STEPS, COLUMNS)
        for name in names:
            if name in launches:
                emulator.counts.clear()
                launches[name]()
                found[name] = next(of_launch(launch) for launch in emulator.counts if launch.kernel == name)
    return found
