"""benchmarks/gpu_cost.py: the counts of a training step, its budgets, the model of its time, the tables."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from tools.emulator.counts import ArrayCounts, LaunchCounts
from tools.fake_cupy import Costs, Operation

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import accesses  # noqa: E402
import example_networks  # noqa: E402
import gpu_cost  # noqa: E402
import occupancy  # noqa: E402
import page  # noqa: E402
import sector_reasons  # noqa: E402
import step_costs  # noqa: E402
import traffic  # noqa: E402
from accesses import Accesses  # noqa: E402
from occupancy import Resources  # noqa: E402

TINY = ["--steps", "10", "--batch", "2", "--network", "6x6x2-3c3-2a-3"]


@cache
def costs_of(name: str, potentials: str = "full") -> Costs:
    make, shape = gpu_cost.network(name)
    make = make if potentials == "full" else example_networks.with_float16(make)
    return step_costs.count(make, shape, 300, gpu_cost.BATCHES[name])


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


def test_a_budget_that_is_exceeded_fails() -> None:
    costs = Costs([Operation("k", "kernel", 3, 4), Operation("r", "readback", 4), Operation("u", "upload", 0, 8)])
    limits = {"operations": 1, "readbacks": 1, "upload": 8, "moved": 7}
    budget(costs, **limits)
    for name in limits:
        with pytest.raises(AssertionError):
            budget(costs, **limits | {name: limits[name] - 1})


def test_the_step_is_counted_by_phase_and_layer() -> None:
    parts = costs_of("MLP").by("phase", "layer")
    layers = ("0 Dense + SRM", "2 Dense + SRM")
    expected = {(phase, layer) for phase in ("forward", "backward") for layer in layers}
    assert {key for key in parts if "Dense" in key[1]} == expected
    assert all(parts[key].launches for key in expected)
    assert {phase for phase, _ in parts} >= {"input", "forward", "loss", "backward", "optimizer"}
    assert all(name.startswith("adam") for name in parts["optimizer", ""].own())
    # The events, 4 bytes each.
    assert parts["input", ""].bytes_up >= 4 * 4000 * gpu_cost.BATCHES["MLP"]


def test_layers_of_nested_networks_have_their_address() -> None:
    def nested() -> cs.Sequential:
        srm = cs.SRM()
        return cs.Sequential(cs.Sequential(cs.Dense(4, 3), cs.FilterBank(2, 3), srm), cs.Dense(6, 2), srm)

    parts = step_costs.count(nested, (4,), 10, 2).by("phase", "layer")
    layers = ["0.0 Dense", "0.1 FilterBank", "0.2 SRM", "1 Dense + SRM"]
    assert [layer for phase, layer in parts if phase == "forward" and layer != "input"] == layers
    assert [layer for phase, layer in parts if phase == "backward" and layer[:1].isdigit()] == layers[::-1]


def test_the_model_of_the_time() -> None:
    costs = Costs(
        [
            Operation("small", "kernel", 100, 100),
            Operation("moves", "own", int(2e-3 * traffic.BANDWIDTH), int(1e-3 * traffic.BANDWIDTH)),
            Operation("computes", "product", 8, 8, flops=int(4e-3 * gpu_cost.FLOPS)),
            Operation("sends", "upload", 0, int(gpu_cost.TRANSFER)),
            Operation("small", "kernel", 1, 1, graph=True),
        ]
    )
    found = gpu_cost.totals(costs)
    assert found["microseconds"] == pytest.approx(5 + 3000 + 4000 + 2)
    assert found["microseconds_up"] == pytest.approx(1e6)


@pytest.mark.parametrize(
    ("needed", "block", "dynamic", "blocks"),
    [
        (Resources(32, 0, 0), (128,), 0, 16),
        (Resources(64, 0, 0), (128,), 0, 8),
        (Resources(65, 0, 0), (128,), 0, 7),
        (Resources(255, 0, 0), (128,), 0, 2),
        (Resources(16, 0, 0), (32,), 0, 32),
        (Resources(32, 0, 0), (32, 32), 0, 2),
        (Resources(32, 0, 0), (100,), 0, 16),
        (Resources(32, 0, 0), (128,), 100_000, 2),
        (Resources(32, 48_000, 0), (128,), 100_000, 1),
        (Resources(32, 48 << 10, 0), (128,), 0, 4),
        (Resources(128, 0, 0), (1024,), 0, 0),
    ],
)
def test_blocks_of_a_multiprocessor(needed: Resources, block: tuple[int, ...], dynamic: int, blocks: int) -> None:
    assert occupancy.blocks(needed, block, dynamic) == blocks


def test_accesses_of_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of every second element, and of words of one bank; the launches before the step do not count."""
    every_second = cs.kernel(
        """
        extern "C" __global__ void every_second(const real *x, real *y)
        {
            __shared__ real s[32 * 128];
            s[32 * threadIdx.x] = x[2 * threadIdx.x];
            __syncthreads();
            y[threadIdx.x] = s[32 * (threadIdx.x ^ 1)];
        }
        """,
        "every_second",
    )

    def prepared(*_: Any) -> Any:
        x, y = (backend.to_device(np.ones(size, np.float32)) for size in (256, 128))
        every_second(128, x=x, y=y)
        return SimpleNamespace(train=lambda _: every_second(128, x=x, y=y)), None

    monkeypatch.setattr(step_costs, "prepared", prepared)
    found = accesses.of_step(lambda: cs.Sequential(), (1,))
    warps = 4
    arrays = {"x": (warps * 8, warps * 4), "y": (warps * 4, warps * 4)}
    assert found == {"every_second": Accesses(arrays, warps * 2, warps * 2 * 31, 0.0)}
    assert found["every_second"].efficiency == 2 / 3
    assert found["every_second"].wasteful() == ["x"]
    assert backend.device() == "cpu"


