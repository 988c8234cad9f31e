"""Mutation testing: plants small faults in a copy of the library, one at a time, and counts those that a test catches.

    python -m tools.mutation [--only WORD] [--count N] [--seed S] [--part K/N] [--least PERCENT]

Faults are made from the sources (faults.py), and drawn; tests.yaml has the tests of each file. What survives is a hole
in the tests, or the same program written differently: only a reader can tell. Exit code 1 means that less than
`--least` percent are caught, or that a test fails without a fault.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path

import yaml

from tools.mutation.faults import ROOT, Fault, drawn

SECONDS = 900
# Of a test that fails because the changed kernel does not compile.
NO_PROGRAM = re.compile(r"^E +\S*(?:numba\.core\.errors\.|CompileError)", re.MULTILINE)
FAILED = re.compile(r"^(?:FAILED|ERROR) (.+?)(?: - .*)?$", re.MULTILINE)
# After a change of these files the CPU's kernels are compiled anew.
COMPILED = re.compile(r"cuslayer/(?:kernels/.*|data/.*|_base/(?:jit|parallel))\.py")
CAUGHT, SURVIVED, INVALID, ENDLESS = "caught", "survived", "invalid", "endless"


def tests_of(file: str) -> list[str]:
    """Return the tests of a source file, the likeliest first."""
    tests = ROOT / "tests"
    table = yaml.safe_load(Path(__file__).with_name("tests.yaml").read_text("utf-8"))
    path = Path(file).relative_to("cuslayer")
    chosen = next((names.split() for pattern, names in table.items() if fnmatch(path.as_posix(), pattern)), None)
    if chosen is None:
        own = path.parts[0]
        named = [test.relative_to(tests).as_posix() for test in tests.rglob(f"test_{path.stem.strip('_')}*.py")]
        folders = [own] if (tests / own).is_dir() else []
        # Of its own folder its name, then all; then its name elsewhere.
        chosen = sorted([*named, *folders], key=lambda name: (Path(name).parts[0] != own, "/" not in name, name))
    return [file] * (path.suffix == ".py") + [f"tests/{name}" for name in chosen]


def copied(folder: Path) -> Path:
    """Return a copy of the repository's files, with the kernels that are compiled."""
    return shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".*_cache", ".venv", ".git", "site", "runs"))


def outcome(tree: Path, tests: Iterable[str]) -> tuple[int | None, str]:
    """Run tests of a copy; return pytest's exit code, None if they take too long, and what it printed."""
    command = [sys.executable, "-m", "pytest", "--all", "-x", "-q", "--tb=short", "-p", "no:cacheprovider", *tests]
    # Compiled code is kept beside the sources of the copy.
    environment = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "PYTHONPATH")}
    environment["PYTEST_ADDOPTS"] = "-p no:xdist"
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return None, ""
    return done.returncode, done.stdout + done.stderr


def verdict(tree: Path, fault: Fault) -> tuple[str, str]:
    """Return what becomes of a fault, and the first test that fails."""
    path = tree / fault.file
    before = path.read_bytes()
    path.write_bytes(fault.planted(before))
    try:
        code, said = outcome(tree, tests_of(fault.file))
    finally:
        path.write_bytes(before)
    failed = FAILED.search(said)
    if not code:
        return ENDLESS if code is None else SURVIVED, ""
    return INVALID if NO_PROGRAM.search(said) else CAUGHT, failed[1] if failed else ""


def part(text: str) -> slice:
    """Return every N-th place from the K-th on, for text such as 1/4."""
    number, _, parts = text.partition("/")
    if not 1 <= int(number) <= int(parts):
        raise ValueError(text)
    return slice(int(number) - 1, None, int(parts))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser("python -m tools.mutation", description="Plant faults.", allow_abbrev=False)
    parser.add_argument("--only", metavar="WORD", default="", help="only faults whose file or line has the word")
    parser.add_argument("--count", metavar="N", type=int, default=60, help="the number of faults (60)")
    parser.add_argument("--seed", metavar="S", type=int, default=0, help="a seed draws the same faults (0)")
    parser.add_argument("--part", metavar="K/N", type=part, default=slice(None), help="every N-th fault from the K-th")
    parser.add_argument("--least", metavar="PERCENT", type=float, default=60, help="the share that must be caught (60)")
    options = parser.parse_args(arguments)
    faults = drawn(options.count, options.seed, options.only)[options.part]
    counts: Counter[str] = Counter()
    passed: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        tree, clean = copied(Path(folder) / "tree"), copied(Path(folder) / "clean")
        tests = sorted({test for fault in faults for test in tests_of(fault.file)})
        code, said = outcome(clean, ["--collect-only", *tests])
        # First those that need no compiling.
        for fault in sorted(faults, key=lambda fault: bool(COMPILED.fullmatch(fault.file))):
            if code:
                break
            begin = time.monotonic()
            word, by = verdict(tree, fault)
            counts[word] += 1
            print(f"{word:8} {time.monotonic() - begin:4.0f} s  {fault}  [{by}]", flush=True)
            test = by.partition("[")[0]
            if test and test not in passed:
                passed.add(test)
                code, said = outcome(clean, [test])
    if code:
        print(f"tests fail without a fault:\n{said}")
        return 1
    share = 100 * counts[CAUGHT] / max(counts[CAUGHT] + counts[SURVIVED], 1)
    print(", ".join(f"{count} {word}" for word, count in counts.items()), f"- {share:.0f} % caught")
    return int(share < options.least)


if __name__ == "__main__":
    sys.exit(main())
