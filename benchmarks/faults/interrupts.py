"""Interrupts of the command line in its first seconds: during imports, while data is read, in the first steps."""

from __future__ import annotations

import os
import random
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import cuslayer as cs
from faults import clock
from faults.runs import Outcome, Runs
from faults.tally import Tally

# Where a process waits for others, its imports take a while.
HUNG_SECONDS = 180.0
PACKAGE = Path(cs.__file__).parent
# The function that the command `cuslayer` calls.
_SCRIPT = re.compile(r'^cuslayer = "(.+):(.+)"$', re.MULTILINE)
# The command says first that Python has started: before that, an interrupt does what Python does.
_COMMAND = "import os, sys; os.write({ready}, b'x'); from {module} import {name}; sys.exit({name}())"
# Not in the folder of the benchmarks, which has a module of the name of a package.
_FLAGS = ("-P",) if sys.version_info >= (3, 11) else ()


class Fresh:
    """The command in a new process.

    Attributes:
        started: when Python had started.
    """

    def __init__(self, arguments: list[str]) -> None:
        ready, there = os.pipe()
        module, name = _SCRIPT.findall((PACKAGE.parent / "pyproject.toml").read_text())[0]
        code = _COMMAND.format(ready=there, module=module, name=name)
        self.process = subprocess.Popen(
            [sys.executable, *_FLAGS, "-c", code, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            pass_fds=[there],
            env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        )
        os.close(there)
        select.select([ready], [], [], HUNG_SECONDS)
        os.close(ready)
        self.started = clock.now()

    def end(self) -> Outcome:
        """Wait until it ends."""
        try:
            text, _ = self.process.communicate(timeout=HUNG_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            text, _ = self.process.communicate()
            return Outcome(self.process.returncode, text, hung=True)
        return Outcome(self.process.returncode, text)


def interrupts(runs: Runs, r: random.Random, count: int) -> Tally:
    """Interrupt trainings at random moments from the start of Python on; each must end with 130 and one line."""
    tally = Tally()
    runs = Runs(runs.root / f"command{r.random()}", noise=False)
    first = Fresh(runs.arguments(runs.new_folder()))
    found = first.end()
    whole = clock.now() - first.started
    tally.check(found, (0,), "not interrupted")
    for number in range(count):
        out = runs.new_folder()
        fresh = Fresh(runs.arguments(out))
        # Half of them in the first half second, where there are only imports.
        moment = r.uniform(0, 0.5 if number % 2 else 0.8 * whole)
        try:
            fresh.process.wait(moment)
        except subprocess.TimeoutExpired:
            fresh.process.send_signal(signal.SIGINT)
        found = fresh.end()
        tally.times += 1
        what = f"SIGINT after {moment:.3f} s"
        if tally.check(found, (130,), what) and not found.text.strip():
            tally.add("wrong_exits", f"{what}, nothing said: {found}")
        tally.finish(runs, out, what)
    return tally
