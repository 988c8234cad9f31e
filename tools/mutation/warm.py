"""A process that has imported pytest, Hypothesis and Numba, and runs the tests of each tree in a fork of itself.

    python tools/mutation/warm.py BASE

It reads one JSON object per line, {"tree": ..., "work": ..., "tests": [...], "seconds": ...}, and answers each with a
line [code, reason]: pytest's exit code, None after a timeout, and the first failure. `work` is an empty folder. A tree
is BASE or a copy of it. Numba's cached code of BASE is used in a tree whether or not the source has changed, so the
caller must leave out the stale files (`reach`). Python's own bytecode is written for BASE alone.

This process imports neither the library nor the tests (so it is run as a file, not as a module of the package `tests`)
and starts no threads.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, settings
from numba.core import caching

OPTIONS = ("-x", "-q", "--tb=short", "-p", "no:cacheprovider", "-o", "addopts=--strict-markers")

# A first test imports what pytest, Hypothesis and Numba import late, and has Numba compile its own implementations of
# NumPy's functions and of assignments to slices, which takes longer than compiling a kernel.
FIRST = """
import numba
import numpy as np
import pytest
from hypothesis import given, strategies as st

@given(st.integers(0, 1), st.floats(0, 1), st.sampled_from([1, 2]))
def test_hypothesis(a, b, c):
    assert a >= 0 and b >= 0 and c > 0

@numba.njit(nogil=True, error_model="numpy")
def f(x):
    rows, lanes, words = np.zeros(x.shape, x.dtype), np.zeros(len(x), x.dtype), np.zeros(len(x), np.uint8)
    more, many, few = np.empty(x.shape, x.dtype), np.empty(len(x), x.dtype), np.empty(len(x), np.int64)
    more[:] = many[:] = 0
    few[:] = np.arange(len(x))
    for t in np.flatnonzero(x[:, 0]):
        lanes[t] = max(abs(np.floor(x[t, 0])), x[t, 1]) + np.trunc(x[t, 0]) + np.rint(x[t, 0]) + int(words[t])
        rows[t, min(t, 1) :] = x[t, min(t, 1) :]
        lanes[max(t, 1) : 2] = many[max(t, 1) : 2]
    return rows

@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numba(dtype, tmp_path, monkeypatch, capsys):
    np.testing.assert_array_equal(f(np.ones((3, 2), dtype)), [[1, 1], [0, 1], [0, 1]])
"""


class Verdict:
    """A plugin for pytest: checks that the library is the one of the tree, and stores the first failure."""

    def __init__(self, base: Path, tree: Path):
        self.base, self.tree = base, tree
        self.first: tuple[int, str] | None = None

    def pytest_configure(self) -> None:
        from cuslayer import jit

        if not Path(jit.__file__).is_relative_to(self.tree):
            pytest.exit(f"{jit.__file__} is not in {self.tree}", 3)
        # The library takes compiled code of its own sources only, by the folder of this file.
        jit.__file__ = str(self.base / Path(jit.__file__).relative_to(self.tree))
        configure_hypothesis()  # after tests/conftest.py, which has a profile of its own

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self._remember(report, 2)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._remember(report, 1 if report.when == "call" else 2)

    def _remember(self, report: Any, code: int) -> None:
        if report.passed or self.first is not None:
            return
        found = report.longrepr
        crash = getattr(found, "reprcrash", None)
        message = crash.message if crash else str(found[2] if isinstance(found, tuple) else found)
        name = report.nodeid.rpartition("::")[2]
        self.first = 5 if report.skipped else code, f"{name}: {' '.join(message.split())}"


def configure_hypothesis() -> None:
    """Turn off Hypothesis's shrinking, which costs time, and its database, which mutants would share."""
    phases = (Phase.explicit, Phase.generate)
    settings.register_profile("mutation", derandomize=True, database=None, phases=phases, report_multiple_bugs=False)
    settings.load_profile("mutation")


def stamp_of_base(base: Path, tree: Path) -> None:
    """Let Numba use code that was cached for the sources of the base in the tree."""
    mixin = caching._SourceFileBackedLocatorMixin
    own = mixin.get_source_stamp

    def stamp(self: Any) -> Any:
        path = self._py_file
        if Path(path).is_relative_to(tree):
            self._py_file = str(base / Path(path).relative_to(tree))
        try:
            return own(self)
        finally:
            self._py_file = path

    mixin.get_source_stamp = stamp


class Request(NamedTuple):
    """One line of the input."""

    tree: Path
    work: Path
    tests: list[str]
    seconds: float

    @classmethod
    def read(cls, line: str) -> Request:
        found = json.loads(line)
        return cls(Path(found["tree"]), Path(found["work"]), found["tests"], found["seconds"])

    def tail(self) -> str:
        """Return the end of the tests' output."""
        return " ".join((self.work / "log").read_text("utf-8", "replace")[-300:].split())


def child(base: Path, request: Request) -> None:
    """Run tests in this process and write the verdict to a file."""
    os.setsid()
    os.chdir(request.tree)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    log = os.open(request.work / "log", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    sys.dont_write_bytecode = request.tree != base
    sys.path.insert(0, str(request.tree))
    os.environ["PYTHONPATH"] = str(request.tree)
    stamp_of_base(base, request.tree)
    verdict = Verdict(base, request.tree)
    options = (*OPTIONS, f"--basetemp={request.work / 'temporary'}")
    code = int(pytest.main([*options, *request.tests], plugins=[verdict]))
    sys.stdout.flush()
    first = verdict.first or (code, request.tail() if code else "")
    (request.work / "verdict").write_text(json.dumps(first), "utf-8")


def answer(base: Path, request: Request) -> tuple[int | None, str]:
    """Run tests of a tree in a fork; return the exit code, None after a timeout, and the reason."""
    if threading.active_count() != 1:
        raise RuntimeError("a process with threads must not fork")
    pid = os.fork()
    if pid == 0:
        try:
            child(base, request)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    status = None
    try:
        end = time.monotonic() + request.seconds
        while status is None and time.monotonic() < end:
            time.sleep(0.005)
            ended, found = os.waitpid(pid, os.WNOHANG)
            status = found if ended else None
    finally:
        if status is None:
            for kill in (os.killpg, os.kill):  # the child makes its group itself, a little later
                with contextlib.suppress(ProcessLookupError):
                    kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    if status is None:
        return None, f"no end within {request.seconds:.0f} s"
    try:
        code, reason = json.loads((request.work / "verdict").read_text("utf-8"))
    except (OSError, ValueError):
        return os.waitstatus_to_exitcode(status) or 3, f"no verdict: {request.tail()}"
    return code, reason


def warm_up() -> None:
    """Import everything that can be imported before the library."""
    path = list(sys.path)
    with tempfile.TemporaryDirectory() as folder:
        test = Path(folder, "test_first.py")
        test.write_text(FIRST, "utf-8")
        code = pytest.main([*OPTIONS, "-c", os.devnull, f"--rootdir={folder}", str(test)])
    if code:
        raise RuntimeError(f"the first test ends with {code}")
    sys.path[:] = path
    gc.collect()
    gc.freeze()


def main() -> None:
    base = Path(sys.argv[1])
    here = Path(__file__).parent.resolve()
    sys.path[:] = [folder for folder in sys.path if Path(folder or ".").resolve() != here]
    with os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1) as answers:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # so that no output of a test is read as an answer
        warm_up()
        for line in sys.stdin:
            print(json.dumps(answer(base, Request.read(line))), file=answers)


if __name__ == "__main__":
    main()
