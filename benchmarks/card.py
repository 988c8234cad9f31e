"""The GPU in use: what it is, the time of work on it, CUDA graphs of work; and the run of a stage of gpu.py on it."""

from __future__ import annotations

import datetime
import subprocess
import time
from collections.abc import Callable
from typing import Any

from cuslayer import backend

Work = Callable[[], Any]

# What nvidia-smi is asked for, and the names under which the answers are saved.
_ASKED = {"driver_version": "driver", "clocks.sm": "clock_mhz", "clocks.mem": "memory_clock_mhz"}
_REPEATS, _SECONDS = 5, 0.02
# Seconds before its limit at which a stage that has more to measure stops by itself.
MARGIN = 4.0


class Skipped(Exception):
    """A stage needs something that this machine does not have."""


def one_line(problem: BaseException) -> str:
    """Return the type of an error and the first line of its message that has any."""
    lines = [line.strip() for line in str(problem).splitlines() if line.strip()]
    return ": ".join([type(problem).__name__, *lines[:1]])


class Cuda:
    """The GPU in use, through CuPy: its name, and the bytes of its L2 cache."""

    def __init__(self) -> None:
        self._cupy = cupy = backend.cupy()
        about = cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)
        self.name: str = about["name"].decode()
        self.l2: int = about["l2CacheSize"]

    def describe(self) -> dict[str, Any]:
        """Return the card, the versions of driver, CUDA and CuPy, and the clocks as they are now, where known."""
        runtime = self._cupy.cuda.runtime
        found = {"card": self.name, "architecture": self._cupy.cuda.Device().compute_capability}
        found |= {"cupy": self._cupy.__version__, "cuda": runtime.runtimeGetVersion()}
        command = ["nvidia-smi", f"--query-gpu={','.join(_ASKED)}", "--format=csv,noheader,nounits", "-i"]
        try:
            bus = runtime.deviceGetPCIBusId(self._cupy.cuda.Device().id)
            words = subprocess.run([*command, bus], capture_output=True, text=True, timeout=10, check=True).stdout
        except (OSError, subprocess.SubprocessError):
            return found
        return found | dict(zip(_ASKED.values(), (word.strip() for word in words.split(",")), strict=False))

    def mark(self) -> Any:
        """Return an event: the time at which the work so far is done."""
        event = self._cupy.cuda.Event()
        event.record()
        return event

    def between(self, begin: Any, end: Any) -> float:
        """Return the seconds between two events of `mark`, after the second has happened."""
        end.synchronize()
        return self._cupy.cuda.get_elapsed_time(begin, end) / 1e3

    def seconds(self, work: Work) -> float:
        """Return the seconds of some work after a first call: the least of five times, each of about 20 ms of work."""

        def measured(times: int) -> float:
            begin = self.mark()
            for _ in range(times):
                work()
            return self.between(begin, self.mark()) / times

        measured(2)
        times = max(1, min(1000, round(_SECONDS / max(measured(1), 1e-6))))
        return min(measured(times) for _ in range(_REPEATS))

    def graph(self, work: Work) -> Work:
        """Return a function that launches a CUDA graph of some work, which has run before."""
        self._cupy.cuda.Device().synchronize()
        stream = self._cupy.cuda.Stream(non_blocking=True)
        with stream:
            stream.begin_capture()
            try:
                work()
            finally:
                # A stream in an unfinished capture accepts no other work.
                graph = stream.end_capture()
        return graph.launch


class Run:
    """A run of a stage of gpu.py, which saves its entry of the results whenever something is found."""

    def __init__(self, card: Cuda, limit: float, began: float, save: Callable[[dict[str, Any]], None]) -> None:
        self.card, self.found = card, dict[str, Any]()
        self._began, self._limit, self._save = began, limit, save
        self.entry = {"status": "running", "reason": None, "limit": limit, "found": self.found}
        self.entry |= {"date": datetime.datetime.now().isoformat(timespec="seconds"), "where": card.describe()}
        self.note()

    def left(self) -> float:
        """Return the seconds that are left to the stage; negative where it is time to stop."""
        return self._began + self._limit - MARGIN - time.monotonic()

    def note(self, **found: Any) -> None:
        """Add what was found, and save it."""
        self.found |= found
        self.entry["seconds"] = time.monotonic() - self._began
        self._save(self.entry)

    def add(self, name: str, row: dict[str, Any]) -> None:
        """Add a row to a list of what was found, and save it."""
        self.note(**{name: [*self.found.get(name, []), row]})

    def check(self, what: str, met: bool, found: str = "") -> None:
        """Note whether something is as it must be."""
        self.add("checks", {"what": what, "met": bool(met), "found": found})

    def end(self, status: str, reason: str | None = None) -> None:
        """Note how the stage has ended."""
        self.entry |= {"status": status, "reason": reason}
        self.note()