def test_accesses_are_sums_over_launches_and_arrays() -> None:
    arrays = {"x": ArrayCounts(read=8, ideal_read=4), "y": ArrayCounts(written=2, ideal_written=1)}
    arrays["z"] = ArrayCounts(changed=30, ideal_changed=15)
    numbers = {"accesses": 4, "partial": 1, "lanes": 9, "shared_accesses": 2, "conflicts": 6}
    launches = [LaunchCounts("k", (1, 1, 1), (32, 1, 1), 64, some, **numbers) for some in (arrays, {"x": arrays["x"]})]
    total = accesses.total(launches)
    assert total == Accesses({"x": (16, 8), "y": (2, 1), "z": (30, 15)}, 4, 12, 0.25)
    assert (total.sectors, total.ideal, total.wasteful()) == (48, 24, ["z", "x", "y"])
    assert accesses.total([]) == Accesses({}, 0, 0, 0.0)
    assert accesses.total([]).efficiency == 1.0


@pytest.mark.parametrize(("ideal", "needs"), [(79, True), (80, False)])
def test_a_kernel_needs_a_reason_where_few_sectors_are_needed(ideal: int, needs: bool) -> None:
    """It is that of the array with most sectors that are not needed."""
    found = Accesses({"x=y": (60, ideal - 34), "s": (10, 6), "u": (30, 28)}, 0, 0, 0.0)
    assert found.reason("conv_pool") == (sector_reasons.REASONS["conv_pool", "x"] if needs else "")
    assert gpu_cost.of_accesses("conv_pool", asdict(found))[0] == f"{ideal}%"


def test_reasons_are_of_arrays_of_kernels() -> None:
    for kernel, array in sector_reasons.REASONS:
        assert array in traffic.WAYS[kernel]
    assert sector_reasons.reason("conv_pool", "w") == sector_reasons.reason("no_kernel", "x") == ""


@pytest.mark.parametrize(
    ("name", "size", "what"),
    [
        ("adam_all", 1000, "launch"),
        ("adam_all", 10**9, "not known"),
        ("conv_neuron", 1000, "launch"),
        ("conv_neuron", 10**9, "instructions"),
        ("dense_neuron", 10**9, "instructions"),
    ],
)
def test_what_a_kernel_is_bound_by(name: str, size: int, what: str) -> None:
    assert gpu_cost.bound(Operation(name, "own", size, size, graph=True)) == what


def test_the_page_has_a_reason_for_each_kernel_and_array_of_few_needed_sectors() -> None:
    """`python benchmarks/gpu_cost.py` writes them."""
    text, few = gpu_cost.PAGE.read_text("utf-8"), 0
    for mark, share, reason, least in (("gpu-kernels", -4, -1, 2), ("gpu-sectors", -2, -3, 2)):
        _, _, rest = text.partition(page.marks(mark)[0])
        lines = rest.partition(page.marks(mark)[1])[0].splitlines()
        rows = [line[1:-1].split("|") for line in lines if "`" in line]
        assert len(rows) >= least
        for cells in rows:
            under = int(cells[share].strip(" %")) < 100 * sector_reasons.LEAST
            assert bool(cells[reason].strip()) == under, cells
            few += under
    assert few > 2


