"""What the tests are worth: small faults are put into the library, one at a time, and each must fail a test.

    python tests/support/mutation/mutants.py [--only WORD] [--sample K --seed S] [--jobs N]

The faults lie in tests/mutants/*.yaml: file by file, what each is, the function it is `in` where the text alone is not
unique, the `old` text and the `new` one, and the tests that must notice. A space in `old` may be a line's end. Every
fault gets a copy of the library and the tests to itself. It is caught when a test fails, or does not end; a mutant that
is not a program (it does not compile, or import, or it crashes) is invalid, and proves nothing.

Exit code 1 when one survives or is invalid.
"""

from __future__ import annotations

import argparse
import ast
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

import yaml

ROOT = Path(__file__).parents[3]
TABLES = Path(__file__).parent
COPIED = ("cuslayer", "tests", "pyproject.toml")
SECONDS = 60  # for the tests of one mutant, which pass in a few
BASELINE_SECONDS = 400

# Without shrinking, which only makes a failure nicer, and without a database, which would hand one mutant's failures
# to the next.
PYTEST = """
import sys
from pathlib import Path
import pytest

class Still:
    def pytest_configure(self):
        import cuslayer
        from hypothesis import Phase, settings
        if not Path(cuslayer.__file__).is_relative_to(Path.cwd()):
            pytest.exit(f"{cuslayer.__file__} is not the copy in {Path.cwd()}", 3)
        phases = (Phase.explicit, Phase.generate)
        settings.register_profile("still", derandomize=True, database=None, phases=phases, report_multiple_bugs=False)
        settings.load_profile("still")

sys.exit(pytest.main(sys.argv[1:], plugins=[Still()]))
"""

# What a test fails with where the mutant is no program: nothing that it computes is wrong, for it computes nothing.
NO_PROGRAM = re.compile(r"SyntaxError|NameError|ImportError|ModuleNotFound|numba\.core\.errors|refuses the kernels")


class Mutant(NamedTuple):
    """One fault; `place` is the function it lies in, or empty."""

    file: str
    what: str
    place: str
    old: str
    new: str
    tests: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.file}: {self.what}"


class Outcome(NamedTuple):
    """`caught`, `survived` or `invalid`, why, and how long it took."""

    mutant: Mutant
    verdict: str
    reason: str
    seconds: float


def mutants() -> list[Mutant]:
    """Return the faults of all tables."""
    found = []
    for table in sorted(TABLES.glob("*.yaml")):
        for file, entries in yaml.safe_load(table.read_text("utf-8")).items():
            for entry in entries:
                tests = tuple(f"tests/{test}" for test in entry.pop("tests"))
                found.append(Mutant(file, entry.pop("what"), entry.pop("in", ""), **entry, tests=tests))
    return found


def function(text: str, name: str) -> tuple[int, int]:
    """Return where the definition of a function begins and ends in a CUDA or Python source.

    Raises:
        ValueError: it is not defined exactly once.
    """
    head = rf"^( *)(?:def |.*\b__(?:global|device)__ .*){re.escape(name)}\("
    starts = list(re.finditer(head, text, re.MULTILINE))
    if len(starts) != 1:
        raise ValueError(f"'{name}' is defined {len(starts)} times")
    indent, begin = starts[0][1], starts[0].start()
    # What follows a definition is no deeper than it. Nor are brackets and pragmas within.
    after = re.compile(rf"^ {{0,{len(indent)}}}[^\s)}}{{#]", re.MULTILINE).search(text, starts[0].end())
    return begin, after.start() if after else len(text)


def mutated(text: str, mutant: Mutant) -> str:
    """Return a source with a fault in it.

    Raises:
        ValueError: the old text is not there exactly once.
    """
    begin, end = function(text, mutant.place) if mutant.place else (0, len(text))
    pattern = r"\s+".join(map(re.escape, mutant.old.split()))
    found = list(re.compile(pattern).finditer(text, begin, end))
    if len(found) != 1:
        raise ValueError(f"{mutant}: '{mutant.old}' is found {len(found)} times")
    return text[: found[0].start()] + mutant.new + text[found[0].end() :]


def sample(count: int, seed: int) -> list[Mutant]:
    """Draw faults, of CUDA and of Python by turns."""
    kinds: dict[bool, list[Mutant]] = {True: [], False: []}
    for mutant in mutants():
        kinds[mutant.file.endswith(".py")].append(mutant)
    for drawn in kinds.values():
        random.Random(seed).shuffle(drawn)
    turns = zip(kinds[False], kinds[True], strict=False)
    return [mutant for turn in turns for mutant in turn][:count]


def dependents(tree: Path, file: str) -> set[str]:
    """Return the names of the modules in whose compiled code a module may have been inlined, its own among them."""
    imports: dict[str, set[str]] = {}
    for path in (tree / "cuslayer").rglob("*.py"):
        names = imports.setdefault(path.stem, set())
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom):
                names.update((node.module or "").split("."), (alias.name for alias in node.names))
    found, size = {Path(file).stem}, 0
    while len(found) > size:
        size = len(found)
        found |= {module for module, names in imports.items() if names & found}
    return found


