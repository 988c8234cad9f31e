"""Programs that mpiexec runs, and processes of them that are killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Seconds for a program, and those in which all end after one process has died, on a machine that may have much to do.
LIMIT, END = 1800.0, 300.0
_TRAIN = (str(ROOT / "cuslayer_main.py"), "train")
_RANK = re.compile(rb"(?:^|\0)PMI_RANK=(\d+)\0")


def missing() -> str | None:
    """Return why no program can be run; None if it can."""
    if find_spec("mpi4py") is None:
        return "mpi4py is not installed; pip install -e '.[test]' installs it"
    return None if command() else "there is no mpiexec"


def command() -> str | None:
    """Return mpiexec, first that of the interpreter's folder, which the wheel of MPICH installs."""
    return shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))


def start(processes: int, *arguments: str, out: Path) -> subprocess.Popen[str]:
    """Start Python by mpiexec; what it prints goes to a file."""
    with out.open("w") as file:
        return subprocess.Popen(
            [str(command()), "-n", str(processes), sys.executable, *arguments],
            stdout=file,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT), "CUSLAYER_DEVICE": "cpu"},
        )


def run(processes: int, *arguments: str, out: Path) -> tuple[int, str]:
    """Run Python by mpiexec; return the exit code and what it printed."""
    return start(processes, *arguments, out=out).wait(LIMIT), out.read_text()


def start_train(processes: int, *options: str, out: Path) -> subprocess.Popen[str]:
    """Start `cuslayer train` by mpiexec."""
    return start(processes, *_TRAIN, *options, out=out)


def train(processes: int, *options: str, out: Path) -> tuple[int, str]:
    """Run `cuslayer train` by mpiexec."""
    return run(processes, *_TRAIN, *options, out=out)


def processes_of(program: subprocess.Popen[str]) -> dict[int, int]:
    """Return the numbers that the system has given to the processes that mpiexec has started, by rank; Linux."""
    parents, found = {}, {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, IndexError):  # of a process that has ended meanwhile
            if entry.name.isdigit():
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    for number in sorted(parents):
        above = number
        while above in parents and above != program.pid:
            above = parents[above]
        with suppress(OSError):
            rank = _RANK.search(Path(f"/proc/{number}/environ").read_bytes())
            if above == program.pid and rank:
                found.setdefault(int(rank[1]), number)  # not what it has started itself
    return found


def kill_one(
    processes: int,
    rank: int,
    *options: str,
    out: Path,
    when: Callable[[], bool],
    delay: float = 0.0,
    by: signal.Signals = signal.SIGKILL,
    then: Callable[[], object] = lambda: None,
    program: Sequence[str] = _TRAIN,
) -> tuple[float | None, str]:
    """Run `cuslayer train` by mpiexec and send a signal to one of its processes; call `then` when it was sent.

    It is sent `delay` seconds after the process runs and `when()` is true. Return the seconds until all had ended, None
    if they had before, and what was printed.
    """
    started = start(processes, *program, *options, out=out)
    limit, sent = time.monotonic() + LIMIT, None
    while started.poll() is None and time.monotonic() < limit:
        if when() and rank in processes_of(started):
            time.sleep(delay)
            number = processes_of(started).get(rank)
            if number is not None:
                os.kill(number, by)
                sent = time.monotonic()
                then()
            break
        time.sleep(0.005)
    started.wait(LIMIT)
    return None if sent is None else time.monotonic() - sent, out.read_text()
