"""The stage `tests` of benchmarks/gpu.py: the order of tests, the limit of time, and the results that are saved."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import gpu_pytest  # noqa: E402
import gpu_tests  # noqa: E402
from gpu_stages import MARGIN, Run, Sizes  # noqa: E402

ENDING = 60.0

TESTS = """
import time
import pytest

pytestmark = pytest.mark.gpu

@pytest.fixture
def broken():
    raise OSError("no")

@pytest.mark.parametrize("x", [1, 2, 3])
def test_first(x):
    assert x != 2

def test_second():
    time.sleep(0)

def test_third(broken):
    pass

def test_fourth():
    pytest.skip("not here")
"""


@pytest.fixture
def root(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """Make a project with tests for a GPU, and return a function that runs the stage in it."""
    folder = tmp_path / "tests" / "device"
    folder.mkdir(parents=True)
    (folder / "test_cpu.py").write_text("def test_of_the_cpu(): assert False\n")
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers =\n    gpu: on a GPU\n")
    monkeypatch.setattr(gpu_tests, "ROOT", tmp_path)
    # The process may be slow on a machine that has much to do.
    monkeypatch.setattr(gpu_tests, "ENDING", ENDING)

    def run(limit: float, text: str = TESTS, kind: type[Run] = Run) -> Run:
        (folder / "test_card.py").write_text(text)
        found = kind(SimpleNamespace(), Sizes(), limit + ENDING + MARGIN)  # type: ignore[arg-type]
        gpu_tests.tests(found)
        return found

    return run


def test_all_tests_of_a_gpu_run(root: Any) -> None:
    found = root(1000.0).found
    assert (found["collected"], found["not_run"]) == (6, 0)
    assert (found["passed"], found["failed"], found["skipped"]) == (3, 2, 1)
    names = [name.partition("::")[2] for name in found["failing"]]
    assert names == ["test_third", "test_first[2]"]
    (check,) = found["checks"]
    assert (check["met"], check["found"]) == (False, "2 failed")


def test_the_time_ends_after_a_test(root: Any) -> None:
    found = root(0.0).found
    assert (found["collected"], found["not_run"], found["passed"]) == (6, 5, 1)
    assert found["checks"][0]["met"]


def test_a_test_that_never_ends_is_stopped(root: Any) -> None:
    class UntilOneHasPassed(Run):
        def left(self) -> float:
            return -1.0 if self.found.get("passed") else 100.0

    found = root(1000.0, TESTS.replace("sleep(0)", "sleep(600)"), UntilOneHasPassed).found
    assert (found["collected"], found["passed"]) == (6, 1)


def test_tests_that_cannot_be_collected(root: Any) -> None:
    with pytest.raises(RuntimeError, match=r"^pytest ran no test: "):
        root(1000.0, "mark.gpu ( = 3")


def test_the_order() -> None:
    def test(module: str) -> Any:
        function = type("Function", (), {"__module__": module})
        return [SimpleNamespace(function=function, name=f"{module}[{case}]") for case in range(2)]

    modules = ("tests.training.test_t", "tests.layers.test_l", "tests.kernels.test_k", "tests.device.test_d", "own")
    items = [item for module in modules for item in test(module)]
    assert [item.name for item in gpu_pytest.fastest_first(items)] == [
        *("tests.kernels.test_k[0]", "tests.kernels.test_k[1]"),
        *("tests.layers.test_l[0]", "own[0]", "tests.layers.test_l[1]", "own[1]"),
        *("tests.device.test_d[0]", "tests.device.test_d[1]"),
        *("tests.training.test_t[0]", "tests.training.test_t[1]"),
    ]


def test_results_that_are_being_written(tmp_path: Path) -> None:
    path = tmp_path / "tests.jsonl"
    assert gpu_tests.summary(path)["collected"] == 0
    lines = [{"collected": 4}, {"test": "a", "outcome": "passed"}, {"test": "b", "outcome": "failed"}]
    # A test that fails is no other test when its tear-down fails, nor is one that passed before.
    lines += [{"test": "b", "outcome": "failed"}, {"test": "a", "outcome": "failed"}]
    path.write_text("\n".join(map(json.dumps, lines)) + '\n{"test": "c", "outc')
    found = gpu_tests.summary(path)
    assert found == {"collected": 4, "not_run": 2, "passed": 0, "failed": 2, "skipped": 0, "failing": ["a", "b"]}


def test_the_tests_for_a_gpu_are_found() -> None:
    found = gpu_tests.with_gpu_tests(gpu_tests.ROOT / "tests")
    assert str(gpu_tests.ROOT / "tests" / "device" / "test_card.py") in found
    assert str(gpu_tests.ROOT / "tests" / "kernels" / "test_twins.py") not in found


def test_a_run_without_tests_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_tests, "ROOT", tmp_path)
    with pytest.raises(gpu_tests.Skipped, match=r"^no tests in "):
        gpu_tests.tests(Run(SimpleNamespace(), Sizes(), 10.0))  # type: ignore[arg-type]
