"""Accesses of a step's kernels to memory, counted by the emulator in small: sectors, bank conflicts, divergence."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import step_costs
from sector_reasons import LEAST, reason

import cuslayer as cs

sys.path.append(str(Path(__file__).parents[1]))

from tools.emulator.counts import LaunchCounts
from tools.fake_cupy import in_use

# The step is computed for one recording of few steps: more than those after which the response of SRM() is cut.
STEPS, BATCH = 96, 1


@dataclass(frozen=True)
class Accesses:
    """The accesses of a kernel.

    Attributes:
        arrays: for each array the 32-byte sectors that warps read, write and change atomically, each access its own,
            and the fewest sectors that hold the bytes.
        shared: the warp accesses to shared memory.
        conflicts: the further passes that they need because lanes want different words of a bank.
        divergence: the share of accesses in which only a part of a warp's lanes takes part.
    """

    arrays: dict[str, tuple[int, int]]
    shared: int
    conflicts: int
    divergence: float

    @property
    def sectors(self) -> int:
        """The sectors of all arrays."""
        return sum(sectors for sectors, _ in self.arrays.values())

    @property
    def ideal(self) -> int:
        """The sectors of all arrays that are needed."""
        return sum(ideal for _, ideal in self.arrays.values())

    @property
    def efficiency(self) -> float:
        """The share of the sectors that is needed; 1 without accesses."""
        return self.ideal / self.sectors if self.sectors else 1.0

    def wasteful(self) -> list[str]:
        """Return the arrays of which less than `LEAST` of the sectors are needed, that with most others first."""
        found = {name: sectors - ideal for name, (sectors, ideal) in self.arrays.items() if ideal < LEAST * sectors}
        return sorted(found, key=lambda name: -found[name])

    def reason(self, kernel: str) -> str:
        """Return why less than `LEAST` of the sectors are needed; '' if more are."""
        return reason(kernel, self.wasteful()[0]) if self.efficiency < LEAST else ""


def total(launches: Iterable[LaunchCounts]) -> Accesses:
    """Return the accesses of launches, summed over them and their arrays."""
    launches = list(launches)
    arrays = dict[str, tuple[int, int]]()
    for name, x in (item for launch in launches for item in launch.sectors.items()):
        sectors, ideal = arrays.get(name, (0, 0))
        sectors += x.read + x.written + x.changed
        arrays[name] = sectors, ideal + x.ideal_read + x.ideal_written + x.ideal_changed
    accesses = sum(launch.accesses for launch in launches)
    return Accesses(
        arrays,
        sum(launch.shared_accesses for launch in launches),
        sum(launch.conflicts for launch in launches),
        sum(launch.partial for launch in launches) / accesses if accesses else 0.0,
    )


def of_step(make: Callable[[], cs.Sequential], shape: tuple[int, ...]) -> dict[str, Accesses]:
    """Return the accesses of each kernel of a training step of a network, by the kernel's name."""
    with in_use(counting=True) as emulator:
        trainer, loader = step_costs.prepared(make, shape, STEPS, BATCH, 1)
        emulator.counts.clear()
        trainer.train(loader)
        names = dict.fromkeys(launch.kernel for launch in emulator.counts)
        return {name: total(launch for launch in emulator.counts if launch.kernel == name) for name in names}
