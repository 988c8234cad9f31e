"""Train under faults, and compare each training with one that nothing disturbed.

    python benchmarks/soak.py                                # all faults, as often as docs/reliability.md says
    python benchmarks/soak.py kills deaths --times 20        # some of them, each so often
    python benchmarks/soak.py memory                         # resident memory over 2,000 steps

A training has 4 epochs of 10 steps on drawn recordings. By the clock of its process, which the script moves, a step
takes 45 seconds, so that an epoch takes longer than the five minutes between two checkpoints. A disturbed training is
resumed, or begun again where there is no checkpoint, until it is done; then weights, the state of the optimizer and of
the generator, metrics (without seconds), gradients and figures must equal those of the undisturbed training to the bit,
and no other file may be left. Prints a table, and writes it to docs/reliability.md; a fault that is tried again
replaces its earlier row. The exit code is 1 if anything differs. Linux only; needs the extra test.
"""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import common
import numpy as np
import pytest

import cuslayer as cs
import cuslayer_main
from cuslayer.cli import main as cuslayer
from cuslayer.data import Events, write_events
from cuslayer.training import Trainer
from tests.support.deaths import Disk, results, tiny, with_every_kind

# What a step of training takes by the clock of the run: with 10 steps an epoch, an epoch takes 7.5 minutes.
STEP_SECONDS = 45.0
TRAINING, TEST, MS = 20, 4, 8
# A run takes less than a second.
HUNG_SECONDS = 600.0
# What no user should see.
UGLY = ("Traceback", "Fatal Python error", "Exception ignored", "Segmentation fault", "core dumped")
# How many failures are described, and after how many tries a run that cannot go on is a dead end.
DESCRIBED, TRIES = 20, 3
# The most training that a fault may cost, in seconds by the clock of the run; a signal may cost none.
LOST_AT_MOST = 300.0
BAD = ("differences", "left_over", "dead_ends", "wrong_exits", "hangs")
MEMORY_STEPS, MEMORY_SHARE = 2000, 0.03
NETWORKS = {"MLP": ("34x34x2-256-10", 8, 100), "CNN": ("34x34x2-8c5-2a-16c3-2a-10", 2, 50)}
# The first steps compile kernels and fill the pool of memory.
WARM, SAMPLES = 0.1, 40
ENDS = {signal.SIGINT: 130, signal.SIGTERM: 143}

_seconds = 0.0
_steps: int | None = None
_real_clock, _real_write, _real_step = time.monotonic, os.write, cs.SGD.step


def noted_step(optimizer: Any) -> None:
    """Take a step, let it take its time by the clock, and note its number."""
    global _seconds
    _real_step(optimizer)
    _seconds += STEP_SECONDS
    if _steps is not None:
        _real_write(_steps, f"{optimizer.steps}\n".encode())


class Run:
    """A training in a process of its own, which has the parent's imports and compiled kernels.

    When it has ended, `code` is its exit code, or minus the signal that killed it, and `text` is what it said.
    """

    def __init__(self, pid: int, log: Path) -> None:
        self.pid, self.log, self.hung = pid, log, False
        self.code: int | None = None

    def wait(self, seconds: float) -> bool:
        """Wait until it ends, so long at most; return whether it has ended."""
        until = time.perf_counter() + seconds
        while self.code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.perf_counter() >= until:
                return False
            else:
                time.sleep(0.002)
        self.text = self.log.read_text(errors="replace")
        return True

    def end(self) -> Run:
        """Wait until it ends; kill it if it does not."""
        if not self.wait(HUNG_SECONDS):
            self.hung = True
            os.kill(self.pid, signal.SIGKILL)
            self.wait(HUNG_SECONDS)
        return self

    def __str__(self) -> str:
        return f"{'hung, ' if self.hung else ''}exit {self.code}: {self.text.strip()[-400:]}"


