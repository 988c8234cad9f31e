"""Run mutants: a base tree whose tests pass, a tree of hard links to it for each mutant, and warm processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NamedTuple

from tools.mutation.reach import Sources, changed
from tools.mutation.table import ROOT, Mutant, mutated

COPIED = ("cuslayer", "tests", "examples/configs", "pyproject.toml")
SECONDS = 60  # for the tests of one mutant, which take a few when they pass
BASELINE_SECONDS = 400

# Messages of tests that fail because the mutant is not a program.
NO_PROGRAM = re.compile(r"SyntaxError|NameError|ImportError|ModuleNotFound|numba\.core\.errors|refuses the kernels")

# A process that forks must have no threads, and the other cores run other mutants. Compiling takes longer than running.
SETTINGS = {
    **dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS"), "1"),
    **{"NUMBA_OPT": "1", "NUMBA_LOOP_VECTORIZE": "0", "NUMBA_SLP_VECTORIZE": "0"},
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
}


class Outcome(NamedTuple):
    """The verdict on a mutant (`caught`, `survived` or `invalid`), the reason, and the seconds it took."""

    mutant: Mutant
    verdict: str
    reason: str
    seconds: float


class Warm:
    """A process of warm.py."""

    def __init__(self, base: Path):
        # The emulator caches its builds in the temporary folder, by a hash of the source.
        self._folder = base.parent
        scratch = base.parent / "scratch"
        scratch.mkdir(exist_ok=True)
        kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "PYTEST_ADDOPTS", "PYTHONPATH")}
        command = [sys.executable, str(Path(__file__).with_name("warm.py")), str(base)]
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        environment = kept | SETTINGS | {"TMPDIR": str(scratch)}
        self._process = subprocess.Popen(command, cwd=base, env=environment, **pipes)

    def run(self, tree: Path, tests: Sequence[str], seconds: float) -> tuple[int | None, str]:
        """Run tests of a tree; return pytest's exit code, None after a timeout, and the first failure.

        Raises:
            RuntimeError: the process has ended.
        """
        try:
            with tempfile.TemporaryDirectory(dir=self._folder, ignore_cleanup_errors=True) as work:
                request = {"tree": str(tree), "work": work, "tests": list(tests), "seconds": seconds}
                self._process.stdin.write(json.dumps(request) + "\n")
                self._process.stdin.flush()
                code, reason = json.loads(self._process.stdout.readline())
        except (BrokenPipeError, ValueError) as problem:
            raise RuntimeError("mutants: the process that runs the tests has ended") from problem
        return code, reason

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


class Base:
    """A copy of the library and the tests without faults, with their compiled code."""

    def __init__(self, folder: Path):
        self.tree = folder / "tree"
        self.tree.mkdir()
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, self.tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, self.tree / name)
        sources = sorted((self.tree / "cuslayer").rglob("*.py"))
        self._sources = Sources(self.tree, [path.relative_to(self.tree) for path in sources])
        self._adopt(max(path.stat().st_mtime for path in sources))
        self._files: list[Path] = []

    def _adopt(self, since: float) -> None:
        """Copy Numba's cached code of the library where it is newer than all sources."""
        for kept in (ROOT / "cuslayer").rglob("*.nb[ic]"):
            if kept.stat().st_mtime > since:
                place = self.tree / kept.relative_to(ROOT)
                place.parent.mkdir(exist_ok=True)
                shutil.copy2(kept, place)

    def compiled(self) -> None:
        """List all files, after the tests have run."""
        tests = self.tree / "tests"
        for kept in tests.rglob("*.nb[ic]"):
            kept.unlink()  # `stale` covers the library alone
        self._files = [path.relative_to(self.tree) for path in self.tree.rglob("*") if path.is_file()]

    def lay(self, mutant: Mutant, tree: Path) -> None:
        """Make a tree of hard links to the files, with one file changed, without the code it makes stale.

        Raises:
            OSError: the file does not exist.
            ValueError: the text to change does not occur exactly once.
        """
        file = Path(mutant.file)
        text = (self.tree / file).read_text("utf-8")
        new = mutated(text, mutant)
        left_out = {file}
        if file.suffix == ".py":
            folder = file.parent / "__pycache__"
            left_out |= {p for p in self._files if p.parent == folder and p.match(f"{file.stem}.*.pyc")}
            kept = [path for path in self._files if path.suffix in (".nbi", ".nbc")]
            left_out |= self._sources.stale(kept, file, changed(text, new))
        made: set[Path] = set()
        for path in self._files:
            if path in left_out:
                continue
            if path.parent not in made:
                (tree / path.parent).mkdir(parents=True, exist_ok=True)
                made.add(path.parent)
            os.link(self.tree / path, tree / path)
        (tree / file).parent.mkdir(parents=True, exist_ok=True)  # the file may be the only one in its folder
        (tree / file).write_text(new, "utf-8")


def attempt(mutant: Mutant, base: Base, idle: SimpleQueue[Warm]) -> Outcome:
    """Run the tests of a mutant in a tree of its own."""
    begin = time.perf_counter()

    def outcome(verdict: str, reason: str) -> Outcome:
        return Outcome(mutant, verdict, reason[:150], time.perf_counter() - begin)

    with tempfile.TemporaryDirectory(dir=base.tree.parent, ignore_cleanup_errors=True) as folder:
        try:
            base.lay(mutant, Path(folder))
        except (OSError, ValueError) as problem:
            return outcome("invalid", str(problem))
        with taken(idle) as warm:
            code, reason = warm.run(Path(folder), mutant.tests, SECONDS)
    if code == 0:
        return outcome("survived", "all of its tests pass")
    if code is None:
        return outcome("caught", reason)
    return outcome("caught" if code == 1 and not NO_PROGRAM.search(reason) else "invalid", reason)


@contextlib.contextmanager
def taken(idle: SimpleQueue[Warm]) -> Iterator[Warm]:
    """Take an idle process for the duration of a block."""
    warm = idle.get()
    try:
        yield warm
    finally:
        idle.put(warm)


def outcomes(chosen: Sequence[Mutant], jobs: int) -> Iterator[Outcome]:
    """Yield the outcome of each mutant, in order.

    Raises:
        RuntimeError: the tests do not pass without a fault, or a process has ended.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="mutants-"))
        base = Base(Path(folder).resolve())
        idle: SimpleQueue[Warm] = SimpleQueue()
        for _ in range(jobs):
            warm = Warm(base.tree)
            stack.callback(warm.close)
            idle.put(warm)
        pool = stack.enter_context(ThreadPoolExecutor(jobs))

        # The tests run on the base first: mutants use the code that this compiles.
        def whole(tests: Iterable[str]) -> tuple[int | None, str]:
            with taken(idle) as warm:
                return warm.run(base.tree, list(tests), BASELINE_SECONDS)

        files: dict[str, set[str]] = {}
        for test in {test for mutant in chosen for test in mutant.tests}:
            files.setdefault(test.partition("::")[0], set()).add(test)
        for code, reason in pool.map(whole, [sorted(tests) for _, tests in sorted(files.items())]):
            if code != 0:
                raise RuntimeError(f"mutants: the tests do not pass without a fault: {reason[-300:]}")
        base.compiled()
        yield from pool.map(lambda mutant: attempt(mutant, base, idle), chosen)
