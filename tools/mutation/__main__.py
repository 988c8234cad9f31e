"""Mutation testing: plants small faults in a copy of the library, one at a time; a test must fail for each.

    python -m tools.mutation [--only WORD] [--part K/N]

faults.yaml has for each file the tests that reach it, and the faults: function, pattern, new text.
With --part K/N only every N-th fault is tried, from number K on. Exit code 1 where a fault survives or is no program.
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
from collections.abc import Iterable
from pathlib import Path

from tools.mutation.faults import ROOT, Fault, faults, planted

SECONDS = 900
# Of a test that fails because the changed file is no program.
NO_PROGRAM = re.compile(r"SyntaxError|NameError|ImportError|ModuleNotFound|numba\.core\.errors|refuses the kernels")
CAUGHT, SURVIVED, INVALID = "caught", "survived", "invalid"


def copied(folder: Path) -> Path:
    """Return a copy of the repository's files, without what was compiled."""
    left_out = shutil.ignore_patterns(".*_cache", "__pycache__", ".venv", ".git", "site", "runs")
    return shutil.copytree(ROOT, folder / "tree", ignore=left_out)


def outcome(tree: Path, tests: Iterable[str]) -> tuple[int | None, str]:
    """Run tests of a copy; return pytest's exit code, None if they take too long, and what it printed."""
    command = [sys.executable, "-m", "pytest", "--all", "-x", "-q", "--tb=short", "-p", "no:cacheprovider", *tests]
    # Compiled code is kept beside the sources of the copy, and is compiled anew after a change of a kernel.
    environment = {name: value for name, value in os.environ.items() if name not in ("NUMBA_CACHE_DIR", "PYTHONPATH")}
    environment["PYTEST_ADDOPTS"] = "-p no:xdist"
    try:
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        return None, f"no end within {SECONDS} s"
    return done.returncode, done.stdout + done.stderr


def verdict(tree: Path, fault: Fault) -> tuple[str, str]:
    """Return what becomes of a fault, and the first test that fails."""
    path = tree / fault.file
    before = path.read_text("utf-8")
    path.write_text(planted(before, fault), "utf-8")
    try:
        code, said = outcome(tree, fault.tests)
    finally:
        path.write_text(before, "utf-8")
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", said, re.MULTILINE)
    if code == 0:
        return SURVIVED, ""
    return INVALID if NO_PROGRAM.search(said) else CAUGHT, failed[1] if failed else said[-100:]


def part(text: str) -> slice:
    """Return every N-th place from the K-th on, for text such as 1/4."""
    number, _, parts = text.partition("/")
    if not 1 <= int(number) <= int(parts):
        raise ValueError(text)
    return slice(int(number) - 1, None, int(parts))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        "python -m tools.mutation", description="Plant faults; a test must fail for each.", allow_abbrev=False
    )
    parser.add_argument("--only", metavar="WORD", default="", help="only faults whose file or pattern has the word")
    parser.add_argument("--part", metavar="K/N", type=part, default=slice(None), help="every N-th fault from the K-th")
    given = parser.parse_args(arguments)
    chosen = [fault for fault in faults() if given.only in str(fault)][given.part]
    counts = {CAUGHT: 0, SURVIVED: 0, INVALID: 0}
    with tempfile.TemporaryDirectory() as folder:
        tree = copied(Path(folder))
        code, said = outcome(tree, sorted({test for fault in chosen for test in fault.tests}))
        if code:
            print(f"tests fail without a fault:\n{said}")
            return 1
        for fault in chosen:
            begin = time.monotonic()
            word, by = verdict(tree, fault)
            counts[word] += 1
            print(f"{word:8} {time.monotonic() - begin:4.0f} s  {fault}  [{by}]", flush=True)
    print(", ".join(f"{count} {word}" for word, count in counts.items()))
    return int(counts[CAUGHT] < len(chosen))


if __name__ == "__main__":
    sys.exit(main())
