"""The model of scale: its fit finds the constants of points that follow it, and the page has the results."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def scale(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import scale

    yield scale
    for name in ("scale", "page", "machine"):
        sys.modules.pop(name, None)


def made(scale, **constants):
    """Return points as they are measured, of a machine of two cores that follows the model."""
    machine = {"processor": "P", "cores": 2, "system": "S", "python": "3", "numpy": "2", "numba": "0", "cuslayer": "0"}
    found = {
        "machine": machine,
        "micro": 16,
        "weights": 4e6,
        "rows": {"8": 0.5},
        "megabytes": {"alone": 3, "ordered": 2},
    }
    found["pings"] = [(n, constants["latency"] + n / constants["bandwidth"]) for n in (8, 1 << 16, 1 << 20)]
    batches = (*scale.FITTED, *scale.TESTED)
    grid = [(p, batch) for p in scale.PROCESSES for batch in batches]
    model = {**constants, "cores": 2}
    found["points"] = [{"processes": p, "batch": b, "seconds": scale.step(model, p, b, found)} for p, b in grid]
    kinds = {kind: {"seconds": 0.1, "communication": 0.01} for kind in ("alone", "one", "ordered", "fast")}
    found["turns"] = [{"micro": 8, "kinds": kinds}]
    return found


def test_the_fit_finds_the_model(scale):
    wanted = {"compute": 0.02, "fixed": 0.004, "latency": 5e-6, "bandwidth": 5e9}
    found = made(scale, **wanted)
    model = scale.fit(found)
    assert {name: model[name] for name in wanted} == pytest.approx(wanted, rel=1e-6)
    assert model["error_fitted"] < 1e-6
    assert model["error_tested"] < 1e-6


def test_many_processes(scale, tmp_path):
    """Nothing is faster than ideal, beyond the micro-batches messages make it slower, and one process is one."""
    found = made(scale, compute=0.02, fixed=0.004, latency=5e-6, bandwidth=5e9)
    model = scale.fit(found)
    far = scale.carried(model, found)
    for kind in ("cluster", "cards"):
        for speeds in far[kind].values():
            assert speeds[0] == 1
            assert all(speed <= size for speed, size in zip(speeds, far["sizes"], strict=True))
        assert far[kind]["1024"][10] < far[kind]["1024"][6] < far[kind]["16384"][10]
    scale.draw(found, model, far, tmp_path / "scale.png")
    assert (tmp_path / "scale.png").stat().st_size > 5000
    lines = scale.text(found, model, far)
    assert any("| held out |" in line.replace("  ", " ") for line in lines)


def test_the_page_has_the_results(scale):
    found = json.loads(scale.RESULTS.read_text())
    text = scale.DOCS.read_text(encoding="utf-8")
    lines = scale.text(found, found["model"], found["carried"])
    assert "\n".join(lines) in text
    assert scale.RESULTS.with_suffix(".png").is_file()
    assert {p["processes"] for p in found["points"]} == set(scale.PROCESSES)


def test_the_page_has_the_kills(monkeypatch):
    """All 20 runs, numbered from 1, have the bits of one that nobody killed."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import kill_processes

    found = json.loads(kill_processes.RESULTS.read_text())
    assert sorted(map(int, found["runs"])) == list(range(1, 21))
    assert all(
        run["same"] and run["seconds"] < 10 and run["resumed_by"] != run["processes"] for run in found["runs"].values()
    )
    assert "\n".join(kill_processes.text(found)) in kill_processes.DOCS.read_text(encoding="utf-8")
    for name in ("kill_processes", "page", "machine"):
        sys.modules.pop(name, None)
