"""The results of benchmarks/gpu.py as text, and as the table of docs/kernels.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import example_networks  # noqa: E402
import gpu_cost  # noqa: E402
import gpu_report  # noqa: E402
import step_costs  # noqa: E402

MODEL = {
    "MLP": {"microseconds": 80.0, "float16": {"microseconds": 70.0}},
    "CNN": {"microseconds": 400.0, "float16": {"microseconds": 300.0}},
}


def entry(status: str = "done", reason: str | None = None, **found: Any) -> dict[str, Any]:
    where = {"card": "A card", "driver": "550.54", "cuda": "12.9", "cupy": "14", "clock_mhz": 1980}
    return {"status": status, "reason": reason, "limit": 30, "seconds": 2.5, "where": where, "found": found}


def step(network: str, potentials: str, eager: float, graph: float) -> dict[str, Any]:
    return {
        "network": network,
        "potentials": potentials,
        "eager": {"milliseconds": eager},
        "graph": {"milliseconds": graph},
    }


FOUND = {
    "card": "A card",
    "stages": {
        "speed": entry(copy_bytes_per_second=2.5e12, launch_microseconds=4.5, launch_in_graph_microseconds=1.25),
        "steps": entry(rows=[step("MLP", "full", 2.0, 0.25), step("MLP", "float16", 1.9, 0.2)]),
        "peers": entry(
            rows=[
                {"network": "MLP", "peer": "ours", "form": "graph", "milliseconds": 0.25},
                {"network": "MLP", "peer": "slayer", "form": "loop", "milliseconds": 90.0, "times": 360.0},
                {"network": "MLP", "peer": "snntorch", "form": "plain", "milliseconds": 1.25, "times": 5.0},
                {"network": "MLP", "peer": "spikingjelly", "form": "multi-step", "problem": "no time left"},
            ]
        ),
        "bits": entry(checks=[{"what": "MLP: equal", "met": True, "found": ""}]),
        "tests": entry("stopped", "the limit of 30 s", passed=440, failed=1, failing=["a.py::b"]),
        "epoch": entry(recordings=60000, epoch_seconds=0.75),
        "kernels": entry("failed", "RuntimeError: no"),
    },
}


def cells(lines: list[str]) -> dict[str, list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name: rest for name, *rest in rows}


def test_the_table_without_a_card_is_the_models_and_says_so() -> None:
    table = cells(gpu_report.lines([], MODEL))
    assert table[""] == ["the model, of an H100: not measured", "on a card"]
    assert table["MLP: a step as a graph"] == ["0.080 ms", "not measured yet"]
    assert table["CNN: with potentials as float16"] == ["0.300 ms", "not measured yet"]
    assert table["MLP: an epoch of 60,000 recordings"] == ["0.15 s", "not measured yet"]
    assert {rest[1] for name, rest in table.items() if name.strip("-:")} == {"not measured yet"}


def test_the_table_of_a_saved_file(tmp_path: Path) -> None:
    (tmp_path / "gpu-a-card.json").write_text(json.dumps(FOUND))
    (tmp_path / "gpu-b-card.json").write_text(json.dumps({"card": "B card", "stages": {}}))
    (tmp_path / "kernels.json").write_text("{}")
    table = cells(gpu_report.lines(gpu_report.all_results(tmp_path), MODEL))
    assert table[""] == ["the model, of an H100: not measured", "measured: A card", "measured: B card"]
    of_card = {name: rest[1] for name, rest in table.items()}
    assert of_card["MLP: a step launched one by one"] == "2.000 ms"
    assert of_card["MLP: a step as a graph"] == "0.250 ms"
    assert of_card["MLP: with potentials as float16"] == "0.200 ms"
    assert of_card["MLP: the fastest peer"] == "1.25 ms, 5.0 times (snnTorch, plain)"
    assert of_card["CNN: a step as a graph"] == of_card["CNN: the fastest peer"] == "not measured yet"
    assert of_card["MLP: an epoch of 60,000 recordings"] == "0.75 s"
    assert of_card["a copy"] == "2,500 GB/s"
    assert of_card["an empty launch; one in a graph"] == "4.5 µs; 1.2 µs"
    assert of_card["tests"] == "440 passed, 1 failed"
    assert of_card["bits of equal steps"] == "equal"
    assert {rest[2] for name, rest in table.items() if name.strip("-:")} == {"not measured yet"}


def test_the_text_of_a_stage() -> None:
    lines = gpu_report.text("steps", FOUND["stages"]["steps"])
    assert lines[0] == "steps: done in 2.5 s of 30 s"
    assert lines[1] == "  on A card, driver 550.54, cuda 12.9, cupy 14, clock_mhz 1980"
    assert lines[2] == "  rows"
    assert [cell.strip() for cell in lines[-1].split("|")[1:3]] == ["MLP", "float16"]
    lines = gpu_report.text("tests", FOUND["stages"]["tests"])
    assert lines[:2] == ["tests: stopped in 2.5 s of 30 s", "  the limit of 30 s"]
    assert lines[3:] == ["  passed: 440", "  failed: 1", "  failing: a.py::b"]
    check = {"what": "equal", "met": False, "found": "3 differ"}
    assert gpu_report.text("x", entry(checks=[check]))[-1] == "  NOT MET equal: 3 differ"


def test_what_is_not_as_demanded() -> None:
    checks = [{"what": "fast", "met": False, "found": "3 ms"}, {"what": "equal", "met": True, "found": ""}]
    stages = FOUND["stages"] | {"peers": entry("skipped", "no torch"), "bits": entry(checks=checks)}  # type: ignore[operator]
    assert gpu_report.unmet(stages) == ["tests: the limit of 30 s", "kernels: RuntimeError: no", "bits: fast: 3 ms"]


def test_the_page_has_the_table() -> None:
    """`python benchmarks/gpu_cost.py --quick` writes it; a card that was measured may not be on the page yet."""
    text, model = gpu_cost.PAGE.read_text("utf-8"), {}
    for name, make in example_networks.NETWORKS.items():
        found = []
        for each in (make, example_networks.with_float16(make)):
            costs = step_costs.count(each, example_networks.SHAPE, 300, example_networks.BATCHES[name])
            found.append(gpu_cost.totals(costs))
        model[name] = {**found[0], "float16": found[1]}
    on_page = [found for found in gpu_report.all_results() if f"measured: {found['card']}" in text]
    assert "\n".join(gpu_report.lines(on_page, model)) in text


@pytest.mark.parametrize("text", ["python benchmarks/gpu.py", "not measured", "benchmarks/results/gpu-CARD.json"])
def test_the_page_says_what_to_run(text: str) -> None:
    page = gpu_cost.PAGE.read_text("utf-8")
    assert text in page[page.index("## Measuring on a GPU") :]