class Runs:
    """Runs of one configuration in an empty folder: how long one takes, and how often it changes the disk."""

    def __init__(self, root: Path, *, figures: bool) -> None:
        self.root, self.figures = root, figures
        self._started = 0
        self.recordings = write_recordings(root / "data")
        self.config = root / "config.yaml"
        self.config.write_text(tiny(root, epochs=4, checkpoint_steps=None).to_yaml())
        disk = Disk(root)
        # In this process: it loads the kernels, and the children have them.
        with pytest.MonkeyPatch.context() as patch, open(os.devnull, "w") as nothing:
            patch.setattr(sys, "stdout", nothing)
            disk.patch(patch)
            code = cuslayer(self.arguments(root / "first"))
        self.changes, begun = len(disk.changes), time.perf_counter()
        found = self.start(root / "undisturbed").end()
        self.seconds = time.perf_counter() - begun
        self.expected = self.contents(root / "undisturbed")
        if code or found.code or self.expected != self.contents(root / "first"):
            raise RuntimeError(f"soak: two undisturbed runs differ: {found}")

    def arguments(self, out: Path) -> list[str]:
        """Return the command that begins a run in a folder, or, where there is a checkpoint, goes on with it."""
        more = ["--resume"] if (out / "checkpoint.npz").exists() else []
        return ["train", str(self.config), "--out", str(out), *more]

    def start(self, out: Path, disk: Disk | None = None) -> Run:
        """Begin a run in a folder or go on with it, in a child process whose changes of the disk go through `disk`."""
        self._started += 1
        log, arguments = self.root / f"{out.name}.{self._started}.log", self.arguments(out)
        log.write_text("")
        sys.stdout.flush()
        # Until the child has the handlers of the program, signals wait.
        signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
        pid = os.fork()
        if pid == 0:
            _train(log, out.with_suffix(".steps"), arguments, disk)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
        return Run(pid, log)

    def lost_seconds(self, out: Path) -> float:
        """Return the most training that one restart of a run took again, by the clock of the run."""
        file = out.with_suffix(".steps")
        steps = [int(line) for line in file.read_text().split()] if file.exists() else []
        again = (before - after + 1 for before, after in itertools.pairwise(steps))
        return STEP_SECONDS * max(0, max(again, default=0))

    def contents(self, out: Path) -> dict[str, Any]:
        """Return what a run wrote, without the seconds that its epochs took and the name of its folder."""
        found = {**results(out), "config.yaml": (out / "config.yaml").read_text().replace(str(out), "OUT")}
        return found | {path.name: path.read_bytes() for path in out.glob("*.png") if self.figures}


