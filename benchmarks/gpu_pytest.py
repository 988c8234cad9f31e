"""A plugin of pytest for benchmarks/gpu.py: fast tests first, a limit of time, and results that are saved at once.

    python -m pytest -m gpu -p gpu_pytest --gpu-results FILE --gpu-seconds 100

The tests of kernels come first, then those of layers, neurons and losses, then whole networks and training; within each
of these, the first case of every test, then the second of each, and so on. FILE gets a line of JSON for each test.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

# The folders of tests whose tests are slower, from the fastest.
LATER = ("device", "data", "training")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--gpu-results", type=Path, required=True, help="the file of results")
    parser.addoption("--gpu-seconds", type=float, required=True, help="the limit of time")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Results(config.getoption("--gpu-results"), config.getoption("--gpu-seconds")))


def group(module: str) -> int:
    """Return the group of a test by the module in which it is written, from 0 for the fastest."""
    folder = module.split(".")[1] if module.startswith("tests.") else ""
    return 0 if folder == "kernels" else 2 + LATER.index(folder) if folder in LATER else 1


def fastest_first(items: list[Any]) -> list[Any]:
    """Return tests in the order of their groups, within a group the first case of each, then the second of each."""
    case: Counter[Any] = Counter()
    keys = []
    for place, item in enumerate(items):
        function = getattr(item, "function", item)
        case[function] += 1
        keys.append((group(getattr(function, "__module__", "")), case[function], place))
    return [item for _, item in sorted(zip(keys, items, strict=True), key=lambda pair: pair[0])]


class Results:
    """Writes the outcome of each test to a file, and stops after some seconds."""

    def __init__(self, path: Path, seconds: float) -> None:
        self._path, self._end = path, time.monotonic() + seconds

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[Any]) -> None:
        items[:] = fastest_first(items)
        self._write({"collected": len(items)})

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        # Of a test's three phases, set-up and tear-down are told only where they are not as they should be.
        if report.when == "call" or report.outcome != "passed":
            self._write({"test": report.nodeid, "outcome": report.outcome, "seconds": report.duration})

    def pytest_runtest_logfinish(self, nodeid: str) -> None:
        if time.monotonic() > self._end:
            pytest.exit("the limit of time", returncode=0)

    def _write(self, line: dict[str, Any]) -> None:
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
