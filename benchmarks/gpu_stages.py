"""The stages of benchmarks/gpu.py: what a stage gets, how one is run, and how the results of all are saved.

Each stage is a function of a `Run`, to which it adds what it finds, bit by bit. It runs in a process of its own with a
limit of time: what it has found until then is saved, and neither an error nor a card that no longer answers keeps the
next stage from running.
"""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import example_networks
from card import Cuda
from comparison.works import TRAINING
from example_networks import Make

from cuslayer.files import write_whole

# Seconds before its limit at which a stage that has more to measure stops by itself.
MARGIN = 4.0


class Skipped(Exception):
    """A stage needs something that this machine does not have."""


class Network(NamedTuple):
    """A network that is trained.

    Attributes:
        make: makes it.
        shape: the shape of its input.
        batch: recordings of a batch.
        layers: the same layers for other libraries, see `comparison.models.stages`.
        milliseconds: the time of a step that is demanded on an H100.
    """

    make: Make
    shape: tuple[int, ...]
    batch: int
    layers: list[list[Any]]
    milliseconds: float


def _networks() -> Mapping[str, Network]:
    layers = {"MLP": TRAINING["mlp32"].layers, "CNN": TRAINING["cnn8"].layers}
    demanded = {"MLP": 0.4, "CNN": 1.6}
    return {
        name: Network(make, example_networks.SHAPE, example_networks.BATCHES[name], layers[name], demanded[name])
        for name, make in example_networks.NETWORKS.items()
    }


@dataclass(frozen=True)
class Sizes:
    """The sizes of all measurements.

    Attributes:
        networks: what is trained, by name.
        steps: the steps of 1 ms of a recording.
        silence: the steps of the long silence.
        columns: the numbers of neurons for which the kernel `neuron` is timed.
        large: the columns of the arrays on which a copy and each kernel are timed; 0 for twice the L2 cache.
        warm: the training steps before those that are timed.
        timed: the training steps that are timed together, `windows` times.
        windows: how often.
        compared: the training steps after which bits are compared.
        recordings: the recordings of the epoch.
        events: the events of each of them.
        drawn: the most drawn networks that are compared with the CPU.
    """

    networks: Mapping[str, Network] = field(default_factory=_networks)
    steps: int = example_networks.STEPS
    silence: int = 2000
    columns: tuple[int, ...] = (80, 320, 16384, 131072)
    large: int = 0
    warm: int = 20
    timed: int = 40
    windows: int = 5
    compared: int = 12
    recordings: int = 60000
    events: int = 4172
    drawn: int = 200


class Run:
    """A run of a stage.

    Attributes:
        card: the GPU.
        sizes: the sizes of the measurements.
        found: what was found so far.
    """

    def __init__(self, card: Cuda, sizes: Sizes, seconds: float, save: Callable[[], None] = lambda: None) -> None:
        self.card, self.sizes, self.found = card, sizes, dict[str, Any]()
        self._end, self._save = time.monotonic() + seconds - MARGIN, save

    def left(self) -> float:
        """Return the seconds that are left to the stage; negative where it is time to stop."""
        return self._end - time.monotonic()

    def note(self, **found: Any) -> None:
        """Add what was found, and save it."""
        self.found |= found
        self._save()

    def add(self, name: str, row: dict[str, Any]) -> None:
        """Add a row to a list of what was found, and save it."""
        self.note(**{name: [*self.found.get(name, []), row]})

    def check(self, what: str, met: bool, found: str = "") -> None:
        """Note whether something is as it must be."""
        self.add("checks", {"what": what, "met": bool(met), "found": found})


class Stage(NamedTuple):
    """A stage: its name, what it does, its limit of time in seconds, and its function."""

    name: str
    title: str
    seconds: int
    work: Callable[[Run], None]


def perform(
    stage: Stage, card: Cuda, sizes: Sizes, save: Callable[[dict[str, Any]], None], used: float = 0.0
) -> dict[str, Any]:
    """Run a stage in this process and return its entry of the results, which is saved whenever something is found.

    Args:
        stage: the stage.
        card: the GPU.
        sizes: the sizes of the measurements.
        save: saves the entry.
        used: the seconds that the process has taken before.
    """
    began = time.monotonic()
    entry: dict[str, Any] = {"status": "running", "reason": None, "limit": stage.seconds}
    entry |= {"date": datetime.datetime.now().isoformat(timespec="seconds"), "where": card.describe()}

    def saved() -> None:
        entry["seconds"] = used + time.monotonic() - began
        save(entry)

    run = Run(card, sizes, stage.seconds - used, saved)
    entry["found"] = run.found
    saved()
    try:
        stage.work(run)
        entry["status"] = "done"
    except Skipped as reason:
        entry |= {"status": "skipped", "reason": str(reason)}
    except Exception as problem:  # whatever it is: the other stages run
        entry |= {"status": "failed", "reason": one_line(problem)}
    if entry["status"] != "skipped":
        # The clocks under load.
        entry["where"] = _described(card, entry["where"])
    saved()
    return entry


def _described(card: Cuda, before: dict[str, Any]) -> dict[str, Any]:
    """Return the description of a card; that from before if it no longer answers."""
    try:
        return card.describe()
    except Exception:  # an error of the stage may have made the device unusable
        return before


def one_line(problem: BaseException) -> str:
    """Return the type of an error and the first line of its message that has any."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return ": ".join([type(problem).__name__, *lines[:1]])


def write(path: Path, found: Any) -> None:
    """Write results as JSON, beside the file first: it is whole at any time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, lambda file: file.write((json.dumps(found, indent=1) + "\n").encode()))


def read(path: Path) -> dict[str, Any]:
    """Return the results of a file; nothing if it does not exist."""
    found: dict[str, Any] = json.loads(path.read_text("utf-8")) if path.exists() else {}
    return found
