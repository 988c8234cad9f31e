"""benchmarks/gpu_cost.py: the counts of a training step, its budgets, the model of its time, the tables."""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from tools.fake_cupy import Costs

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import common  # noqa: E402
import gpu_cost  # noqa: E402


@cache
def costs_of(name: str, potentials: str = "full") -> Costs:
    network = gpu_cost.NETWORKS[name]
    return gpu_cost.count(network if potentials == "full" else network.half())


def budget(costs: Costs, operations: int, readbacks: int, upload: float, moved: float) -> None:
    """Assert that a step needs at most so many operations, reads back, bytes from the host and bytes moved."""
    assert costs.launches <= operations
    assert costs.readbacks <= readbacks
    assert costs.bytes_up <= upload
    assert costs.moved <= moved


@pytest.mark.parametrize(
    ("name", "limits"),
    [
        ("MLP", {"operations": 12, "readbacks": 0, "upload": 0.52e6, "moved": 157e6}),
        ("CNN", {"operations": 21, "readbacks": 0, "upload": 0.13e6, "moved": 1.1e9}),
    ],
)
def test_a_training_step_keeps_its_budget(name: str, limits: dict[str, Any]) -> None:
    budget(costs_of(name), **limits)


@pytest.mark.parametrize(("name", "moved"), [("MLP", 158e6), ("CNN", 770e6)])
def test_a_training_step_with_float16_potentials_moves_less(name: str, moved: float) -> None:
    """Nothing but the potentials changes: the same operations, and 2 bytes less for each that is written or read."""
    full, half = costs_of(name), costs_of(name, "float16")
    assert half.moved <= moved
    assert half.own() == full.own()
    assert half.launches == full.launches
    assert half.bytes_up == full.bytes_up


def test_the_step_is_counted_by_phase_and_layer() -> None:
    parts = costs_of("MLP").by("phase", "layer")
    layers = ("0 Dense + SRM", "2 Dense + SRM")
    expected = {(phase, layer) for phase in ("forward", "backward") for layer in layers}
    assert {key for key in parts if "Dense" in key[1]} == expected
    assert all(parts[key].launches for key in expected)
    assert {phase for phase, _ in parts} >= {"input", "forward", "loss", "backward", "optimizer"}
    assert all(name.startswith("adam") for name in parts["optimizer", ""].own())
    # The events, 4 bytes each.
    assert parts["input", ""].bytes_up >= 4 * 4000 * gpu_cost.NETWORKS["MLP"].batch


def test_the_page_has_the_counts() -> None:
    """`python benchmarks/gpu_cost.py` writes them."""
    text = (common.DOCS / "kernels.md").read_text("utf-8")
    rows = []
    for name in ("MLP", "CNN"):
        costs, batch = costs_of(name), gpu_cost.NETWORKS[name].batch
        rows.append({"network": name, "steps": 300, "batch": batch, **gpu_cost.totals(costs)})
        rows[-1]["float16"] = gpu_cost.totals(costs_of(name, "float16"))
        rows[-1]["parts"] = gpu_cost.parts(costs)
        assert "\n".join(gpu_cost.of_parts(rows[-1])) in text
    assert "\n".join(gpu_cost.of_totals(rows)) in text
