"""Two levels of tests: `pytest` is the library on the CPU, `pytest --all` adds all that takes longer."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent

# Folders and files that only `pytest --all` runs: most compile many kernels or start processes.
# A single test has the mark `all` instead.
ONLY_WITH_ALL = {
    "cuslayer/layers": ["delay", "filter_bank"],
    "cuslayer/loss": ["spike_time"],
    "cuslayer/neurons": ["base", "sampled_srm"],
    "tools": [""],
    "tests": ["cuda_probe", "fine_steps", "jit", "kernel_cache", "surrogates"],
    "tests/cli": ["after_training", "errors", "signals", "train_options"],
    "tests/data": ["digits", "loader_gpu"],
    "tests/device": [""],
    "tests/distributed": [""],
    "tests/inspection": [
        *("branches", "calibrate", "compare_gradients", "demo", "device", "explain", "health_advice"),
        *("notebook_html", "ops", "page_files", "pages", "record", "report_model", "unchanged"),
    ],
    "tests/interchange": ["netx", "nir_recurrent"],
    "tests/kernels": [""],
    "tests/layers": [
        *("affine", "batch_norm", "conv", "delay", "filter_bank", "fused", "recurrent"),
        "weighted_pool",
    ],
    "tests/loss": ["decision"],
    "tests/network": ["changed_in_place", "fusion", "memory", "recurrent", "stream", "synaptic"],
    "tests/neurons": [
        *("adaptive_lif", "lava_dl", "loihi", "long_filters", "potential", "resonate_and_fire", "sampled_srm"),
        *("sigma_delta", "step_kinds"),
    ],
    "tests/optim": ["interrupts"],
    "tests/project": ["examples", "supply", "write_your_own"],
    "tests/training": [
        *("determinism", "graph", "other_recordings", "refused_checkpoints", "run_stopped", "running_statistics"),
        *("sound_run", "sweep"),
    ],
}
# The order of the default level. Each of two processes takes a half: the second begins with what compiles nothing, and
# finds on disk what the first has compiled. In the order of their names, both compile the same kernels at once.
ORDER = (
    *("cli", "device", "inspection", "interchange", "layers", "network", "saving", "training", "optim", "loss"),
    *("tests", "array_functions", "plot", "data", "neurons", "project", "cuslayer"),
)
# What runs by default all the same: a handful of networks on emulated CUDA.
ALWAYS = (ROOT / "tests" / "device" / "test_emulated_networks.py",)


def file_of(folder: str, name: str) -> str:
    """Return the path of a name above."""
    if not name:
        return folder
    return f"{folder}/{name}.py" if folder.startswith("cuslayer") else f"{folder}/test_{name}.py"


@cache
def only_with_all(path: Path) -> bool:
    """Return whether a file is listed above."""
    if path in ALWAYS:
        return False
    whole = any("" in files and path.is_relative_to(ROOT / folder) for folder, files in ONLY_WITH_ALL.items())
    return whole or any(
        path == ROOT / file_of(folder, name) for folder, files in ONLY_WITH_ALL.items() for name in files
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
    """Leave out what is listed above, unless it is asked for."""
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