def test_resources_of_a_kernel() -> None:
    found = occupancy.resources("psp")
    assert 16 <= found.registers <= 64
    assert (found.shared, found.spilled) == (0, 0)


def test_json(capsys: pytest.CaptureFixture[str]) -> None:
    gpu_cost.main(["--json", "--quick", *TINY, "--network", "5-4-3"])
    found = json.loads(capsys.readouterr().out)
    assert found["model"]["launch"] == gpu_cost.LAUNCH
    first, second = found["networks"]
    assert [(row["network"], row["steps"], row["batch"]) for row in (first, second)] == [
        ("6x6x2-3c3-2a-3", 10, 2),
        ("5-4-3", 10, 2),
    ]
    for row in (first, second):
        for name in gpu_cost.TOTALS:
            assert sum(part[name] for part in row["parts"]) == pytest.approx(row[name])
        assert row["float16"]["moved"] < row["moved"]
        assert row["float16"].keys() == gpu_cost.TOTALS.keys()
        assert row["kernels"]
        for kernel in row["kernels"]:
            assert kernel["launches"] >= 1
            assert kernel["moved"] > 0
            assert "registers" not in kernel
    assert first["bytes_up"] >= 2 * 4 * round(10 * example_networks.EVENTS)


def test_the_tables_on_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    monkeypatch.setattr(gpu_cost, "BATCHES", {"5-4-3": 2})
    counts = {"g": (30, 20), "constants": (10, 10)}
    monkeypatch.setattr(accesses, "of_step", lambda *_: {"adam_all": Accesses(counts, 8, 2, 0.25)})
    monkeypatch.setattr(sector_reasons, "REASONS", {("adam_all", "g"): "some reason"})
    monkeypatch.setattr(occupancy, "resources", lambda name: Resources(48, 1, 2))
    docs = tmp_path / "page.md"
    names = ("gpu-cost", "gpu-kernels", "gpu-sectors", "gpu-card")
    marks = [mark for name in names for mark in page.marks(name)]
    docs.write_text("\n".join(["Before.", *marks, "After.\n"]))
    gpu_cost.main(["--steps", "10", "--docs", str(docs)])
    text, said = docs.read_text(), capsys.readouterr().out
    assert text.startswith("Before.")
    assert text.endswith("After.\n")
    totals, parts, own, arrays = said.strip().split("\n\n")
    assert text.index(totals) < text.index(parts) < text.index(marks[1]) < text.index(own) < text.index(marks[3])
    assert text.index(marks[3]) < text.index(arrays) < text.index(marks[5])
    assert arrays.splitlines()[-1].split("|")[4:6] == [" some reason ", "            66% "]
    rows = [[cell.strip(" `") for cell in line[1:-1].split("|")] for line in own.splitlines() if "`" in line]
    kernels = {name: cells for name, *cells in rows}
    network, launches, _, _, bound, _, threads, *resources = kernels["adam_all"]
    assert (network, launches, bound, threads) == ("5-4-3", "1", "launch", "256")
    assert resources == ["0", "48", "1", "2", "5", "75%", "0.25", "25%", "some reason"]
    assert kernels["dense_neuron"][-4:] == ["", "", "", ""]
    gpu_cost.main(["--quick", "--steps", "20", "--docs", str(docs)])
    assert "T 20" in docs.read_text()
    assert own in docs.read_text()
    gpu_cost.main(["--quick", "--docs", "nowhere", *TINY])
    assert "registers" not in capsys.readouterr().out


def test_the_page_has_the_counts() -> None:
    """`python benchmarks/gpu_cost.py` writes them."""
    text = gpu_cost.PAGE.read_text("utf-8")
    rows = []
    for name, batch in gpu_cost.BATCHES.items():
        costs = costs_of(name)
        rows.append({"network": name, "steps": 300, "batch": batch, **gpu_cost.totals(costs)})
        rows[-1]["float16"] = gpu_cost.totals(costs_of(name, "float16"))
        rows[-1]["parts"] = gpu_cost.parts(costs)
        assert "\n".join(gpu_cost.of_parts(rows[-1])) in text
    assert "\n".join(gpu_cost.of_totals(rows)) in text


@pytest.mark.parametrize(
    ("number", "text"),
    [(0, "0"), (999, "999"), (1000, "1 k"), (22197760, "22.2 M"), (13.6e9, "13.6 G"), (2e12, "2e+03 G")],
)
def test_sizes(number: float, text: str) -> None:
    assert gpu_cost.size(number) == text
