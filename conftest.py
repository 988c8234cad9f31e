"""Two levels of tests: `pytest` is the library on the CPU, `pytest --all` adds all that takes longer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent

# Folders and files that only `pytest --all` runs. A single test has the mark `all` instead.
ONLY_WITH_ALL = (
    "tools",
    "tests/kernels",
    "tests/device",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all", action="store_true", help="run the slow tests too: emulated CUDA, processes, builds, pages"
    )


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Choose the level, and as many processes as there are cores where the tests are not named."""
    option = config.option
    if hasattr(config, "workerinput"):
        return
    named = config.args_source == pytest.Config.ArgsSource.ARGS
    option.all = option.all or named or bool(option.markexpr or option.keyword)
    if not named and getattr(option, "numprocesses", 0) is None and not (option.usepdb or option.collectonly):
        option.numprocesses = "auto"
        option.dist = "worksteal" if option.dist == "no" else option.dist
        # With more threads the processes would wait for each other.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out what is listed above, unless it is asked for."""
    if not config.option.all and any(collection_path == ROOT / path for path in ONLY_WITH_ALL):
        return True
    return None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests with the mark `all`, unless they are asked for."""
    if not config.option.all:
        later = [item for item in items if item.get_closest_marker("all")]
        items[:] = [item for item in items if item not in set(later)]
        config.hook.pytest_deselected(items=later)
