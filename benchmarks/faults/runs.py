"""Training runs in child processes, and the comparison of their results with those of a run that nothing disturbed."""

from __future__ import annotations

import io
import itertools
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import cuslayer as cs
import cuslayer_main
from cuslayer import backend
from cuslayer.cli import main
from cuslayer.data import Events, write_events
from cuslayer.training import Config, load_checkpoint
from faults import clock

# What a step of training takes by the clocks of the run: with 10 steps an epoch, an epoch takes 7.5 minutes.
STEP_SECONDS = 45.0
EPOCHS, BATCH, TRAINING, TEST, SENSOR, MS = 4, 2, 20, 4, 6, 20
# A run takes less than a second.
HUNG_SECONDS = 600.0
# What no user should see.
UGLY = ("Traceback", "Fatal Python error", "Exception ignored", "Segmentation fault", "core dumped")

# Whether the figures of runs are compared.
figures = True

CONFIG = f"""\
simulation: {{Ts: 1.0, tSample: {MS}}}
neuron: {{type: SRMALPHA, theta: 10, tauSr: 10, tauRef: 1, scaleRef: 2, tauRho: 1, scaleRho: 1}}
layer:
  - {{dim: {SENSOR}x{SENSOR}x2}}
  - {{dim: 2c3, padding: 1}}
  - {{dim: 8, delay: true}}
  - {{dim: 2}}
training:
  error: {{type: NumSpikes, tgtSpikeRegion: {{start: 0, stop: {MS}}}, tgtSpikeCount: {{true: 8, false: 1}}}}
  path: {{in: %s, train: train.txt, test: test.txt}}
  epochs: {EPOCHS}
  batch: {BATCH}
"""


def write_recordings(folder: Path) -> list[Path]:
    """Write drawn recordings of two classes with their lists; return the paths of the recordings."""
    r = np.random.default_rng(0)
    folder.mkdir()
    paths = []
    for name, count in (("train.txt", TRAINING), ("test.txt", TEST)):
        lines = []
        for label in np.arange(count) % 2:
            paths.append(folder / f"{len(paths) + 1}.bs2")
            rows = 3 * label + r.integers(3, size=60)
            columns = r.integers(SENSOR, size=60)
            write_events(paths[-1], Events(np.sort(r.uniform(0, MS - 1, 60)), columns, rows, r.integers(2, size=60)))
            lines.append(f"{len(paths)} {label}\n")
        (folder / name).write_text("".join(lines))
    return paths


@dataclass(frozen=True)
class Outcome:
    """How a process ended: its exit code, or minus the signal that killed it; what it said; whether it hung."""

    code: int
    text: str
    hung: bool = False

    @property
    def ugly(self) -> bool:
        """Whether it said what no user should see."""
        return any(word in self.text for word in UGLY)

    def __str__(self) -> str:
        return f"{'hung, ' if self.hung else ''}exit {self.code}: {self.text.strip()[-400:]}"


