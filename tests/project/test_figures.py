"""The figures on pages are those of benchmarks/results/: what its scripts would write into the page is there."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


@pytest.fixture
def script(monkeypatch):
    """Return a function that imports a script of benchmarks/."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if str(ROOT / "benchmarks") in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def found(name):
    return json.loads((RESULTS / f"{name}.json").read_text("utf-8"))


def page(name):
    return (ROOT / name).read_text("utf-8")


def marked(script, name, text):
    begin, end = script("page").marks(name)
    return text.split(begin)[1].split(end)[0].strip()


def test_the_front_page(script):
    front = script("front_page")
    assert marked(script, "figures", page("README.md")) == "\n".join(front.figures())
    assert marked(script, "peers", page("README.md")) == "\n".join(front.peers())


def test_performance(script):
    lines = script("comparison.report").text(found("peers"))
    shown = marked(script, "peers", page("docs/performance.md"))
    assert "\n".join(lines).strip() in shown


def test_scale(script):
    scale, kills, text = found("scale"), found("kills"), page("docs/scale.md")
    assert "\n".join(script("scale").text(scale, scale["model"], scale["carried"])) in text
    assert "\n".join(script("kill_processes").text(kills)) in text
    assert all(run["same"] for run in kills["runs"].values())


def test_reliability(script):
    soak, fuzz, text = found("soak"), found("fuzz"), page("docs/reliability.md")
    assert marked(script, "soak", text) == "\n".join(script("soak").lines(soak))
    assert marked(script, "fuzz", text) == "\n".join(script("fuzz").lines(fuzz))
    assert not any(each["failures"] for each in soak["faults"].values())
    assert fuzz["problems"] == []


def test_exchange(script):
    pytest.importorskip("nir")
    assert "\n".join(script("exchange").lines_of(found("exchange"))) in page("docs/exchange.md")
