"""Read mutated files in processes of their own, with limits of time and memory."""

from __future__ import annotations

import gc
import json
import mmap
import os
import resource
import shutil
import signal
import struct
import time
import warnings
from dataclasses import dataclass
from pathlib import Path

from fuzzing.readers import Reader

# Seconds of computing in a case, and how often in a row a process may be found waiting in one. Neither counts the time
# in which a busy machine computes something else.
HANG, WAITS = 2.0, 500
# Resident memory above that before, in bytes, or this many times the size of the file.
MEMORY, TIMES = 64 << 20, 8
# Address space above that of an idle process: a reader must not take all memory of the machine.
_SPACE = 4 << 30
_ERRORS = (ValueError, TypeError, ImportError)
_BATCH = 50
_PROGRESS = struct.Struct("qqqd")


@dataclass(frozen=True)
class Problem:
    """A case that is not as it should be: "crash", "hang", "memory" or "error"."""

    reader: str
    number: int
    kind: str
    what: str


def judged(reader: Reader, path: Path) -> str | None:
    """Read a file; return what is wrong with the error that it raises, None if nothing is."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(path)
    except _ERRORS as problem:
        text = str(problem)
        if not text.strip() or len(text.splitlines()) > 1:
            return f"{type(problem).__name__}, not of one line: {text[:200]!r}"
        return ""
    except BaseException as problem:
        return f"{type(problem).__name__}: {str(problem)[:200]}"
    return None


def write_case(reader: Reader, folder: Path, content: bytes) -> Path:
    """Write a file for a reader."""
    path = folder / f"case{reader.suffix}"
    path.write_bytes(content)
    return path


class Worker:
    """A process that reads the cases of a reader from a number on.

    Attributes:
        name: the name of the reader.
        first: the number of its first case.
        until: the number after the last case.
    """

    def __init__(self, name: str, reader: Reader, seed: int, first: int, until: int, folder: Path) -> None:
        self.name, self.reader, self.seed, self.first, self.until = name, reader, seed, first, until
        self.number = first
        self.folder = folder
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self._found = folder.with_suffix(".found")
        self._found.write_text("")
        self._shared = mmap.mmap(-1, _PROGRESS.size)
        self._put(first, 0, 0, 0.0)
        self._waits = 0
        self.pid = os.fork()
        if self.pid == 0:
            self._work(first)

    def _put(self, number: int, refused: int, peak: int, slowest: float) -> None:
        self._shared[:] = _PROGRESS.pack(number, refused, peak, slowest)

    def progress(self) -> tuple[int, int, int, float]:
        """Return the case that is read, how many were refused, the most memory taken, and the slowest in seconds."""
        return _PROGRESS.unpack(self._shared[:])

    def problems(self) -> list[Problem]:
        """Return what the process found."""
        return [Problem(self.name, *json.loads(line)) for line in self._found.read_text().splitlines()]

    def waits(self) -> bool:
        """Return whether the process waits for what does not come: asked so often, all of it slept in one case."""
        asleep = self.progress()[0] == self.number and _sleeps(self.pid)
        self.number, self._waits = self.progress()[0], self._waits + 1 if asleep else 0
        return self._waits > WAITS

    def ended(self) -> int | None:
        """Return the exit code of the process, or minus its signal; None if it runs."""
        pid, status = os.waitpid(self.pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if pid else None

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def _work(self, first: int) -> None:
        """Read the cases, and end the process."""
        code = 1
        try:
            nothing = os.open(os.devnull, os.O_RDWR)
            for descriptor in range(3):
                os.dup2(nothing, descriptor)
            self._found_file = os.open(self._found, os.O_WRONLY | os.O_APPEND)
            space = _status("VmSize") + _SPACE
            resource.setrlimit(resource.RLIMIT_AS, (space, space))
            self.reader.prepare(self.folder)
            gc.disable()
            self._read_all(first)
            code = 0
        finally:
            os._exit(code)

    def _read_all(self, first: int) -> None:
        refused, peak, slowest = 0, 0, 0.0
        for start in range(first, self.until, _BATCH):
            numbers = range(start, min(start + _BATCH, self.until))
            gc.collect()
            before, largest = _start_measuring(), 0
            for number in numbers:
                self._put(number, refused, peak, slowest)
                path = write_case(self.reader, self.folder, content := self.reader.content(self.seed, number))
                largest = max(largest, len(content))
                begun = time.process_time()
                wrong = self._judged(path)
                slowest = max(slowest, time.process_time() - begun)
                refused += wrong is not None
                if wrong:
                    self._note(number, "error", wrong)
            taken = _status("VmHWM") - before
            # Most batches stay below what one file may take; in others, each file is read again by itself.
            if taken > MEMORY:
                sizes = []
                for number in numbers:
                    self._put(number, refused, peak, slowest)
                    sizes.append(self._measure(number))
                taken = max(sizes)
            peak = max(peak, taken)
            self._put(numbers[-1] + 1, refused, peak, slowest)

    def _judged(self, path: Path) -> str | None:
        """Read a file; SIGPROF ends the process if it computes for too long."""
        signal.setitimer(signal.ITIMER_PROF, HANG)
        try:
            return judged(self.reader, path)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)

    def _measure(self, number: int) -> int:
        """Read a case again; return the memory that it takes, and note it if it is too much."""
        content = self.reader.content(self.seed, number)
        self._put(number, *self.progress()[1:])
        path = write_case(self.reader, self.folder, content)
        gc.collect()
        before = _start_measuring()
        self._judged(path)
        taken = _status("VmHWM") - before
        if taken > max(MEMORY, TIMES * len(content)):
            self._note(number, "memory", f"{taken / 1e6:.0f} MB for a file of {len(content):,} bytes")
        return taken

    def _note(self, number: int, kind: str, what: str) -> None:
        os.write(self._found_file, (json.dumps([number, kind, what]) + "\n").encode())


def _status(name: str) -> int:
    """Return a size of this process in bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"fuzz: no {name} in /proc/self/status")


def _start_measuring() -> int:
    """Forget the most resident memory so far; return the resident memory."""
    Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _sleeps(pid: int) -> bool:
    """Return whether all threads of a process sleep; one that is ready, and waits for a core, does not."""
    try:
        threads = [path.read_text().rsplit(")", 1)[1].split()[0] for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:  # one of them has ended
        return False
    return set(threads) == {"S"}
