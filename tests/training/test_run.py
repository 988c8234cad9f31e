"""A whole run: its files, its seed, and resuming with identical results."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.training import (
    Config,
    data_of_run,
    figures,
    find_run,
    load_checkpoint,
    load_config,
    load_stats,
    train,
)
from cuslayer.training import run as run_module
from cuslayer.training.config import OptimizerConfig
from tests.support.tiny import (
    FILES,
    HEADER,
    memory,
    no_figures,
    rows_without_seconds,
    silent,
    weights,
    write_folder,
    write_pair,
)


@pytest.fixture(autouse=True)
def _quick(request, monkeypatch):
    if "pictures" not in request.fixturenames:
        no_figures(monkeypatch)


@pytest.fixture
def pictures():
    """Request that the figures are drawn."""


@pytest.fixture
def config(tmp_path):
    """A short run."""
    data, out = str(write_folder(tmp_path / "data")), str(tmp_path / "out")
    options = {"layers": ("34x34x2", "8", "3"), "true": 6.0, "false": 1.0, "data": data, "out": out}
    return Config(duration=30.0, region=(0.0, 30.0), epochs=2, batch=4, **options)


@pytest.fixture
def pair(tmp_path):
    """A run with spike times."""
    data = write_pair(tmp_path / "pair")
    layers, out = ("5", "8", "5"), str(tmp_path / "out")
    return Config(error="SpikeTime", duration=30.0, layers=layers, epochs=2, batch=1, data=str(data), out=out)


def test_the_files_of_a_run(config, tmp_path, pictures):
    said = []
    out = train(config, log=said.append)
    assert out == tmp_path / "out"
    assert sorted(p.name for p in out.iterdir()) == FILES
    header, *rows = (out / "metrics.csv").read_text().splitlines()
    assert header == HEADER
    assert [row.split(",")[0] for row in rows] == ["1", "2"]
    for row in load_stats(out / "metrics.csv"):
        assert row.train_loss > 0
        assert row.test_loss > 0
        assert 0 <= row.train_accuracy <= 1
        assert 0 <= row.test_accuracy <= 1
        assert row.seconds > 0
    assert load_config(out / "config.yaml") == config
    for name in ("curves.png", "raster.png"):
        assert re.fullmatch(rb"\x89PNG\r\n\x1a\n.*IEND\xaeB`\x82", (out / name).read_bytes(), re.DOTALL)
    assert load_checkpoint(out / "checkpoint.npz").epoch == 2
    assert said[0] == f"34x34x2-8-3: 18,520 weights on {backend.device_name()}; results go to {out}"
    assert said[1].startswith("weights times  rate before  after (Hz)  layer\n")
    assert [line.split("|")[0] for line in said[2:] if "warning" not in line] == ["epoch   1 ", "epoch   2 "]


def test_the_log_has_the_score_of_the_checkpoint(config):
    # The last row's test score is the score of the weights in the checkpoint.
    out = train(config, log=silent)
    net = config.network()
    net.load_state(load_checkpoint(out / "checkpoint.npz").network)
    _, tests = data_of_run.open_folder(config.data)
    x = np.stack([events.to_spikes((34, 34, 2), 30) for events, _ in tests], axis=1)
    with cs.no_grad():
        spikes = net(x)
        loss = config.loss()(spikes, tests.labels).item() / len(tests)
    last = load_stats(out / "metrics.csv")[-1]
    assert last.test_loss == pytest.approx(loss, rel=1e-6)
    assert last.test_accuracy == pytest.approx((cs.classify(spikes) == tests.labels).mean())


def test_a_run_learns(config):
    out = train(config.with_options(epochs=30, lr=0.1), log=silent)
    rows = load_stats(out / "metrics.csv")
    assert rows[-1].train_loss < 0.5 * rows[0].train_loss


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda", marks=[pytest.mark.gpu, pytest.mark.skipif(bool(backend._driver_problem()), reason="no CUDA")]
        ),
    ],
)
@pytest.mark.parametrize("kind", ["Adam", "NAdam", "SGD"])
def test_a_resumed_run_equals_an_uninterrupted_run(config, tmp_path, device, kind):
    cs.use(device)
    optimizer = OptimizerConfig(type=kind, lr=0.02, momentum=0.5, schedule="step", every=1, factor=0.5)
    config = config.with_options(optimizer=optimizer)
    whole = train(config.with_options(epochs=4, out=str(tmp_path / "whole")), log=silent)
    out = train(config.with_options(epochs=2), log=silent)
    assert rows_without_seconds(out) == rows_without_seconds(whole)[:3]
    assert weights(out) != weights(whole)
    # Random numbers drawn in between do not matter.
    backend.generator().random(7)
    train(config.with_options(epochs=4), resume=True, log=silent)
    assert rows_without_seconds(out) == rows_without_seconds(whole)
    assert weights(out) == weights(whole)
    assert memory(out) == memory(whole)


def test_a_run_killed_between_log_and_checkpoint(config, tmp_path):
    config = config.with_options(optimizer=OptimizerConfig(lr=0.02))
    whole = train(config.with_options(epochs=3, out=str(tmp_path / "whole")), log=silent)
    out = train(config, log=silent)
    log = (out / "metrics.csv").read_text()
    (out / "metrics.csv").write_text(log + "3,1,1,1,1,1\n")
    train(config.with_options(epochs=3), resume=True, log=silent)
    assert rows_without_seconds(out) == rows_without_seconds(whole)


def test_resuming_a_finished_run_changes_nothing(config):
    out = train(config, log=silent)
    before = {p.name: p.read_bytes() for p in out.iterdir()}
    (out / "curves.png").unlink()
    train(config, resume=True, log=silent)
    after = {p.name: p.read_bytes() for p in out.iterdir()}
    assert sorted(after) == FILES
    for name in ("metrics.csv", "checkpoint.npz", "config.yaml"):
        assert after[name] == before[name]


def test_the_seed_determines_the_run(config, tmp_path):
    first = train(config, log=silent)
    second = train(config.with_options(out=str(tmp_path / "again")), log=silent)
    other = train(config.with_options(seed=1, out=str(tmp_path / "other")), log=silent)
    assert rows_without_seconds(first) == rows_without_seconds(second)
    assert weights(first) == weights(second)
    assert rows_without_seconds(first) != rows_without_seconds(other)
    assert weights(first) != weights(other)


def test_the_learning_rate_follows_its_schedule(config, tmp_path):
    config = config.with_options(optimizer=OptimizerConfig("SGD", 0.1, schedule="step", every=1, factor=1e-30))
    one = train(config.with_options(epochs=1, out=str(tmp_path / "one")), log=silent)
    assert weights(one) == weights(train(config, log=silent))


def test_one_epoch(config, pictures):
    out = train(config.with_options(epochs=1), log=silent)
    assert len(load_stats(out / "metrics.csv")) == 1
    assert sorted(p.name for p in out.iterdir()) == FILES


def test_no_sample_is_right(config, tmp_path, monkeypatch, pictures):
    # Weights of zero and a rate near zero: a silent output is class 0, and no recording is of class 0.
    data = write_folder(tmp_path / "ones", (1, 2, 1), (2, 1))
    make = Config.network

    def silent_network(self):
        net = make(self)
        for p in net.parameters():
            p.data[:] = 0.0
        return net

    monkeypatch.setattr(Config, "network", silent_network)
    out = train(config.with_options(data=str(data), lr=1e-30), log=silent)
    assert [(row.train_accuracy, row.test_accuracy) for row in load_stats(out / "metrics.csv")] == [(0, 0), (0, 0)]
    assert sorted(p.name for p in out.iterdir()) == FILES


@pytest.mark.parametrize(
    ("silences", "warned"), [("1111", "1000"), ("1101", "1001"), ("0110", "0100"), ("1010", "1010"), ("0000", "0000")]
)
def test_each_silence_is_said_once(config, monkeypatch, silences, warned):
    """Weights are zero in some epochs: a warning when the output falls silent, and another when it does so again."""
    real, weights = run_module.Trainer.train, []

    def of_an_epoch(self, *given, **options):
        parameters = self.net.parameters()
        weights.extend(p.data.copy() for p in parameters if len(weights) < len(parameters))
        for p, start in zip(parameters, weights, strict=True):
            p.data[...] = 0 if silences[self.optimizer.epoch] == "1" else 30 * abs(start)
        return real(self, *given, **options)

    monkeypatch.setattr(run_module.Trainer, "train", of_an_epoch)
    said = []
    train(
        config.with_options(epochs=len(silences), lr=1e-30, initialization="slayer"), log=said.append, health=cs.health
    )
    found = ""
    for line in said[1:]:
        found = f"{found}0" if line.startswith("epoch ") else f"{found[:-1]}1"
        assert line.startswith(("epoch ", "warning: layer 1 "))
    assert found == warned


def test_spike_times(pair, pictures):
    out = train(pair, log=silent)
    assert sorted(p.name for p in out.iterdir()) == FILES
    header, *rows = (out / "metrics.csv").read_text().splitlines()
    assert (header, len(rows)) == (HEADER, 2)
    for row in rows:
        _, train_loss, train_accuracy, test_loss, test_accuracy, _ = row.split(",")
        assert float(train_loss) > 0
        assert (train_accuracy, test_loss, test_accuracy) == ("", "", "")


def test_spike_times_are_rounded_to_the_nearest_step(pair, monkeypatch):
    drawn = []
    monkeypatch.setattr(figures, "draw_rasters", lambda figure, trains, dt: drawn.extend(trains))
    monkeypatch.setattr(figures, "save_figure", lambda path, draw, *, size: "raster" in path.name and draw(None))
    train(pair, log=silent)
    events = data_of_run.read_events(os.path.join(pair.data, "input.bs1"))
    assert np.array_equal(drawn[0][1], events.to_spikes(5, 30, rounding="nearest"))


def test_spike_times_resume(pair, tmp_path):
    pair = pair.with_options(optimizer=OptimizerConfig(lr=0.02))
    whole = train(pair.with_options(epochs=6, out=str(tmp_path / "whole")), log=silent)
    out = train(pair.with_options(epochs=3), log=silent)
    train(pair.with_options(epochs=6), resume=True, log=silent)
    assert rows_without_seconds(out) == rows_without_seconds(whole)
    assert weights(out) == weights(whole)


def test_the_figures_show_the_run(config, monkeypatch):
    drawn = {}
    monkeypatch.setattr(figures, "save_figure", lambda path, draw, *, size: path.stem == "gradients" or draw(None))
    monkeypatch.setattr(figures, "draw_curves", lambda figure, rows: drawn.update(rows=list(rows)))
    monkeypatch.setattr(figures, "draw_rasters", lambda figure, trains, dt: drawn.update(trains=trains, dt=dt))
    out = train(config, log=silent)
    assert [row.epoch for row in drawn["rows"]] == [1, 2]
    _, tests = data_of_run.open_folder(config.data)
    events, label = tests[0]
    (first, x), (hidden, h), (last, y) = drawn["trains"]
    assert (first, hidden, last) == (f"input, class {label}", "after Dense((34, 34, 2), 8)", "output")
    assert np.array_equal(x, events.to_spikes((34, 34, 2), 30))
    net = config.network()
    net.load_state(load_checkpoint(out / "checkpoint.npz").network)
    assert np.array_equal(y, net(x[:, None]).numpy()[:, 0])
    assert h.shape == (30, 8)
    assert drawn["dt"] == 1.0


def test_new_folders_are_numbered(config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = Config(**{**vars(config), "out": None, "epochs": 1})
    assert [str(train(config, log=silent)) for _ in range(2)] == [os.path.join("runs", n) for n in "12"]
    assert str(find_run(None)) == os.path.join("runs", "2")
    assert load_config("runs/2/config.yaml").out == os.path.join("runs", "2")


def test_given_lists(config, tmp_path, monkeypatch):
    data = tmp_path / "data"
    (data / "other.txt").write_text("1 0\n")
    (data / "train.txt").rename(data / "named.txt")
    # In the folder, or, as in SLAYER, relative to the working directory.
    monkeypatch.chdir(tmp_path)
    for name in ("named.txt", os.path.join("data", "named.txt")):
        named = config.with_options(train_list=name, test_list="other.txt", out=str(tmp_path / name.replace("/", "-")))
        assert sorted(p.name for p in train(named, log=silent).iterdir()) == FILES
    with pytest.raises(ValueError, match=r"list .*none\.txt does not exist"):
        train(config.with_options(train_list="none.txt", test_list="other.txt", out="new"), log=silent)
