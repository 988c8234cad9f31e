"""What the runs of a campaign came to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from faults.runs import STEP_SECONDS, Outcome, Runs, redone_steps

# How many failures are described.
DESCRIBED = 20
# A run that cannot go on after so many tries is a dead end.
TRIES = 3


@dataclass
class Tally:
    """Counts of a campaign.

    Attributes:
        times: how often the fault was tried.
        runs: the number of trainings that were brought to their end.
        differences: trainings whose results differ from those of the undisturbed run.
        left_over: files that the undisturbed run does not have.
        dead_ends: trainings that could be neither resumed nor begun again.
        wrong_exits: processes with another exit code than the fault's, or with a traceback.
        hangs: processes that did not end.
        lost_seconds: the most training that one fault cost, by the clocks of the run.
        failures: descriptions of the first failures.
    """

    times: int = 0
    runs: int = 0
    differences: int = 0
    left_over: int = 0
    dead_ends: int = 0
    wrong_exits: int = 0
    hangs: int = 0
    lost_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    @property
    def failed(self) -> int:
        """The number of failures."""
        return self.differences + self.left_over + self.dead_ends + self.wrong_exits + self.hangs

    def add(self, name: str, problem: Any) -> None:
        """Count a failure, by the name of its attribute."""
        setattr(self, name, getattr(self, name) + 1)
        if len(self.failures) < DESCRIBED:
            self.failures.append(f"{name}: {problem}")

    def check(self, found: Outcome, codes: tuple[int, ...], what: str) -> bool:
        """Count a process that hung, or that ended with none of the codes or with a traceback; return whether not."""
        if found.hung:
            self.add("hangs", f"{what}: {found}")
        elif found.code not in codes or found.ugly:
            self.add("wrong_exits", f"{what}: {found}")
        else:
            return True
        return False

    def finish(self, runs: Runs, out: Path, what: str) -> None:
        """Bring a training to its end, as its user would, and compare it with the undisturbed one."""
        found = None
        for _ in range(TRIES):
            found = runs.start(out).end()
            if found.code == 0:
                break
        else:
            self.add("dead_ends", f"{what}: {found}")
            return
        self.compare(runs, out, what)

    def compare(self, runs: Runs, out: Path, what: str) -> None:
        """Compare a training that has ended with the undisturbed one."""
        self.runs += 1
        differences = runs.differences(out)
        if differences:
            self.add("differences", f"{what}: {', '.join(differences[:4])}")
        for name in runs.left_over(out):
            self.add("left_over", f"{what}: {name}")
        self.lost_seconds = max(self.lost_seconds, redone_steps(runs.steps(out)) * STEP_SECONDS)

    def row(self) -> dict[str, Any]:
        """Return what a file of results has."""
        return asdict(self)