def _train(log: Path, steps: Path, arguments: list[str], disk: Disk | None) -> None:
    """Train in this process, a child, and end it as the command `cuslayer` would."""
    global _steps
    code = 1
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        _steps, words = os.open(steps, flags), os.open(log, flags)
        os.dup2(words, 1)
        os.dup2(words, 2)
        if disk:
            disk.patch(pytest.MonkeyPatch())
        for number in ENDS:
            signal.signal(number, cuslayer_main._leave)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDS)
        code = cuslayer(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def write_recordings(folder: Path) -> list[Path]:
    """Write drawn recordings of two classes with their lists; return the paths of the recordings."""
    r, paths = np.random.default_rng(0), list[Path]()
    folder.mkdir()
    for name, count in (("train.txt", TRAINING), ("test.txt", TEST)):
        lines = []
        for label in np.arange(count) % 2:
            paths.append(folder / f"{len(paths) + 1}.bs2")
            x, y, p = r.integers(6, size=60), 3 * label + r.integers(3, size=60), r.integers(2, size=60)
            write_events(paths[-1], Events(np.sort(r.uniform(0, MS - 1, 60)), x, y, p))
            lines.append(f"{len(paths)} {label}\n")
        (folder / name).write_text("".join(lines))
    return paths


@dataclass
class Tally:
    """How often a fault was tried, the trainings that were brought to their end, and what failed."""

    times: int = 0
    runs: int = 0
    differences: int = 0
    left_over: int = 0
    dead_ends: int = 0
    wrong_exits: int = 0
    hangs: int = 0
    lost_seconds: float = 0.0
    failures: list[str] = field(default_factory=list)

    def add(self, name: str, problem: Any) -> None:
        """Count a failure, by the name of its attribute."""
        setattr(self, name, getattr(self, name) + 1)
        if len(self.failures) < DESCRIBED:
            self.failures.append(f"{name}: {problem}")

    def check(self, found: Run, codes: Sequence[int], what: str, reason: str) -> None:
        """Count a process that hung, that ended with none of the codes or with a traceback, or 2 and no reason."""
        self.times += 1
        if found.hung:
            self.add("hangs", f"{what}: {found}")
        elif (
            found.code not in codes
            or any(word in found.text for word in UGLY)
            or (found.code == 2 and reason not in found.text)
        ):
            self.add("wrong_exits", f"{what}: {found}")

    def finish(self, runs: Runs, out: Path, what: str) -> None:
        """Bring a training to its end, as its user would, and compare it with the undisturbed one."""
        for _ in range(TRIES):
            found = runs.start(out).end()
            if found.code == 0:
                break
        else:
            self.add("dead_ends", f"{what}: {found}")
            return
        self.runs += 1
        try:
            contents = runs.contents(out)
        except Exception as problem:
            self.add("differences", f"{what}: {type(problem).__name__}: {problem}")
            return
        more = set(contents.pop("files")) - set(runs.expected["files"])
        differences = [name for name in runs.expected if name != "files" and runs.expected[name] != contents.get(name)]
        if differences:
            self.add("differences", f"{what}: {', '.join(differences[:4])}")
        for name in more:
            self.add("left_over", f"{what}: {name}")
        self.lost_seconds = max(self.lost_seconds, runs.lost_seconds(out))


class Fault(NamedTuple):
    """A fault: what the table calls it, how often it is tried, how often in one training at most, and its function.

    The function gets the runs, a folder, a random generator, and how far the campaign is, from 0 to 1. It disturbs a
    run in the folder, and returns how the run ended, the exit codes it may have, what was done, and the reason that a
    run that ends with 2 must give.
    """

    title: str
    times: int
    in_one: int
    strike: Callable[[Runs, Path, random.Random, float], tuple[Run, Sequence[int], str, str]]


def at_a_random_moment(runs: Runs, out: Path, r: random.Random, happens: Callable[[int], Any]) -> Run:
    """Call a function with the process of a run at a random moment; return the run when it has ended."""
    run = runs.start(out)
    if not run.wait(r.uniform(0, 1.3 * runs.seconds)):
        happens(run.pid)
    return run.end()


def kill(runs: Runs, out: Path, r: random.Random, share: float) -> Any:
    found = at_a_random_moment(runs, out, r, lambda pid: os.kill(pid, signal.SIGKILL))
    return found, (0, -signal.SIGKILL), "killed", ""


def interrupt(runs: Runs, out: Path, r: random.Random, share: float) -> Any:
    number = r.choice(list(ENDS))
    # A signal that comes when the results are there has nothing to end.
    return at_a_random_moment(runs, out, r, lambda pid: os.kill(pid, number)), (0, ENDS[number]), number.name, ""


class Full(Disk):
    """A disk that is full from a change on; what takes no space can be done."""

    def change(self, name: str) -> None:
        super().change(name)
        if len(self.changes) > self._at and name not in ("open", "unlink", "fsync"):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def die(runs: Runs, out: Path, r: random.Random, share: float) -> Any:
    at = int(share * runs.changes)
    found = runs.start(out, Disk(out, at, lambda: os.kill(os.getpid(), signal.SIGKILL))).end()
    return found, (0, -signal.SIGKILL), f"death at change {at} of {runs.changes}", ""


def fill_the_disk(runs: Runs, out: Path, r: random.Random, share: float) -> Any:
    at = int(share * runs.changes)
    # A run may go on without what it cannot write.
    return runs.start(out, Full(out, at)).end(), (0, 2), f"full at change {at} of {runs.changes}", "No space"


# What a recording becomes. A reader sees each: SLAYER's files have no checksum, so that another number is valid.
DAMAGES: dict[str, Callable[[Path, bytes], Any]] = {
    "missing": lambda path, original: None,
    "a folder": lambda path, original: path.mkdir(),
    "a pipe": lambda path, original: os.mkfifo(path),
    "cut": lambda path, original: path.write_bytes(original[:-3]),
    "too long": lambda path, original: path.write_bytes(original + b"\0\0"),
    "of another sensor": lambda path, original: path.write_bytes(b"\xff" * len(original)),
}


def damage(runs: Runs, out: Path, r: random.Random, share: float) -> Any:
    """Replace a recording at once, so that a reader sees the old one or the new one; restore it after the run."""
    path, kind = r.choice(runs.recordings), r.choice(list(DAMAGES))
    original, beside = path.read_bytes(), path.with_suffix(".new")
    DAMAGES[kind](beside, original)

    def replace(_: int) -> None:
        if kind in ("missing", "a folder"):
            path.unlink()
        if kind != "missing":
            beside.replace(path)

    found = at_a_random_moment(runs, out, r, replace)
    for each in (path, beside):
        each.rmdir() if each.is_dir() else each.unlink(missing_ok=True)
    path.write_bytes(original)
    # A run that had read it for the last time does not see it.
    return found, (0, 2), f"a recording that is {kind}", path.name


FAULTS = {
    "kills": Fault("killed at a random moment", 300, 8, kill),
    "deaths": Fault("dead before, in or after a write, rename or removal", 100, 1, die),
    "full-disks": Fault("disk full from a chosen write or rename on", 60, 1, fill_the_disk),
    "recordings": Fault("recording missing, cut, or of another kind", 60, 1, damage),
    "signals": Fault("SIGINT or SIGTERM at a random moment", 60, 1, interrupt),
}


def disturb(runs: Runs, name: str, seed: int, count: int) -> dict[str, Any]:
    """Try a fault so often; return what it came to."""
    fault, r, tally = FAULTS[name], random.Random(f"{seed} {name} 0"), Tally()
    while tally.times < count:
        out, done = runs.root / f"run{tally.times}", list[str]()
        for _ in range(r.randint(1, min(fault.in_one, count - tally.times))):
            # Moments that are chosen are spread evenly over the run.
            found, codes, what, reason = fault.strike(runs, out, r, (tally.times + r.random()) / count)
            done.append(what)
            tally.check(found, codes, what, reason)
            if found.code == 0:
                break
        tally.finish(runs, out, ", ".join(done))
    limit = 0.0 if name == "signals" else LOST_AT_MOST
    if tally.lost_seconds > limit:
        tally.add("wrong_exits", f"{tally.lost_seconds:g} s of training were lost, at most {limit:g} s may be")
    for path in runs.root.glob("run*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    print(f"{name}: {tally.times} times, {len(tally.failures)} failures", file=sys.stderr, flush=True)
    return asdict(tally)


def growth(name: str, count: int) -> dict[str, float]:
    """Train so many steps; return the resident memory at the start and at the end in MB, and the growth as a share.

    The memory at an end is the median of a tenth of the samples after the first steps.
    """
    notation, batch, steps = NETWORKS[name]
    r, neuron = np.random.default_rng(0), cs.SRM()
    cs.seed(0)
    net = cs.Network(notation, neuron)
    loss = cs.SpikeCountLoss(neuron, true=20, false=2, window=(0, steps))
    trainer = Trainer(net, loss, cs.Adam(net.parameters(), lr=1e-3))
    found: list[int] = []
    every = max(1, round(count * (1 - WARM)) // SAMPLES)

    def sampled():
        for number in range(count):
            if number >= WARM * count and number % every == 0:
                found.append(common.memory("VmRSS"))
            x = r.random((steps, batch, *net.input_shape), dtype=np.float32) < 0.01
            yield x, r.integers(10, size=batch)

    trainer.train(sampled())
    tenth = max(1, len(found) // 10)
    first, last = median(found[:tenth]), median(found[-tenth:])
    sizes = {"first_mb": first / 1e6, "last_mb": last / 1e6, "most_mb": max(found) / 1e6}
    return {"steps": count, **sizes, "growth": (last - first) / first}


def lines(found: dict[str, Any]) -> list[str]:
    """Return the tables of the page."""
    text: list[str] = []
    if found["faults"]:
        heads = ["fault", "times", "trainings", "problems", "lost"]
        rows = [
            [
                *(FAULTS[name].title, f"{each['times']:,}", f"{each['runs']:,}"),
                *(f"{sum(each[n] for n in BAD):,}", f"{each['lost_seconds']:.0f} s"),
            ]
            for name, each in found["faults"].items()
        ]
        text += common.table(heads, rows, 1)
    for name, m in found["memory"].items():
        text += [
            "",
            f"Resident memory of the {name} over {m['steps']:,} steps: {m['most_mb']:.0f} MB, {m['growth']:+.1%}.",
        ]
    return [*text, "", common.said(found["machine"], found["command"])]


def main(arguments: list[str] | None = None) -> int:
    parser, names = common.parser(__doc__), [*FAULTS, "memory"]
    parser.add_argument("names", nargs="*", metavar="FAULT", help=f"of {', '.join(names)}; all by default")
    parser.add_argument("--times", type=int, metavar="N", help="how often each is tried; of memory, the steps")
    parser.add_argument("--no-figures", action="store_true", help="draw no figures, which takes most of the time")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    if unknown := set(options.names) - set(names):
        parser.error(f"{', '.join(sorted(unknown))}: none of {', '.join(names)}")
    chosen = [name for name in names if name in (options.names or names)]
    found = {"faults": {}, "memory": {}} | common.load("soak", options.out)
    command = common.command("soak", arguments)
    found |= {"command": command, "machine": common.describe(), "seed": options.seed}
    if "memory" in chosen:
        for name in NETWORKS:
            with ProcessPoolExecutor(1, get_context("spawn")) as pool:
                found["memory"][name] = pool.submit(growth, name, options.times or MEMORY_STEPS).result()
    if set(chosen) & set(FAULTS):
        with tempfile.TemporaryDirectory(prefix="cuslayer-soak") as folder, pytest.MonkeyPatch.context() as patch:
            with_every_kind(patch)
            patch.setattr(cs.SGD, "step", noted_step)
            patch.setattr(time, "monotonic", lambda: _real_clock() + _seconds)
            if options.no_figures:
                patch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **_: file.write(b"figure"))
            runs = Runs(Path(folder).resolve(), figures=not options.no_figures)
            for name in (name for name in chosen if name in FAULTS):
                found["faults"][name] = disturb(runs, name, options.seed, options.times or FAULTS[name].times)
    common.save("soak", found, options.out)
    common.show(options.out, "reliability", "soak", lines(found))
    bad = [f"{name}: {problem}" for name, each in found["faults"].items() for problem in each["failures"]]
    for name, each in found["memory"].items():
        if abs(each["growth"]) > MEMORY_SHARE:
            bad.append(f"{name}: resident memory grew by {each['growth']:.1%}, at most {MEMORY_SHARE:.0%} is allowed")
    print("\n".join(bad))
    return int(bool(bad))


if __name__ == "__main__":
    sys.exit(main())
