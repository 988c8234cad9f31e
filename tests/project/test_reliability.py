"""The page on reliability has the figures of the scripts' results, and names tests that exist."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def reliability(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import reliability

    yield reliability
    for name in ("reliability", "page", "machine"):
        sys.modules.pop(name, None)


def test_the_page_has_the_figures_of_the_results(reliability, tmp_path):
    page = tmp_path / "page.md"
    page.write_text(reliability.PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    reliability.fill(page)
    assert page.read_text(encoding="utf-8") == reliability.PAGE.read_text(encoding="utf-8")


def test_every_fault_and_every_reader_has_a_promise(reliability):
    soak, fuzz = (json.loads(path.read_text()) for path in (reliability.SOAK, reliability.FUZZ))
    faults = [name for each in reliability.PROMISES if each.source[0] == "soak" for name in each.source[1:]]
    assert sorted(faults) == sorted(reliability.FAULTS)
    assert set(soak["faults"]) == set(faults)
    starts = tuple(name for each in reliability.PROMISES if each.source[0] == "fuzz" for name in each.source[1:])
    assert all(name.startswith(starts) for name in fuzz["readers"])
    assert not any(reliability.counted(each, soak, fuzz) == "-" for each in reliability.PROMISES)


def test_nothing_failed(reliability):
    soak, fuzz = (json.loads(path.read_text()) for path in (reliability.SOAK, reliability.FUZZ))
    assert [problem for each in soak["faults"].values() for problem in each["failures"]] == []
    assert all(abs(each["growth"]) <= 0.03 for each in soak["memory"].values())
    assert fuzz["problems"] == []


def test_the_tests_that_are_named_exist(reliability):
    for promise in reliability.PROMISES:
        assert promise.tests
        assert [name for name in promise.tests if "def test" not in (ROOT / name).read_text(encoding="utf-8")] == []


def test_counts_are_those_of_the_rows(reliability):
    row = {"times": 1200, "differences": 1, "left_over": 0, "dead_ends": 2, "wrong_exits": 0, "hangs": 0}
    soak = {"faults": {"kills": row}, "memory": {"MLP": {"growth": 0.0123, "steps": 2000}}}
    fuzz = {
        "readers": {
            "events .h5": {"files": 1000, "crash": 1, "hang": 0, "memory": 0, "error": 0},
            "counts .bsn": {"files": 500, "crash": 0, "hang": 2, "memory": 0, "error": 1},
            "cs.load": {"files": 7, "crash": 0, "hang": 0, "memory": 0, "error": 0},
        }
    }

    def counted(*source):
        return reliability.counted(reliability.Promise("", "", source, ()), soak, fuzz)

    assert counted("soak", "kills") == "1,200 times, 3 failures"
    assert counted("soak", "deaths") == "-"
    assert counted("fuzz", "events", "counts") == "1,500 files, 4 failures"
    assert counted("memory") == "+1.2% in 2,000 steps"
    assert counted("tests") == "each run of the tests"


def test_a_command_is_published_without_the_places_of_files(reliability):
    given = ["--kills", "3", "--out", "a.json", "--only", "cs.load", "events .h5", "--keep", "b"]
    assert reliability.machine.command("soak.py", given) == (
        'python benchmarks/soak.py --kills 3 --only cs.load "events .h5"'
    )
