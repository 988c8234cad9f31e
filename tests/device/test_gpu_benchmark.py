"""The stages of benchmarks/gpu.py on the stand-in for CuPy, at sizes that mean nothing: what they find and refuse."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.kernels.cuda import compile as source
from tests.support import fake_cupy
from tests.support.emulator.driver import in_one_order

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import example_networks  # noqa: E402
import gpu  # noqa: E402
import gpu_compile  # noqa: E402
import gpu_cost  # noqa: E402
import gpu_probe  # noqa: E402
import gpu_speed  # noqa: E402
import gpu_steps  # noqa: E402
import gpu_tests  # noqa: E402
import step_costs  # noqa: E402
import traffic  # noqa: E402
from card import Cuda  # noqa: E402
from gpu_stages import Network, Run, Sizes, Skipped, perform  # noqa: E402


class Card(Cuda):
    """The stand-in; every work is done once and takes a millisecond, every step too."""

    def __init__(self) -> None:
        super().__init__()
        self.marks = 0

    def seconds(self, work: Any) -> float:
        work()
        return 1e-3

    def mark(self) -> Any:
        self.marks += 1
        return self.marks

    def between(self, begin: Any, end: Any) -> float:
        return 1e-3 * (end - begin)


def network(notation: str, shape: tuple[int, ...], batch: int = 1) -> Network:
    return Network(lambda: cs.Network(notation, cs.SRM()), shape, batch, [], 0.6)


DENSE = {"MLP": network("4x4x2-4-10", (4, 4, 2), 2)}
SMALL: dict[str, Any] = {"steps": 12, "silence": 100, "columns": (3, 40), "large": 128, "warm": 4, "timed": 1}
SMALL |= {"windows": 1, "compared": 5, "recordings": 7, "events": 20, "drawn": 1, "networks": DENSE}


@pytest.fixture(autouse=True)
def launched() -> Iterator[list[str]]:
    """The stand-in is the device; the names of the kernels that ran."""
    with in_one_order(), fake_cupy.in_use() as emulator:
        yield emulator.launches


def found_by(name: str, card: Cuda | None = None, **sizes: Any) -> dict[str, Any]:
    """Return what a stage finds, which has to come to its end, on a machine that may have much to do."""
    entry = perform(
        gpu.STAGES[name]._replace(seconds=10_000), card or Card(), Sizes(**(SMALL | sizes)), lambda entry: None
    )
    assert (entry["status"], entry["reason"]) == ("done", None)
    return entry["found"]


def met(found: dict[str, Any]) -> dict[str, bool]:
    return {check["what"]: check["met"] for check in found["checks"]}


def test_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    found = found_by("probe")
    assert list(met(found).values()) == [True, True, True]
    assert found["spikes"] > 0
    x = gpu_probe.silence(100)
    assert x[:50].any(axis=0).all()
    assert not x[50:].any()
    exact = gpu_probe.cpu.srm.neuron

    def other_zero(*arguments: Any) -> Any:
        u, s = exact(*arguments)
        u[-1, -1] = -u[-1, -1]
        return u, s

    monkeypatch.setattr(gpu_probe.cpu.srm, "neuron", other_zero)
    found = found_by("probe")
    assert [check["found"] for check in found["checks"] if not check["met"]] == ["1 of 51,200 differ"]


def test_all_sources_are_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    """In threads of this process, since the stand-in is here; one source does not compile."""
    build, one_thread = source.Cuda.build, lambda: ThreadPoolExecutor(1)
    texts = []

    def noted(self: source.Cuda, text: str, names: Any) -> Any:
        texts.append(text)
        if "void loihi(" in text and "typedef double" in text:
            raise RuntimeError("nvrtc: error\nline 2")
        return build(self, text, names)

    monkeypatch.setattr(source.Cuda, "build", noted)
    monkeypatch.setattr(source, "topics", lambda: ["optim", "loihi", "srm"])
    run = Run(Card(), Sizes(**SMALL), 1000.0)
    gpu_compile.compile_all(run, one_thread)
    assert len(set(texts)) == len(texts) == run.found["of"] == 6
    assert run.found["compiled"] == len(texts) - 1
    assert [row["source"] for row in run.found["slowest"]] != []
    assert run.found["checks"][0]["found"] == "loihi, float64: RuntimeError: nvrtc: error"
    run = Run(Card(), Sizes(**SMALL), 0.0)
    gpu_compile.compile_all(run, one_thread)
    assert run.found["stopped"] == "out of time"


def test_sources_are_compiled_in_other_processes() -> None:
    with gpu_compile.processes() as pool:
        assert pool.submit(os.getpid).result() != os.getpid()


def test_speed() -> None:
    found = found_by("speed")
    assert found["copy_bytes_per_second"] == 2 * 4 * 12 * 128 / 1e-3
    assert [row["columns"] for row in found["neuron"]] == [3, 40]
    assert found["neuron"][0]["bytes"] == 9 * 12 * 3
    assert found["launch_microseconds"] == found["graph_microseconds"] == 1000


def test_the_arrays_are_larger_than_the_cache() -> None:
    columns = gpu_speed.large(Run(Card(), Sizes(steps=12), 10.0))
    assert 4 * 12 * columns >= 2 * Card().l2
    assert columns % 128 == 0


def test_every_kernel_is_timed_in_both_types(launched: list[str]) -> None:
    found = found_by("kernels", networks={}, steps=4)
    assert {row["kernel"] for row in found["large"]} == set(launched) == set(source.kernel_names())
    assert len(found["large"]) == 2 * len(source.kernel_names())
    for row in found["large"]:
        assert row["bytes"] == 4 * 128 * traffic.bytes_per_element(row["kernel"], row["dtype"])
        assert row["of_a_copy"] == pytest.approx(row["bytes"] / 1e-3 / found["copy_bytes_per_second"])


def test_kernels_that_are_not_reached_are_named() -> None:
    entry = perform(gpu.STAGES["kernels"], Card(), Sizes(**(SMALL | {"networks": {}})), lambda entry: None, 40.0)
    assert entry["found"]["stopped"] == "out of time before add_parts in float32"
    assert "large" not in entry["found"]


@pytest.mark.parametrize("notation", ["4x4x2-4-10", "4x4x2-3c3-2a-10"])
def test_the_launches_of_a_step_are_those_that_are_counted(notation: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = network(notation, (4, 4, 2), 2)
    monkeypatch.setattr("gpu_kernels.gpu_launches.launches", lambda *_: {})
    rows = {row["kernel"]: row for row in found_by("kernels", networks={"it": made})["step"]}
    counted = gpu_cost.kernels(step_costs.count(made.make, made.shape, 12, 2), None)
    assert {name: (row["launches"], row["bytes"]) for name, row in rows.items()} == {
        row["kernel"]: (row["launches"], row["moved"]) for row in counted
    }
    for row in rows.values():
        assert row["microseconds"] == 1000 * row["launches"]
        assert row["model_microseconds"] == pytest.approx(1e6 * row["bytes"] / traffic.BANDWIDTH)


def test_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both formats, each as it is and as a graph; there is a mark before each window and at the end."""
    monkeypatch.setattr(gpu_steps, "modelled", lambda: ({"MLP": {"full": 0.1}}, None))
    card = Card()
    card.name = "NVIDIA H100 80GB"
    found = found_by("steps", card, timed=2, windows=1)
    assert [row["potentials"] for row in found["rows"]] == ["full", "float16"]
    for row in found["rows"]:
        assert row["eager"] == row["graph"] == {"milliseconds": 0.5, "least": 0.5, "problem": None}
    assert card.marks == 4 * 2
    assert met(found) == {
        "MLP: the step is a graph": True,
        "MLP: a step as a graph takes under 0.6 ms on an H100": True,
    }


