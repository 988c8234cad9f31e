"""`pytest -m gpu` takes up what a device does, and leaves out what the CPU alone does."""

from __future__ import annotations

import importlib
import inspect
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = (
    *("kernels.test_twins", "kernels.test_twins_transpose", "neurons.test_srm", "optim.test_optimizers"),
    *("layers.test_conv", "layers.test_dense", "layers.test_filter_bank", "layers.test_fused"),
)


@pytest.fixture(scope="module")
def collected() -> set[str]:
    """The names of the tests that `pytest -m gpu` takes up."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-qq", "-m", "gpu", "-p", "no:cacheprovider"]
    found = subprocess.run(
        [*command, "-o", "addopts=--strict-markers", "--verbosity=-1", "tests/device/test_card.py"],
        cwd=ROOT,
        env={**os.environ, "CUSLAYER_STAND_IN": "1", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return {line.partition("::")[2].partition("[")[0] for line in found.stdout.splitlines() if "::" in line}


@pytest.mark.parametrize("name", MODULES)
def test_what_only_the_cpu_does_is_left_out(collected: set[str], name: str) -> None:
    module = importlib.import_module(f"tests.{name}")
    tests = {name: test for name, test in vars(module).items() if name.startswith("test_") and callable(test)}
    assert tests
    taken = {}
    for test_name, test in tests.items():
        marked = any(mark.name == "cpu_only" for mark in getattr(test, "pytestmark", ()))
        lines = inspect.getsource(test)
        # A test that calls kernels of the CPU by name, and none of the device, cannot be of the device.
        assert marked or not re.search(r"\bcpu\.|kernels\.host", lines) or re.search(r"\bgpu\b", lines), test_name
        taken[test_name] = not marked
    prefix = name.rpartition(".")[2]
    found = {test: f"{prefix}_{test.removeprefix('test_')}" in collected for test in tests}
    assert found == taken


@pytest.mark.parametrize(
    "path", sorted((ROOT / "tests" / "kernels").glob("test_twins*.py")), ids=lambda path: path.stem
)
def test_the_twins_of_every_topic_are_taken_up(collected: set[str], path: Path) -> None:
    module = importlib.import_module(f"tests.kernels.{path.stem}")
    names = [name.removeprefix("test_") for name in vars(module) if name.startswith("test_")]
    assert any(f"{path.stem}_{name}" in collected for name in names)


def test_what_tests_the_host_is_left_out(collected: set[str]) -> None:
    assert "test_twins_spikes_set_bits" in collected
    assert "test_twins_spikes_with_neurons_fills_what_is_missing" not in collected
