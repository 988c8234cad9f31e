"""Other processes that compile kernels while this process compiles and runs others.

Numba compiles one kernel at a time, and the first step of a network needs some twenty. At the first kernel of the list
in `needed_kernels.py` that is not in the cache, processes start that compile the rest of what the networks of this
process need. They begin with the kernels that are needed last, and put them into the cache, where this process finds
them.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from threading import Event, Lock, Thread
from typing import Any

from cuslayer._base.threads import thread_count

# The number of processes; by default one for each core but one, and at most `_MOST`.
VARIABLE = "CUSLAYER_COMPILERS"
_MOST = 4
# Without the folder of the caller's files on the path, where a file could have a module's name.
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from cuslayer._base.compilers import serve; serve()"

# What the networks of this process run: the names of the steps of their plans.
_expected: set[str] = set()


def expect(parts: Iterable[str]) -> None:
    """Note what this process will run: when a kernel of it is missing, all are compiled."""
    _expected.update(parts)


def expected() -> frozenset[str]:
    """Return what this process will run."""
    return frozenset(_expected)


def wait_for(dispatcher: Any, arguments: tuple[Any, ...]) -> None:
    """Wait if another process compiles a kernel that is not in the cache; let others compile the kernels after it."""
    if _process_count():
        _team().wait_for(dispatcher, arguments)


def kernels_left() -> int:
    """Return the number of kernels that other processes compile, or will."""
    return sum(not job.ended.is_set() for job in _team().jobs.values()) if _process_count() else 0


def _process_count() -> int:
    text = os.environ.get(VARIABLE, "")
    return int(text) if text.isdecimal() else min(thread_count() - 1, _MOST)


class _Job:
    """A kernel of the list that this process will need."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ended = Event()


class _Team:
    """Processes that compile what this process will need."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.jobs: dict[Any, _Job] = {}
        self.waiting: list[_Job] = []
        self.processes = 0

    def wait_for(self, dispatcher: Any, arguments: tuple[Any, ...]) -> None:
        """Wait for a kernel if another process compiles it, or leave it to this process."""
        from cuslayer._base.needed_kernels import Signature

        with self.lock:
            self._add_expected()
            job = self.jobs.get(Signature.of(dispatcher, arguments))
            if job is None:
                return
            if job in self.waiting:
                self.waiting.remove(job)
                job.ended.set()
            while self.waiting and self.processes < _process_count():
                self.processes += 1
                Thread(target=self._serve, name="cuslayer-compiler", daemon=True).start()
        job.ended.wait()

    def _add_expected(self) -> None:
        """Add the kernels that all networks need, and those of expected steps."""
        from cuslayer._base.needed_kernels import needed_kernels

        for number, kernel in enumerate(needed_kernels()):
            if kernel.parts <= _expected and kernel.signature not in self.jobs:
                self.jobs[kernel.signature] = _Job(number)
                self.waiting.append(self.jobs[kernel.signature])

    def _serve(self) -> None:
        """Give a process the last kernel that waits, until none does."""
        with suppress(OSError), _Compiler() as compiler:
            while compiler.ready and (job := self._last()):
                try:
                    compiler.compile(job.number)
                finally:
                    job.ended.set()
        with self.lock:
            self.processes -= 1

    def _last(self) -> _Job | None:
        with self.lock:
            return self.waiting.pop() if self.waiting else None


@cache
def _team() -> _Team:
    return _Team()


class _Compiler:
    """A process that compiles kernels of the list by their numbers."""

    def __enter__(self) -> _Compiler:
        """Start it, and wait until it is ready."""
        path = [folder for folder in sys.path if folder]
        self.process = subprocess.Popen(
            [sys.executable, "-I", "-c", _PROGRAM, *path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env=os.environ | {VARIABLE: "0"},
        )
        self._read()
        return self

    def __exit__(self, *_: object) -> None:
        """Let it end."""
        self.process.__exit__(None, None, None)

    def compile(self, number: int) -> None:
        """Send the number of a kernel, and wait until it is compiled, or cannot be."""
        requests = self.process.stdin
        if requests is not None:
            requests.write(f"{number}\n")
            requests.flush()
        self._read()

    def _read(self) -> None:
        answers = self.process.stdout
        self.ready = answers is not None and answers.readline() != ""


def serve() -> None:
    """Compile kernels of the list, whose numbers come by the standard input; answer each with a line."""
    from cuslayer._base.needed_kernels import needed_kernels

    answers = sys.stdout
    sys.stdout = sys.stderr
    kernels = needed_kernels()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        with suppress(Exception):  # the process that needs the kernel compiles it then, and shows the error
            kernels[int(line)].signature.compile()
        print(line, end="", file=answers, flush=True)
