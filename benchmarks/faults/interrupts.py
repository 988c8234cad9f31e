"""Interrupts of the command line in its first seconds: during imports, while data is read, in the first steps."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import cuslayer as cs
from faults import clock
from faults.runs import EPOCHS, Outcome, Runs
from faults.tally import Tally

# Where a process waits for others, its imports take a while.
HUNG_SECONDS = 180.0
PACKAGE = Path(cs.__file__).parent
# The function that the command `cuslayer` calls.
_SCRIPT = re.compile(r'^cuslayer = "(.+):(.+)"$', re.MULTILINE)
_COMMAND = "import sys; from {module} import {name}; sys.exit({name}())"
# Not in the folder of the benchmarks, which has a module of the name of a package.
_FLAGS = ("-P",) if sys.version_info >= (3, 11) else ()


class Fresh:
    """The command in a new process.

    Attributes:
        started: when Python had started, and the command had its handlers of signals: before that, some 20 ms, an
            interrupt does what Python does.
    """

    def __init__(self, arguments: list[str]) -> None:
        module, name = _SCRIPT.findall((PACKAGE.parent / "pyproject.toml").read_text())[0]
        code = _COMMAND.format(module=module, name=name)
        self.process = subprocess.Popen(
            [sys.executable, *_FLAGS, "-c", code, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, "PYTHONPATH": str(PACKAGE.parent)},
        )
        until = clock.now() + HUNG_SECONDS
        while not self._has_handlers() and self.process.poll() is None and clock.now() < until:
            time.sleep(0.0005)
        self.started = clock.now()

    def _has_handlers(self) -> bool:
        """Return whether the process catches SIGTERM, which Python by itself does not."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        caught = next(int(line.split()[1], 16) for line in status.splitlines() if line.startswith("SigCgt"))
        return bool(caught >> (signal.SIGTERM - 1) & 1)

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
    """Interrupt commands at random moments from their first lines on; each must end with 130 and one line.

    One that comes when the results are there has nothing to end.
    """
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
        codes = (130, 0) if f"epoch   {EPOCHS}" in found.text else (130,)
        if tally.check(found, codes, what) and not found.text.strip():
            tally.add("wrong_exits", f"{what}, nothing said: {found}")
        tally.finish(runs, out, what)
    return tally