def forget(tree: Path, file: str) -> None:
    """Remove what Numba has kept of functions that a changed file is part of: it looks at each function's file only."""
    if file.endswith(".py"):
        names = dependents(tree, file)
        for kept in tree.rglob("*.nb[ic]"):
            if kept.name.split(".")[0] in names or "tests" in kept.relative_to(tree).parts:
                kept.unlink()


def environment(tree: Path) -> dict[str, str]:
    # Compiled code is kept with the copies: Numba's beside the sources, the emulator's in the temporary folder, where
    # the source's own text is its name.
    scratch = tree.parent / "scratch"
    scratch.mkdir(exist_ok=True)
    kept = {k: v for k, v in os.environ.items() if k not in ("NUMBA_CACHE_DIR", "PYTEST_ADDOPTS")}
    return kept | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(scratch)}


def run(tree: Path, tests: Iterable[str], seconds: float) -> tuple[int | None, str]:
    """Run tests of a copy; return pytest's exit code, None where it did not end, and what it ended with."""
    report = tree / "report.xml"
    report.unlink(missing_ok=True)
    options = ("-x", "-q", "-p", "no:cacheprovider", f"--junitxml={report}")
    command = [sys.executable, "-c", PYTEST, *options, *tests]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    started = subprocess.Popen(command, cwd=tree, env=environment(tree), start_new_session=True, **pipes)
    try:
        output, _ = started.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(started.pid, signal.SIGKILL)
        started.communicate()
        return None, f"no end within {seconds:.0f} s"
    if report.exists():
        for case in ElementTree.parse(report).iter("testcase"):
            for kind in ("error", "failure", "skipped"):
                if (found := case.find(kind)) is not None:
                    message = " ".join(f"{found.get('message')}".split())
                    code = {"error": 2, "failure": 1, "skipped": 5}[kind]
                    return code, f"{case.get('name')}: {message[:100]}"
    return started.returncode, " ".join(output[-300:].split()) if started.returncode else ""


def attempt(mutant: Mutant, base: Path) -> Outcome:
    """Give a fault to a fresh copy and run its tests."""
    begin = time.perf_counter()

    def outcome(verdict: str, reason: str) -> Outcome:
        return Outcome(mutant, verdict, reason, time.perf_counter() - begin)

    with tempfile.TemporaryDirectory(dir=base.parent) as folder:
        tree = Path(shutil.copytree(base, folder, dirs_exist_ok=True))
        path = tree / mutant.file
        try:
            path.write_text(mutated(path.read_text("utf-8"), mutant), "utf-8")
        except (OSError, ValueError) as problem:
            return outcome("invalid", str(problem))
        forget(tree, mutant.file)
        code, reason = run(tree, mutant.tests, SECONDS)
    if code == 0:
        return outcome("survived", "all of its tests pass")
    if code is None:
        return outcome("caught", reason)
    return outcome("caught" if code == 1 and not NO_PROGRAM.search(reason) else "invalid", reason)


def outcomes(chosen: list[Mutant], jobs: int) -> Iterator[Outcome]:
    """Yield what becomes of each fault, in their order.

    Raises:
        RuntimeError: the tests do not pass without a fault.
    """
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        base = Path(folder) / "tree"
        base.mkdir()
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, base / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, base / name)
        # Whole first: what it compiles on the way, the mutants find there.
        code, reason = run(base, sorted({test for mutant in chosen for test in mutant.tests}), BASELINE_SECONDS)
        if code != 0:
            raise RuntimeError(f"mutants: the tests do not pass as they are: {reason}")
        with ThreadPoolExecutor(jobs) as pool:
            yield from pool.map(lambda mutant: attempt(mutant, base), chosen)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Put faults into the library and show that the tests catch each.")
    parser.add_argument("--only", metavar="WORD", default="", help="those whose file or description has the word")
    parser.add_argument("--sample", metavar="K", type=int, help="K of them, drawn")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="how they are drawn")
    parser.add_argument("--jobs", metavar="N", type=int, default=2, help="processes at a time")
    given = parser.parse_args(arguments)
    chosen = mutants() if given.sample is None else sample(given.sample, given.seed)
    chosen = [mutant for mutant in chosen if given.only in str(mutant)]
    if not chosen:
        parser.error("no mutant is chosen")
    begin = time.perf_counter()
    counts = {"caught": 0, "survived": 0, "invalid": 0}
    try:
        for mutant, verdict, reason, seconds in outcomes(chosen, given.jobs):
            counts[verdict] += 1
            print(f"{verdict:8} {seconds:5.1f} s  {mutant}  [{reason}]", flush=True)
    except RuntimeError as problem:
        parser.exit(1, f"{problem}\n")
    summary = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
    print(f"{len(chosen)} mutants: {summary}, in {time.perf_counter() - begin:.0f} s")
    return int(counts["caught"] < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
