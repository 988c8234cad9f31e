"""The stage `peers` of benchmarks/gpu.py, and SLAYER's equations in torch, where torch is installed."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from tests.support import fake_cupy
from tests.support.emulator.driver import emulation

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

import gpu  # noqa: E402
import gpu_peers  # noqa: E402
from card import Cuda  # noqa: E402
from comparison.processes import NotRun  # noqa: E402
from gpu_stages import Network, Sizes, perform  # noqa: E402

LAYERS = [["dense", 4], ["dense", 10]]
# Of the stage, on a machine that may have much to do.
SECONDS = 1000


class Peer:
    """A process that answers at once: SpikingJelly is slow as it is and fast as a graph, snnTorch does not run."""

    started: list[str] = []  # noqa: RUF012
    asked: list[Any] = []  # noqa: RUF012

    def __init__(self, python: Path, model: str, threads: int, log: Path) -> None:
        self.model = model
        self.started.append(model)

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        self.started.append(f"end of {self.model}")

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        if self.model == "snntorch":
            raise NotRun(self.model, "ImportError: no snntorch")
        if do == "build":
            with np.load(arguments["batch"]) as file:
                shapes = file["spikes"].shape, file["spikes"].dtype.name, file["labels"].shape
            self.asked.append((arguments["form"], arguments["work"], arguments["rates"], shapes))
        answers: dict[str, dict[str, Any]] = {
            "hello": {"versions": {"torch": "1"}},
            "build": {"form": "a form", "rates": [0.1, 0.2]},
            "measure": {"seconds": 0.004, "graph_seconds": 0.003},
        }
        if self.model == "slayer":
            answers["measure"] = {"seconds": 0.001, "graph_seconds": None, "graph_problem": "RuntimeError: no"}
        return answers[do]


@pytest.fixture
def entry(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the stage on the stand-in, where a step of cuslayer takes a millisecond, and return its entry."""
    monkeypatch.setattr(gpu_peers, "find_spec", lambda name: SimpleNamespace())
    monkeypatch.setattr(gpu_peers, "Process", Peer)
    monkeypatch.setattr(gpu_peers, "step_milliseconds", lambda *_: {"milliseconds": 1.0})
    monkeypatch.setattr(Peer, "started", [])
    monkeypatch.setattr(Peer, "asked", [])
    made = Network(lambda: cs.Network("4x4x2-4-10", cs.SRM()), (4, 4, 2), 3, LAYERS, 0.4)

    def run(used: float = 0.0) -> dict[str, Any]:
        with fake_cupy.in_use():
            sizes = Sizes(steps=12, networks={"MLP": made})
            stage = gpu.STAGES["peers"]._replace(seconds=SECONDS)
            return perform(stage, Cuda(), sizes, lambda entry: None, used)

    return run


def test_peers(entry: Any) -> None:
    found = entry()["found"]
    rows = {(row["peer"], row["form"]): row for row in found["rows"]}
    assert list(rows) == [("ours", "graph"), *gpu_peers.PEERS]
    jelly, slayer = rows["spikingjelly", "multi-step"], rows["slayer", "kernel"]
    assert (jelly["milliseconds"], jelly["eager"], jelly["graph"], jelly["times"]) == (3.0, 4.0, 3.0, 3.0)
    assert (slayer["milliseconds"], slayer["times"], slayer["graph_problem"]) == (1.0, 1.0, "RuntimeError: no")
    assert rows["snntorch", "plain"]["problem"] == "ImportError: no snntorch"
    checks = {check["what"]: (check["met"], check["found"]) for check in found["checks"]}
    assert checks == {
        "MLP: at least 2 times as fast as SpikingJelly, multi-step": (True, "3.0 times"),
        "MLP: at least 2 times as fast as SLAYER's equations in torch, kernel": (False, "1.0 times"),
        "MLP: at least 2 times as fast as SLAYER's equations in torch, loop": (False, "1.0 times"),
    }
    started = Peer.started
    assert started[:3] == ["spikingjelly", "slayer", "snntorch"]
    assert sorted(started[3:]) == sorted(f"end of {name}" for name in started[:3])
    form, work, rates, shapes = Peer.asked[0]
    assert form == "multi-step"
    assert work == {"layers": LAYERS, "batch": 3, "threads": backend.cores(), "device": "cuda"}
    assert shapes == ((12, 3, 4, 4, 2), "bool", (3,))
    assert rates == rows["ours", "graph"]["rates"]
    assert len(rates) == len(LAYERS)
    assert rates[0] > 0


