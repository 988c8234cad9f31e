"""Models of benchmarks/peers.py: cuslayer's network, the search for firing rates, and the process of a library."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.tiny import write_folder

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
sys.path.append(str(BENCHMARKS))

from comparison import recordings, worker, works  # noqa: E402
from comparison.models import ours, stages  # noqa: E402

LAYERS = {
    "dense": [["dense", 6], ["dense", 10]],
    "conv": [["conv", 3, 5, 1], ["pool", 2], ["conv", 4, 3, 1], ["dense", 10]],
}
STEPS, BATCH = 40, 3


@pytest.fixture
def folder(tmp_path):
    return str(write_folder(tmp_path / "data", events=4000, duration=float(STEPS)))


def network(kind, folder):
    x, labels = next(recordings.batches(folder, BATCH, STEPS))
    made = ours.Network({"layers": LAYERS[kind]}, "default", x, labels)
    made.settle()
    return made


@pytest.mark.parametrize("kind", LAYERS)
def test_gradients_are_those_of_the_matrix_path(kind, folder):
    made = network(kind, folder)
    weights = [p.numpy().copy() for p in made.net.parameters()]
    found = ours.check(made)
    assert found["error"] <= recordings.GRADIENT_TOLERANCE
    assert found["dtype"] == "float32"
    for p, w in zip(made.net.parameters(), weights, strict=True):
        assert p.data.dtype == np.float32
        assert (p.data == w).all()
    # The check sees a gradient that is off by a thousandth, in either type.
    backward = made.gradients
    made.gradients = lambda output, dtype: [
        g * (1.001 if output.__code__.co_argcount == 0 else 1.0) for g in backward(output, dtype)
    ]
    found = ours.check(made)
    assert found["error"] == pytest.approx(1e-3, rel=0.1)
    assert found["dtype"] == "float64"


def test_nothing_is_learned_once_it_has_settled(folder):
    made = network("dense", folder)
    before = made.rates()
    for _ in range(5):
        made.train()
    assert made.rates() == pytest.approx(before, rel=0.02)


def test_inference_and_loading(folder):
    made = network("dense", folder)
    seconds = ours.inference(made, folder, STEPS, 9)["seconds"]
    assert len(seconds) == 9
    assert min(seconds) > 0
    found = ours.loading(made, folder, STEPS, 2, 2)["seconds"]
    # Six recordings are three batches of two.
    assert {name: len(values) for name, values in found.items()} == {
        "batch": 6,
        "step_from_loader": 6,
        "step_from_memory": 6,
    }


def test_the_networks_are_those_of_the_examples():
    shapes = stages.shapes(works.TRAINING["cnn8"].layers, (34, 34, 2))
    assert [out for _, out in shapes] == [(32, 32, 16), (16, 16, 16), (16, 16, 32), (8, 8, 32), (8, 8, 64), (10,)]
    spikes = np.zeros((STEPS, 1, 34, 34, 2), bool)
    made = {
        name: ours.Network({"layers": w.layers, "initial": w.initial}, "default", spikes, [0]).net
        for name, w in works.TRAINING.items()
    }
    sizes = {name: [p.shape for p in net.parameters()] for name, net in made.items()}
    assert sizes["mlp8"] == sizes["mlp32"] == [(2312, 512), (512, 10)]
    assert sizes["cnn8"] == [(5, 5, 2, 16), (3, 3, 16, 32), (3, 3, 32, 64), (4096, 10)]
    assert [np.abs(p.numpy()).max() for p in made["cnn8"].parameters()] == pytest.approx(
        [7 / 50**0.5, 3 / 144**0.5, 3 / 288**0.5, 2 / 64], rel=0.01
    )
    assert [np.abs(p.numpy()).max() for p in made["cnn8-initial"].parameters()] == pytest.approx(
        [100 / 50**0.5, 100 / 144**0.5, 100 / 288**0.5, 10 / 64], rel=0.01
    )
    assert [layer.gain for layer in made["cnn8-initial"].layers[2:8:4]] == [11.0, 11.0]


class Gains:
    """Layers whose neurons fire as often as their gain says, of what fires before them."""

    def __init__(self):
        self.gains, self.asked = [0.01, 1.0, 300.0], []

    def input(self, samples):
        self.asked.append(samples)
        return 0.1

    def fire(self, k, x):
        return min(0.9, x * self.gains[k])

    def scale(self, k, factor):
        self.gains[k] *= factor


def test_layers_are_scaled_until_they_fire_as_wanted():
    network = Gains()
    stages.calibrate(network, [0.02, 0.5, 0.005], 2, lambda x: x)
    assert network.asked == [2]
    rates = [network.fire(0, 0.1)]
    for k in (1, 2):
        rates.append(network.fire(k, rates[-1]))
    assert rates == pytest.approx([0.02, 0.5, 0.005], rel=stages.TOLERANCE)
    # A rate that cannot be reached ends the search, as soon as it no longer grows.
    network.gains[0] = 0.01
    stages.calibrate(network, [2.0], 2, lambda x: x)
    assert network.gains[0] == pytest.approx(0.01 * 2**11)
    network.gains[0] = 0.01
    stages.calibrate(network, [1e-9], 2, lambda x: x)
    assert network.gains[0] == pytest.approx(0.01 / 2**stages.TRIES)


@pytest.mark.parametrize("rate", [0.02, 0.45])
@pytest.mark.parametrize("kind", LAYERS)
def test_at_an_activity_every_layer_fires_as_often_as_the_input(kind, rate, tmp_path):
    recordings.save_batch(tmp_path / "batch.npz", "none", works.Work("", [], 2, (), 1, activity=rate), 200)
    with np.load(tmp_path / "batch.npz") as batch:
        x, labels = batch["spikes"], batch["labels"]
    assert x.shape == (200, 2, 34, 34, 2)
    assert x.mean() == pytest.approx(rate, rel=0.05)
    assert labels.tolist() == [0, 1]
    made = ours.Network({"layers": LAYERS[kind], "initial": "activity"}, "default", x, labels)
    made.settle()
    assert made.rates() == pytest.approx([rate] * len(LAYERS[kind]), rel=0.12)
    assert ours.check(made)["error"] <= recordings.GRADIENT_TOLERANCE
    made.train()
    assert made.rates() == pytest.approx([rate] * len(LAYERS[kind]), rel=0.12)


def test_what_the_outputs_shall_do():
    assert stages.wanted(np.array([1, 0]), 2).tolist() == [
        pytest.approx([10 / 300, 60 / 300]),
        pytest.approx([60 / 300, 10 / 300]),
    ]


def test_a_short_step_is_taken_once_before_it_is_timed():
    class Network:
        trained = 0
        seconds = 0.1

        def train(self):
            self.trained += 1

        def step(self):
            return {"forward": self.seconds}

    one = worker.Worker("ours")
    one.network = made = Network()
    assert one.last == math.inf
    one.step()
    assert made.trained == 0
    one.step()
    assert made.trained == 1
    made.seconds = 5.0
    one.step()
    one.step()
    assert made.trained == 2


def test_the_peak_of_memory_is_that_of_the_steps(monkeypatch, tmp_path):
    recordings.save_batch(tmp_path / "batch.npz", "none", works.Work("", [], 2, (), 1, activity=0.1), STEPS)
    one = worker.Worker("ours")
    build = {"batch": str(tmp_path / "batch.npz"), "work": {"layers": LAYERS["dense"]}, "form": "full", "rates": None}
    assert one.build(**build)["form"] == ours.FORMS["full"]
    one.step()
    if sys.platform == "linux":
        kept, one.imported = one.imported, 0
        before = one.peak()["bytes"]
        block = np.ones(1 << 25)
        del block
        assert one.peak()["bytes"] > before + (1 << 27)
        one.imported = kept
    # Where it cannot be measured, there is none.
    monkeypatch.setattr(worker, "forget_peak", lambda: (_ for _ in ()).throw(PermissionError()))
    one.build(**build)
    assert one.peak() == {}


def test_the_embedded_digits_become_a_folder(monkeypatch, tmp_path):
    monkeypatch.setattr(recordings, "_DIGITS", {"train": 4, "test": 1})
    folder = recordings.folder_of(None, tmp_path)
    x, labels = next(recordings.batches(folder, 32, 50))
    assert x.shape == (50, 4, 34, 34, 2)
    assert sorted(labels) == sorted(recordings.training_set(folder).labels)
    assert recordings.folder_of(folder, tmp_path / "other") == folder