def test_a_step_that_is_no_graph_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def reads(x: cs.Tensor) -> cs.Tensor:
        return x * float(x.numpy().any())

    def that_reads() -> cs.Sequential:
        srm = cs.SRM()
        return cs.Sequential(cs.Dense((4, 4, 2), 4), srm, reads, cs.Dense(4, 10), srm)

    made = {"MLP": Network(that_reads, (4, 4, 2), 2, [], 0.4)}
    monkeypatch.setattr(gpu_steps, "modelled", lambda: (None, "no stand-in"))
    with pytest.warns(UserWarning, match="not captured"):
        found = found_by("steps", networks=made)
    assert not any(met(found).values())
    assert found["checks"][0]["found"].startswith("RuntimeError: cudaErrorStreamCaptureUnsupported: ")
    assert found["model_problem"] == "no stand-in"


def test_the_models_time_is_that_of_gpu_cost(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    model, problem = gpu_steps.modelled()
    assert problem is None
    assert model is not None
    for name, make in example_networks.NETWORKS.items():
        costs = step_costs.count(make, example_networks.SHAPE, 300, example_networks.BATCHES[name])
        assert model[name]["full"] == pytest.approx(gpu_cost.microseconds(costs) / 1e3)
        assert model[name]["float16"] < model[name]["full"]
    monkeypatch.setattr(gpu_steps, "COST", tmp_path / "gone.py")
    model, problem = gpu_steps.modelled()
    assert model is None
    assert "gone.py" in str(problem)


def test_a_card_times_by_events(monkeypatch: pytest.MonkeyPatch) -> None:
    card, clock, ran = Cuda(), [0.0], []

    def work() -> None:
        ran.append(clock[0])
        clock[0] += 0.002

    monkeypatch.setattr(fake_cupy.cuda, "time", SimpleNamespace(perf_counter=lambda: clock[0]))
    assert card.seconds(work) == pytest.approx(0.002)
    # Two and one, then five times 20 ms.
    assert len(ran) == 2 + 1 + 5 * 10
    about = card.describe()
    assert (about["card"], about["cuda"], about["cupy"]) == ("stand-in", "12.0", "0")
    assert "driver" in about


def test_the_clock_is_asked_of_nvidia_smi(monkeypatch: pytest.MonkeyPatch) -> None:
    def said(command: list[str], **_: Any) -> Any:
        assert command[-1] == "0000:00:00.0"
        return SimpleNamespace(stdout="550.54.15, 1980, [N/A]\n")

    monkeypatch.setattr("card.subprocess.run", said)
    about = Cuda().describe()
    assert (about["driver"], about["clock_mhz"]) == ("550.54.15", 1980)
    assert "memory_clock_mhz" not in about


def test_a_failing_capture_leaves_the_device_usable() -> None:
    def failing() -> None:
        raise ValueError("a line")

    with pytest.raises(ValueError, match="a line"):
        Cuda().graph(failing)
    assert backend.to_device(np.ones(1)).item() == 1


def test_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(met(found_by("bits")).values()) == [True, True, True]
    other = iter("aabc")
    monkeypatch.setattr(gpu_steps, "digest", lambda *_: next(other))
    assert list(met(found_by("bits")).values()) == [True, False, False]


def test_bits_of_a_step_that_trains_nothing_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(Card(), Sizes(**SMALL), 10.0)
    digest = gpu_steps.digest(run, DENSE["MLP"], False)
    assert digest != gpu_steps.digest(run, network("4x4x2-5-10", (4, 4, 2), 2), False)
    monkeypatch.setattr(gpu_steps.Trainer, "train", lambda *_: None)
    with pytest.raises(ValueError, match=r"^a weight was not trained$"):
        gpu_steps.digest(run, DENSE["MLP"], False)


def test_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of seven recordings in batches of two: one whole warm-up, then four steps; of fewer where memory is small."""
    found = found_by("epoch")
    assert (found["recordings"], found["steps"], found["problem"]) == (7, 4, None)
    assert list(met(found)) == ["MLP: an epoch of 7 recordings takes under 2 s"]
    assert found["loss"] > 0
    monkeypatch.setattr(backend, "free_memory", lambda: gpu_steps.SPARED + 4 * 20 * 5)
    found = found_by("epoch")
    assert (found["recordings"], found["fewer"]) == (5, "7 do not fit into the free memory")
    assert "checks" not in found


def test_drawn_recordings_are_events_of_the_sensor_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_steps, "DRAWN", 3)
    parts = list(gpu_steps.drawn(8, 50, 12, (4, 4, 2)))
    assert [len(labels) for _, labels in parts] == [3, 3, 2]
    assert np.concatenate([labels for _, labels in parts]).tolist() == list(range(8))
    bits = gpu_steps.event_fields(12, 32)[1]
    for events, labels in parts:
        words = events.events.reshape(len(labels), 50)
        assert events.begin.tolist() == [50 * i for i in range(len(labels) + 1)]
        assert (np.diff(words.astype(np.int64), axis=1) >= 0).all()
        assert set(np.unique(words >> bits)) <= set(range(12))
        assert (words & ((1 << bits) - 1)).max() < 32


def test_drawn_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    passes, other = gpu_tests.passes, []

    def once_other(net: Any, x: Any) -> Any:
        spikes, gradients = passes(net, x)
        other.append(backend.device())
        return (spikes, gradients) if len(other) < 4 else (~spikes, [g * 1.01 for g in gradients])

    monkeypatch.setattr("tests.device.test_drawn_networks.drawn", drawn)
    monkeypatch.setattr(gpu_tests, "passes", once_other)
    found = found_by("networks", drawn=2)
    assert other == ["cpu", "cuda"] * 2
    assert (found["compared"], found["equal_spikes"], found["close_gradients"]) == (2, 1, 1)
    assert found["fired"] == 2
    assert found["differing"] == [1]
    assert list(met(found).values()) == [False, False]
    assert backend.device() == "cuda"


def drawn(seed: int) -> tuple[cs.Sequential, Any, np.dtype[Any]]:
    cs.seed(seed)
    net = cs.Network("4-3-2", cs.SRM(theta=0.5))
    return net, np.random.default_rng(seed).random((12, 2, 4)) < 0.5, np.dtype(np.float32)


def test_what_is_missing_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(gpu_tests, "find_spec", lambda name: None)
    with pytest.raises(Skipped, match=r"^pytest is not installed: pip install '\.\[test\]'$"):
        gpu_tests.needs_tests()
    monkeypatch.setattr(gpu_tests, "ROOT", tmp_path)
    entry = perform(gpu.STAGES["networks"], Card(), Sizes(**SMALL), lambda entry: None)
    assert (entry["status"], entry["reason"]) == ("skipped", f"no tests in {tmp_path}")


def test_the_networks_and_their_sizes() -> None:
    sizes = Sizes()
    shapes = {name: [p.shape for p in each.make().parameters()] for name, each in sizes.networks.items()}
    assert shapes["MLP"] == [(2312, 512), (512, 10)]
    assert [shape[-1] for shape in shapes["CNN"]] == [16, 32, 64, 10]
    assert {name: (each.batch, each.milliseconds) for name, each in sizes.networks.items()} == {
        "MLP": (32, 0.4),
        "CNN": (8, 1.6),
    }
    assert (sizes.recordings, sizes.events, sizes.silence) == (60000, 4172, 2000)
    assert sizes.columns == (80, 320, 16384, 131072)