def test_peers_for_which_no_time_is_left(entry: Any) -> None:
    found = entry(SECONDS - gpu_peers.LEAST)["found"]
    assert [row.get("problem") for row in found["rows"]] == [None, *["no time left"] * len(gpu_peers.PEERS)]
    assert Peer.started == []


def test_without_torch(entry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_peers, "find_spec", lambda name: None)
    found = entry()
    assert (found["status"], found["reason"]) == (
        "skipped",
        "torch is not installed: pip install torch spikingjelly snntorch",
    )


def test_every_peer_has_the_form() -> None:
    for peer, form in gpu_peers.PEERS:
        assert f'"{form}"' in (BENCHMARKS / "comparison" / "models" / f"{peer}.py").read_text()
        assert peer in gpu_peers.TITLES


def test_the_kernel_of_slayers_spikes() -> None:
    """Ours, as SLAYER-PyTorch's, in plain loops; no neuron sees what another one does."""
    theta, refractory = np.float32(1.0), np.array([0, -2, -0.5, -0.25], np.float32)
    drawn = np.random.default_rng(0).normal(0.5, 1, (5, 40)).astype(np.float32)
    u, s = drawn.copy(), np.zeros_like(drawn)
    for i, t in np.ndindex(u.shape):
        if u[i, t] >= theta:
            s[i, t] = 1
            for k in range(1, min(4, 40 - t)):
                u[i, t + k] += refractory[k]
    ours, spikes = drawn.copy(), np.full_like(drawn, 7)
    kernel = cs.kernel(BENCHMARKS / "comparison" / "models" / "slayer_spikes.cu", "slayer_spikes")
    with emulation():
        kernel(5, u=ours, s=spikes, refractory=refractory, theta=theta, neurons=5, steps=40, taps=4)
    assert 0 < s.mean() < 1
    assert spikes.tobytes() == s.tobytes()
    assert ours.tobytes() == u.tobytes()


def test_slayer_in_torch_is_cuslayers_neuron() -> None:
    torch = pytest.importorskip("torch")
    from comparison.models import slayer

    x = np.random.default_rng(0).normal(1.0, 3.0, (80, 2, 5)).astype(np.float32)
    ours, theirs = cs.Tensor(x, requires_grad=True), torch.from_numpy(x).permute(1, 2, 0).requires_grad_()
    gradient = np.random.default_rng(1).standard_normal(x.shape, np.float32)
    s = cs.SRM()(ours)
    s.backward(gradient)
    spikes = slayer.Neurons(10.0, False)(theirs)
    spikes.backward(torch.from_numpy(gradient).permute(1, 2, 0))
    assert s.numpy().any()
    assert (spikes.detach().permute(2, 0, 1).numpy() == s.numpy()).all()
    np.testing.assert_allclose(theirs.grad.permute(2, 0, 1).numpy(), ours.grad, atol=1e-5 * np.abs(ours.grad).max())


@pytest.mark.parametrize("layers", [[["dense", 6], ["dense", 10]], [["conv", 3, 5, 1], ["pool", 2], ["dense", 10]]])
def test_slayer_in_torch_takes_a_step(layers: list[list[Any]]) -> None:
    pytest.importorskip("torch")
    from comparison.models import slayer

    spikes = np.random.default_rng(0).random((20, 2, 8, 8, 2)) < 0.3
    made = slayer.Network({"layers": layers, "threads": 1}, "loop", spikes, np.arange(2))
    for k, (kind, *_) in enumerate(layers):
        if kind != "pool":
            made.scale(k, 5.0)
    assert len(made.rates()) == len(layers)
    assert all(rate > 0 for rate in made.rates(1))
    before = [p.detach().clone() for p in made.synapses.parameters()]
    assert set(made.step()) == {"forward", "backward", "optimizer"}
    assert all((p != q).any() for p, q in zip(made.synapses.parameters(), before, strict=True))
    found = made.measure()
    assert found["seconds"] > 0
    assert (found["graph_seconds"], found["graph_problem"]) == (None, "not on a GPU")
