"""Other processes that compile kernels while this process compiles and runs others.

Numba compiles one kernel at a time, and the first step of a network needs some twenty. `needed_kernels.py` lists the
kernels of usual networks. At the first kernel of the network most like this process's that is not in the cache, other
processes start and compile the rest, the longest first. They put them into the cache, where this process finds them.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from threading import Event, Lock, Thread
from typing import Any, TextIO

from cuslayer._base.compiling.expected_steps import expected
from cuslayer._base.compiling.needed_kernels import Signature, UsualNetwork, content_of, kernels_for, networks_of

# The variable has the number of processes; by default one for each free core, and at most `_MOST`.
VARIABLE = "CUSLAYER_COMPILERS"
_MOST = 4
# Seconds after which this process compiles a kernel itself for which it waits.
_PATIENCE = 120.0
# Without the folder of the caller's files on the path, where a file could have a module's name.
_PROGRAM = "import sys; sys.path[:] = sys.argv[1:]; from cuslayer._base.compiling.compilers import serve; serve()"


def wait_for(dispatcher: Any, arguments: tuple[Any, ...], free_cores: int) -> None:
    """Wait if another process compiles a kernel that is not in the cache; let others compile the kernels after it."""
    text = os.environ.get(VARIABLE, "")
    processes = int(text) if text.isdecimal() else min(free_cores, _MOST)
    if processes > 0:
        _team().wait_for(Signature.of(dispatcher, arguments), processes)


def kernels_left() -> int:
    """Return the number of kernels that other processes compile, or will."""
    return sum(not ended.is_set() for ended in _team().ended.values())


class _Team:
    """Processes that compile what this process will need."""

    def __init__(self) -> None:
        self.lock = Lock()
        self.ended: dict[Signature, Event] = {}
        self.waiting: dict[Signature, float] = {}
        self.processes = 0

    def wait_for(self, kernel: Signature, processes: int) -> None:
        """Wait for a kernel if another process compiles it, or leave it to this process."""
        with self.lock:
            self._add_expected()
            if kernel not in self.ended:
                return
            if self.waiting.pop(kernel, None) is not None:
                self.ended[kernel].set()
            while self.waiting and self.processes < processes:
                self.processes += 1
                Thread(target=self._serve, name="cuslayer-compiler", daemon=True).start()
        # Instead of waiting this process compiles another.
        while not self.ended[kernel].is_set() and (other := self._taken(min)):
            self.ended[other].set()  # nobody waits for this process: only one thread compiles at a time
            other.compile()
        self.ended[kernel].wait(_PATIENCE)

    def _add_expected(self) -> None:
        for kernel, seconds in kernels_for(expected()).items():
            if kernel not in self.ended:
                self.ended[kernel] = Event()
                self.waiting[kernel] = seconds

    def _serve(self) -> None:
        """Give a process the longest kernel that waits, until none does."""
        with suppress(OSError), _Compiler() as compiler:
            while compiler.ready and (kernel := self._taken(max)):
                try:
                    compiler.compile(kernel)
                finally:
                    self.ended[kernel].set()
        with self.lock:
            self.processes -= 1

    def _taken(self, choose: Callable[..., Signature]) -> Signature | None:
        """Take the longest or the shortest kernel that waits; None if none does."""
        with self.lock:
            if not self.waiting:
                return None
            kernel = choose(self.waiting, key=lambda kernel: self.waiting[kernel])
            del self.waiting[kernel]
            return kernel


@cache
def _team() -> _Team:
    return _Team()


def _request(kernel: Signature) -> str:
    return json.dumps(content_of([UsualNetwork(frozenset(), {kernel: 0.0})])) + "\n"


class _Compiler:
    """A process that compiles kernels."""

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

    def compile(self, kernel: Signature) -> None:
        """Send a kernel, and wait until it is compiled, or cannot be."""
        requests = self.process.stdin
        if requests is not None:
            requests.write(_request(kernel))
            requests.flush()
        self._read()

    def _read(self) -> None:
        answers = self.process.stdout
        self.ready = answers is not None and answers.readline() != ""


def serve() -> None:
    """Compile the kernels that come by the standard input, one a line, and answer each with a line."""
    answers = sys.stdout
    sys.stdout = sys.stderr
    gc.disable()  # it takes a tenth of the time to compile
    _answer(answers, "ready")
    for line in sys.stdin:
        with suppress(Exception):  # the process that needs the kernel compiles it then, and shows the error
            for kernel in networks_of(json.loads(line))[0].kernels:
                kernel.compile()
        _answer(answers, "compiled")


def _answer(answers: TextIO, line: str) -> None:
    answers.write(f"{line}\n")
    answers.flush()
