"""benchmarks/gpu.py, on a stand-in of a card: what it counts, what it captures, what it says where it cannot."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.kernels import matrix
from cuslayer.kernels.cuda import compile as source
from tests.support import fake_cupy as strict

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import gpu as benchmark  # noqa: E402
import traffic  # noqa: E402
from card import Cuda, Graphs  # noqa: E402


class Card:
    """Every work takes a millisecond; captures are the stand-in's."""

    name, l2, versions = "Stand-in (9000)", 1000, {"cupy": "none"}

    def __init__(self) -> None:
        self.timed = 0

    def seconds(self, work: Any) -> float:
        work()
        self.timed += 1
        return 1e-3

    def settled(self) -> Any:
        return nullcontext()

    def begin(self) -> None:
        strict.begin_capture()

    def end(self) -> Any:
        return strict.end_capture()


@pytest.fixture(autouse=True)
def launched(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """The stand-in is the device; the names of the kernels that ran."""
    monkeypatch.setattr(benchmark, "STEPS", 20)
    monkeypatch.setattr(benchmark, "BATCH", 2)
    with strict.in_use() as driver:
        yield driver.launches


def network(notation: str) -> cs.Network:
    return cs.Network(notation, cs.SRM())


def test_every_kernel_is_timed_in_both_types(launched: list[str]) -> None:
    found = benchmark.kernels(Card())
    assert {row["kernel"] for row in found["rows"]} == set(launched) == set(source.kernel_names())
    assert len(found["rows"]) == 2 * len(source.kernel_names())
    assert 4 * found["steps"] * found["columns"] >= 2 * Card.l2
    elements = found["steps"] * found["columns"]
    assert found["copy_bytes_per_second"] == 8 * elements / 1e-3
    for row in found["rows"]:
        moved = elements * traffic.bytes_per_element(row["kernel"], row["dtype"])
        assert row["bytes_per_second"] == pytest.approx(moved / 1e-3)
        assert row["of_a_copy"] == pytest.approx(moved / (8 * elements))


def of_numbers() -> cs.Sequential:
    """Return a network whose first layer takes numbers, which are products of matrices."""
    srm = cs.SRM()
    return cs.Sequential(srm.psp, cs.Dense(8, 4), srm, cs.Dense(4, 3), srm)


def by_cublas(a: Any, b: Any, transposed: bool = False) -> Any:
    """Return a product as CuPy makes it, which a capture does not allow."""
    return (a.T if transposed else a) @ b


SPIKES = {"spike_count_error_packed", "dense_neuron", "dense_neuron_adjoint", "dense_weight_adjoint", "adam_all"}


@pytest.mark.parametrize(
    ("make", "shape", "outside", "parts", "kernels"),
    [
        (lambda: network("4x4x2-20-3"), (4, 4, 2), set(), 1, SPIKES),
        (lambda: network("4x4x2-3c3-2a-3"), (4, 4, 2), set(), 1, SPIKES | {"conv_pool", "conv_pool_adjoint"}),
        (of_numbers, (8,), set(), 1, SPIKES | {"psp", "neuron", "neuron_adjoint", "matmul"}),
        (of_numbers, (8,), {"dense.forward", "dense.weight_adjoint"}, 4, SPIKES | {"psp", "neuron", "neuron_adjoint"}),
    ],
    ids=["dense layers", "convolution", "numbers", "cuBLAS"],
)
def test_a_replay_is_the_step(
    make: Any,
    shape: tuple[int, ...],
    outside: set[str],
    parts: int,
    kernels: set[str],
    launched: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A step is one graph. A kernel that cannot be captured runs between two, wherever it is called."""
    if outside:
        monkeypatch.setattr(matrix, "matmul", by_cublas)
    net = make()
    for p in net.parameters():
        p.data *= 10.0
    step = benchmark.training_step(net, shape, 20, 2)
    graphs = Graphs(Card(), step)
    assert graphs.outside == outside
    assert graphs.graphs == parts
    before = len(launched)
    graphs()
    assert kernels <= set(launched[before:])
    assert benchmark.difference(net, step, graphs) < 1e-6
    assert all(backend.to_numpy(p.grad).any() for p in net.parameters())
    weights = [p.numpy() for p in net.parameters()]
    graphs()
    assert all((p.numpy() != w).any() for p, w in zip(net.parameters(), weights, strict=True))


def test_what_cannot_be_captured_is_said_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    make = benchmark.training_step

    def that_reads(net: Any, *sizes: Any) -> Any:
        step = make(net, *sizes)
        return lambda: (step(), net.parameters()[0].data.sum().item())

    monkeypatch.setattr(benchmark, "training_step", that_reads)
    row = benchmark.training(Card(), "MLP", network("8-4-3"), (8,), 20, 2)
    assert row["milliseconds"] == 1.0
    assert row["graph_milliseconds"] is None
    assert row["note"] == (
        "not captured: RuntimeError: cudaErrorStreamCaptureUnsupported: "
        "operation not permitted when stream is capturing"
    )
    assert backend.to_numpy(backend.to_device(np.ones(2))).tolist() == [1, 1]


def test_a_replay_that_gives_other_gradients_is_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "difference", lambda *_: 0.5)
    row = benchmark.training(Card(), "MLP", network("8-4-3"), (8,), 20, 2)
    assert row["graph_milliseconds"] is None
    assert row["note"] == "not captured: ValueError: a replay gives other gradients, by 5.0e-01"


def test_a_card_times_by_events_and_captures_on_a_stream_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    card, clock = Cuda(), [0.0]

    def work() -> None:
        clock[0] += 0.002

    assert (card.name, card.l2) == ("stand-in", 1000)
    with monkeypatch.context() as patched:
        patched.setattr(strict.cuda, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
        assert card.seconds(work) == pytest.approx(0.002)
    row = benchmark.training(card, "MLP", network("8-4-3"), (8,), 20, 2)
    assert row["note"].startswith("graphs: 1; the rates of Adam ")
    assert row["graph_milliseconds"] > 0
    monkeypatch.setattr(matrix, "matmul", by_cublas)
    row = benchmark.training(card, "numbers", of_numbers(), (8,), 20, 2)
    assert row["note"].startswith("graphs: 4; between them dense.forward, dense.weight_adjoint; the rates of Adam ")
    assert row["graph_milliseconds"] > 0


@pytest.mark.parametrize("problem", [ValueError("a line"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", ["in the step", "at the end"])
def test_a_capture_that_fails_is_ended(problem: BaseException, where: str) -> None:
    class Failing(Card):
        def end(self) -> Any:
            launch = super().end()
            if where == "at the end":
                raise problem
            return launch

    warm = iter([None, None])

    def step() -> None:
        if next(warm, "captured") == "captured" and where == "in the step":
            raise problem

    with pytest.raises(type(problem)):
        Graphs(Failing(), step)
    assert backend.to_device(np.ones(1)).item() == 1


def test_a_graph_that_fails_is_said_and_the_rest_goes_on() -> None:
    class Failing(Card):
        def end(self) -> Any:
            super().end()
            raise RuntimeError("cudaErrorStreamCaptureInvalidated\nand more")

    row = benchmark.training(Failing(), "MLP", network("8-4-3"), (8,), 20, 2)
    assert row["note"] == "not captured: RuntimeError: cudaErrorStreamCaptureInvalidated"


def test_the_whole_script(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(benchmark, "Cuda", Card)
    monkeypatch.setattr(benchmark, "NETWORKS", {"MLP": lambda: cs.Network("34x34x2-4-10", cs.SRM())})
    monkeypatch.setattr(benchmark, "tests", lambda: {"passed": True, "summary": "9 passed"})
    assert benchmark.main(["--tests", "--out", str(tmp_path / "new" / "found.json")]) == 0
    found = json.loads((tmp_path / "new" / "found.json").read_text())
    assert found["card"] == Card.name
    assert found["tests"]["summary"] == "9 passed"
    (row,) = found["training"]
    assert (row["network"], row["milliseconds"], row["graph_milliseconds"]) == ("MLP", 1.0, 1.0)
    assert row["note"].startswith("graphs: 1; the rates of Adam ")
    said = capsys.readouterr().out
    assert re.search(r"^sampled_spike_adjoint_exact +float64 ", said, re.MULTILINE)
    assert "MLP" in said
    monkeypatch.setattr(benchmark, "ROOT", tmp_path)
    assert benchmark.write(found, None) == tmp_path / "benchmarks" / "results" / "gpu-stand-in-9000.json"


def test_the_examples_networks_are_what_is_trained() -> None:
    shapes = {name: [p.shape for p in make().parameters()] for name, make in benchmark.NETWORKS.items()}
    assert shapes["MLP"] == [(2312, 512), (512, 10)]
    assert [shape[-1] for shape in shapes["CNN"]] == [16, 32, 64, 10]


@pytest.mark.skipif(backend._driver_problem() is None, reason="this machine has a CUDA device")
def test_without_a_device_it_says_so() -> None:
    found = subprocess.run(
        [sys.executable, str(BENCHMARKS / "gpu.py")], capture_output=True, text=True, check=False, cwd=BENCHMARKS
    )
    assert found.returncode == 1
    assert found.stderr.startswith("gpu: device: cuda is out of reach: ")
    assert found.stderr.count("\n") == 1
