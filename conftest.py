"""Two levels of tests: `pytest` is the library on the CPU, `pytest --all` adds all that takes longer."""

from __future__ import annotations

import os
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent

# As many processes run tests as there are cores: none of them starts others that compile kernels.
os.environ.setdefault("CUSLAYER_COMPILERS", "0")

# Folders whose tests, and modules whose docstrings, only `pytest --all` runs: most compile many kernels or start
# processes. A test file has `pytestmark = pytest.mark.all`, a single test the mark.
FOLDERS_WITH_ALL = ("tools", "tests/device", "tests/distributed", "tests/kernels")
DOCSTRINGS_WITH_ALL = {
    "cuslayer/layers": ("delay", "filter_bank"),
    "cuslayer/loss": ("spike_time",),
    "cuslayer/neurons": ("ad_lif", "balanced_resonate_and_fire", "base", "normalized_alif", "sampled_srm"),
}
_MARK = re.compile(r"^pytestmark = pytest\.mark\.all$", re.MULTILINE)
# The order of the default level. Each of two processes takes a half: the second begins with what compiles nothing, and
# finds on disk what the first has compiled. In the order of their names, both compile the same kernels at once.
ORDER = (
    *("cli", "device", "inspection", "interchange", "layers", "network", "saving", "training", "optim", "loss"),
    *("tests", "array_functions", "plot", "data", "neurons", "project", "cuslayer"),
)
# What runs by default all the same: a handful of networks on emulated CUDA.
ALWAYS = (ROOT / "tests" / "device" / "test_emulated_networks.py",)


@cache
def only_with_all(path: Path) -> bool:
    """Return whether a file is for `pytest --all` alone; a marked file is not even imported at the default level."""
    if path in ALWAYS:
        return False
    if path.name.startswith("test_") and _MARK.search(path.read_text("utf-8")):
        return True
    folder = path.parent.relative_to(ROOT).as_posix()
    return path.stem in DOCSTRINGS_WITH_ALL.get(folder, ()) or any(
        path.is_relative_to(ROOT / folder) for folder in FOLDERS_WITH_ALL
    )


def place(item: pytest.Item) -> int:
    """Return the place of a test's folder in the order above."""
    folders = item.path.parent.relative_to(ROOT).parts
    name = folders[1] if folders[1:] and folders[0] == "tests" else folders[0]
    return ORDER.index(name) if name in ORDER else len(ORDER)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--all", action="store_true", help="run the slow tests too: emulated CUDA, processes, builds, pages"
    )
    parser.addoption("--rest", action="store_true", help="run the tests of --all that run with --all alone")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Choose the level; tests that are named are run, all others in as many processes as there are cores."""
    option = config.option
    if hasattr(config, "workerinput"):
        return
    chosen = config.args_source == pytest.Config.ArgsSource.ARGS or bool(option.markexpr or option.keyword)
    option.all = option.all or option.rest or chosen
    if not chosen and getattr(option, "numprocesses", 0) is None and not (option.usepdb or option.collectonly):
        option.numprocesses = "auto"
        option.dist = "worksteal" if option.dist == "no" else option.dist
        # With more threads the processes would wait for each other.
        os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process of tests which level this one has chosen."""
    node.workerinput["all"] = node.config.option.all


def pytest_configure(config: pytest.Config) -> None:
    """Take the level that the first process has chosen."""
    config.option.all = getattr(config, "workerinput", {}).get("all", config.option.all)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out the files for `pytest --all` alone, unless it is asked for."""
    return True if collection_path.is_file() and not config.option.all and only_with_all(collection_path) else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out the tests with the mark `all`, unless they are asked for; with --rest, all others."""
    if config.option.all and not config.option.rest:
        return
    levels: dict[bool, list[pytest.Item]] = {False: [], True: []}
    for item in items:
        levels[bool(item.get_closest_marker("all")) or only_with_all(item.path)].append(item)
    items[:] = sorted(levels[False], key=place) if not config.option.rest else levels[True]
    config.hook.pytest_deselected(items=levels[not config.option.rest])