class Child:
    """A training in a process of its own, which has the parent's imports and compiled kernels."""

    def __init__(self, pid: int, log: Path) -> None:
        self.pid, self._log = pid, log
        self.born = clock.date()

    def kill(self, number: int = signal.SIGKILL) -> None:
        os.kill(self.pid, number)

    def ended(self) -> Outcome | None:
        """Return how it ended; None if it is running."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        if pid:
            return Outcome(os.waitstatus_to_exitcode(status), self._log.read_text(errors="replace"))
        return None

    def wait(self, seconds: float = HUNG_SECONDS) -> Outcome | None:
        """Wait until it ends, so long at most; return how, or None."""
        until = clock.now() + seconds
        while True:
            found = self.ended()
            if found or clock.now() >= until:
                return found
            time.sleep(min(0.002, max(0.0, until - clock.now())))

    def end(self) -> Outcome:
        """Wait until it ends; kill it if it does not."""
        found = self.wait()
        if found:
            return found
        self.kill()
        _, status = os.waitpid(self.pid, 0)
        return Outcome(os.waitstatus_to_exitcode(status), self._log.read_text(errors="replace"), hung=True)


class Runs:
    """Runs of one configuration.

    Args:
        root: an empty folder for recordings and results.
        noise: whether each step draws a number from the generator, and takes its time by the clocks, and the network
            also has batch normalization, weight normalization, dropout and recurrence.

    Attributes:
        recordings: the paths of the recordings.
        seconds: how long the training of a run takes, from its start to its last checkpoint; figures are drawn then.
    """

    def __init__(self, root: Path, *, noise: bool = True) -> None:
        global _noise
        root.mkdir(exist_ok=True)
        self.root, self._noise = root, noise
        self.recordings = write_recordings(root / "data")
        self.config = root / "config.yaml"
        self.config.write_text(CONFIG % (root / "data"))
        self._folders = self._started = 0
        _noise = noise
        # In this process: it loads the kernels, and the children have them.
        with redirect_stdout(io.StringIO()):
            code = main(["train", str(self.config), "--out", str(root / "first")])
        if code:
            raise RuntimeError("soak: the undisturbed run failed")
        child = self.start(root / "undisturbed")
        found = child.end()
        self.seconds = (root / "undisturbed" / "checkpoint.npz").stat().st_mtime - child.born
        self._expected = contents(root / "undisturbed")
        if found.code or self._expected != contents(root / "first"):
            raise RuntimeError(f"soak: two undisturbed runs differ: {found}")

    def new_folder(self) -> Path:
        """Return a folder for a run, which does not exist yet."""
        self._folders += 1
        return self.root / f"run{self._folders}"

    def arguments(self, out: Path) -> list[str]:
        """Return the command that begins a run in a folder, or, where there is a checkpoint, goes on with it."""
        more = ["--resume"] if (out / "checkpoint.npz").exists() else []
        return ["train", str(self.config), "--out", str(out), *more]

    def start(self, out: Path, prepare: Callable[[], Any] = lambda: None) -> Child:
        """Begin a run in a folder or go on with it, in a child process that calls `prepare` first."""
        self._started += 1
        log, arguments = self.root / f"{out.name}.{self._started}.log", self.arguments(out)
        log.write_text("")
        sys.stdout.flush()
        # Until the child has the handlers of the program, signals wait.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        pid = os.fork()
        if pid == 0:
            _child(log, self.steps_file(out), arguments, self._noise, prepare)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        return Child(pid, log)

    def steps_file(self, out: Path) -> Path:
        """Return the file with a line for each step of a run: its number."""
        return self.root / f"{out.name}.steps"

    def steps(self, out: Path) -> list[int]:
        """Return the numbers of the steps of a run so far, in the order in which they were taken."""
        file = self.steps_file(out)
        return [int(line) for line in file.read_text().split()] if file.exists() else []

    def differences(self, out: Path) -> list[str]:
        """Return what differs from the undisturbed run, or is missing."""
        try:
            found = contents(out)
        except Exception as problem:
            return [f"{type(problem).__name__}: {problem}"]
        compared = [name for name in self._expected if figures or not name.endswith(".png")]
        return [name for name in compared if self._expected[name] != found.get(name)]

    def left_over(self, out: Path) -> list[str]:
        """Return the files that the undisturbed run does not have."""
        return sorted({path.name for path in out.iterdir()} - {path.name for path in (self.root / "first").iterdir()})


def contents(out: Path) -> dict[str, Any]:
    """Return what a run wrote, without the seconds that its epochs took and the name of its folder."""
    found: dict[str, Any] = {}
    for path in sorted(out.glob("[!.]*")):
        if path.suffix == ".npz":
            checkpoint = load_checkpoint(path)
            found[f"{path.name} epoch"] = checkpoint.epoch
            found[f"{path.name} generator"] = repr(checkpoint.generator)
            for part in ("network", "optimizer"):
                arrays = getattr(checkpoint, part)
                found |= {f"{path.name} {part} {name}": (a.dtype, a.shape, a.tobytes()) for name, a in arrays.items()}
        elif path.name == "metrics.csv":
            found[path.name] = [line.rsplit(",", 1)[0] for line in path.read_text().splitlines()]
        elif path.suffix == ".yaml":
            found[path.name] = path.read_text().replace(str(out), "OUT")
        else:
            found[path.name] = path.read_bytes()
    return found


def redone_steps(steps: list[int]) -> int:
    """Return the most steps that one restart of a run took again."""
    pairs = itertools.pairwise(steps)
    return max((before - after + 1 for before, after in pairs if after <= before), default=0)


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


_write, _step = os.write, cs.Adam.step
_SIGNALS = (signal.SIGINT, signal.SIGTERM)
# The file for the numbers of steps, and whether steps have noise, in this process.
_steps: int | None = None
_noise = False


def _noted_step(optimizer: Any) -> None:
    """Take a step, let it take its time by the clocks, note its number, and add a drawn number to a weight.

    A run that goes on with another state of the generator has other weights.
    """
    _step(optimizer)
    if _noise:
        optimizer.groups[0].params[0].data.flat[0] += 1e-3 * backend.generator().standard_normal()
        clock.advance(STEP_SECONDS)
    if _steps is not None:
        _write(_steps, f"{optimizer.steps}\n".encode())


cs.Adam.step = _noted_step  # type: ignore[method-assign]
_network = Config.network


def _with_every_kind(config: Config) -> Any:
    """Return a network with layers of every kind that a step changes, or that draw; the plain one without noise."""
    net = _network(config)
    if _noise:
        dense, neuron, delay, last = net.layers[-5:-1]
        dense = cs.Dense(dense.in_features, 8, weight_hook=cs.WeightNorm(), bias=True)
        population = cs.Recurrent(cs.Dense(2, 2), cs.CUBA(tau_i=2.0, trained=True))
        of_kinds = dense, cs.BatchNorm(8, trained=True, height=10.0), neuron, delay, cs.Dropout(0.3), last, population
        net.layers[-5:] = of_kinds
    return net


Config.network = _with_every_kind  # type: ignore[method-assign]


def _child(log: Path, steps: Path, arguments: list[str], noise: bool, prepare: Callable[[], Any]) -> None:
    """Train, and end the process as the command `cuslayer` would."""
    global _steps, _noise
    code, _noise = 1, noise
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        _steps = os.open(steps, flags)
        said = os.open(log, flags)
        os.dup2(said, 1)
        os.dup2(said, 2)
        prepare()
        for number in _SIGNALS:
            signal.signal(number, cuslayer_main._leave)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
        code = main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
