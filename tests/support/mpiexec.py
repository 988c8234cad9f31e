"""Programs that mpiexec runs, and processes of them that are killed."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[2]
# Seconds for a program, and those in which all end after one process has died.
LIMIT, END = 120.0, 10.0
_PROCESS = re.compile(r"(\d+) \((\d+)\)")


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
    program = start(processes, *arguments, out=out)
    code = program.wait(LIMIT)
    return code, out.read_text()


def train(processes: int, *options: str, out: Path) -> tuple[int, str]:
    """Run `cuslayer train` by mpiexec."""
    return run(processes, str(ROOT / "cuslayer_main.py"), "train", *options, out=out)


def kill_one(
    processes: int, rank: int, *options: str, out: Path, when: Callable[[], bool], delay: float = 0.0
) -> tuple[float, str]:
    """Run `cuslayer train` by mpiexec and kill one of its processes.

    Args:
        processes: the number of processes.
        rank: which one is killed.
        options: the options of the command.
        out: the file for what is printed.
        when: it is killed when this becomes True,
        delay: and so many seconds later.

    Returns:
        The seconds until all had ended, and what was printed.
    """
    program = start(processes, str(ROOT / "cuslayer_main.py"), "train", *options, out=out)
    limit = time.monotonic() + LIMIT
    while program.poll() is None and time.monotonic() < limit:
        found = dict(_PROCESS.findall(out.read_text().partition("processes, with")[2].partition("\n")[0]))
        if str(rank) in found and when():
            time.sleep(delay)
            if program.poll() is None:
                os.kill(int(found[str(rank)]), signal.SIGKILL)
            break
        time.sleep(0.005)
    killed = time.monotonic()
    program.wait(LIMIT)
    return time.monotonic() - killed, out.read_text()
