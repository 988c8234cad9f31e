"""The faults: each function disturbs trainings as often as asked, and returns what they came to."""

from __future__ import annotations

import os
import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from faults.disk import Disk
from faults.runs import Runs, Tally

# How a process ends that is ended by each signal.
ENDS = {signal.SIGINT: 130, signal.SIGTERM: 143}
# How often one training is killed, at most.
_KILLS = 8


def kills(runs: Runs, r: random.Random, count: int) -> Tally:
    """Kill trainings at random moments, each until it is done: it is resumed and killed again."""
    tally = Tally()
    while tally.times < count:
        out = runs.new_folder()
        for _ in range(r.randint(1, min(_KILLS, count - tally.times))):
            child = runs.start(out)
            found = child.wait(r.uniform(0, 1.3 * runs.seconds))
            if found is None:
                child.kill()
                found = child.end()
            killed = found.code == -signal.SIGKILL and not found.hung
            tally.times += killed
            if not killed:
                tally.check(found, (0,), "after kills")
                break
        tally.finish(runs, out, "after kills")
    return tally


def _chosen(runs: Runs, r: random.Random, count: int, kind: str) -> Tally:
    """Do something at each moment of a change of a file, then at random ones in runs that were disturbed before."""
    tally = Tally()
    moments = _moments(runs, kind)
    every = list(range(1, moments + 1))
    # Fewer than there are: spread evenly over the run.
    first = every if count >= moments else [every[int((i + r.random()) * moments / count)] for i in range(count)]
    again = max(0, count - len(first))
    for number, at in enumerate(first):
        out = runs.new_folder()
        chosen = [at]
        if number < again:
            chosen += [r.randint(1, moments) for _ in range(1 + (again - number - 1) // len(first))]
        for moment in chosen:
            what = f"{kind} at change {moment} of {moments}"
            found = runs.start(out, Disk(runs.root, kind, moment).install).end()
            tally.times += 1
            # A run may go on without what it cannot write, and one that is resumed has fewer changes.
            codes = (0, 2) if kind == "full" else (0, -signal.SIGKILL)
            tally.check(found, codes, what)
            if kind == "full" and found.code == 2 and "No space" not in found.text:
                tally.add("wrong_exits", f"{what}: {found}")
        tally.finish(runs, out, f"{kind} at {chosen}")
    return tally


def _moments(runs: Runs, kind: str) -> int:
    """Return the number of moments of an undisturbed run."""
    counts = runs.root / "moments"

    def prepare() -> None:
        disk = Disk(runs.root, kind)
        disk.install()
        leave = os._exit

        def note(code: int) -> None:
            descriptor = disk.real("open")(counts, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            disk.real("write")(descriptor, str(disk.moments).encode())
            leave(code)

        os._exit = note  # type: ignore[assignment]

    out = runs.new_folder()
    found = runs.start(out, prepare).end()
    moments = int(counts.read_text() or 0) if found.code == 0 else 0
    if not moments:
        raise RuntimeError(f"soak: no change of a file was seen: {found}")
    return moments


def deaths(runs: Runs, r: random.Random, count: int) -> Tally:
    """Kill trainings before, in the middle of, and after a change of a file: each write and each rename."""
    return _chosen(runs, r, count, "death")


def full_disks(runs: Runs, r: random.Random, count: int) -> Tally:
    """Let the disk be full from a chosen change of a file on; the training is resumed when there is room again."""
    return _chosen(runs, r, count, "full")


def recordings(runs: Runs, r: random.Random, count: int) -> Tally:
    """Damage a recording during a training; when it has ended, restore the recording, and resume."""
    tally = Tally()
    for _ in range(count):
        out, path, kind = runs.new_folder(), r.choice(runs.recordings), r.choice(list(DAMAGES))
        original = path.read_bytes()
        child = runs.start(out)
        found = child.wait(r.uniform(0, 0.9 * runs.seconds))
        DAMAGES[kind](path, original)
        tally.times += 1
        found = found or child.end()
        what = f"a recording that is {kind}"
        # A run that had read it for the last time does not see it.
        if tally.check(found, (0, 2), what) and found.code == 2 and path.name not in found.text:
            tally.add("wrong_exits", f"{what}, which is not named: {found}")
        _remove(path)
        path.write_bytes(original)
        tally.finish(runs, out, what)
    return tally


def _remove(path: Path) -> None:
    if path.is_dir():
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def _in_place(make: Callable[[Path], object]) -> Callable[[Path, bytes], None]:
    def damage(path: Path, original: bytes) -> None:
        path.unlink()
        make(path)

    return damage


def _replaced(change: Callable[[bytes], bytes]) -> Callable[[Path, bytes], None]:
    """Return what replaces a recording at once, so that a reader sees the old one or the new one."""

    def damage(path: Path, original: bytes) -> None:
        beside = path.with_suffix(".new")
        beside.write_bytes(change(original))
        os.replace(beside, path)

    return damage


# Each is seen by a reader: SLAYER's files have no checksum, so that another number in one is a valid recording.
DAMAGES: dict[str, Callable[[Path, bytes], None]] = {
    "missing": lambda path, original: path.unlink(),
    "a folder": _in_place(Path.mkdir),
    "a pipe": _in_place(os.mkfifo),
    "cut": _replaced(lambda original: original[:-3]),
    "too long": _replaced(lambda original: original + b"\0\0"),
    "of another sensor": _replaced(lambda original: b"\xff" * len(original)),
}


def signals(runs: Runs, r: random.Random, count: int) -> Tally:
    """End trainings by SIGINT or SIGTERM at random moments: nothing is lost but the step."""
    tally = Tally()
    while tally.times < count:
        out, number = runs.new_folder(), r.choice(list(ENDS))
        child = runs.start(out)
        found = child.wait(r.uniform(0, 1.3 * runs.seconds))
        if found is None:
            child.kill(number)
            found = child.end()
        tally.times += 1
        what = f"{signal.Signals(number).name}"
        # One that comes when the results are there has nothing to end.
        tally.check(found, (0, ENDS[number]), what)
        tally.finish(runs, out, what)
    return tally


def clear(runs: Runs) -> None:
    """Remove the folders of the runs so far."""
    for path in (*runs.root.glob("run*"), *runs.root.glob("command*")):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
