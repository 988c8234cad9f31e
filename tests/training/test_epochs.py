"""The learning rate and the order of samples in each epoch of a run, also after resuming."""

from __future__ import annotations

import pytest

import cuslayer as cs
from cuslayer.data import Loader
from cuslayer.training import Config, train
from cuslayer.training.config import OptimizerConfig
from tests.support.tiny import no_figures, silent, write_folder, write_pair


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    """Do not draw: it takes longer than training here."""
    no_figures(monkeypatch)


def settings(tmp_path, *layers, **options):
    data, out = str(tmp_path / "data"), str(tmp_path / "out")
    return Config(duration=30.0, layers=layers, batch=1, data=data, out=out, **options)


# Half the rate after every second epoch, and a cosine over four epochs.
RATES = {"step": [0.4, 0.4, 0.2, 0.2], "cosine": [0.4, 0.2 + 0.1 * 2**0.5, 0.2, 0.2 - 0.1 * 2**0.5]}


@pytest.mark.parametrize("schedule", RATES)
def test_each_epoch_has_the_learning_rate_of_its_number(tmp_path, monkeypatch, schedule):
    step, seen = cs.SGD.step, []
    monkeypatch.setattr(cs.SGD, "step", lambda self: seen.append((self.epoch, self.lr)) or step(self))
    write_pair(tmp_path / "data")
    optimizer = OptimizerConfig(type="SGD", lr=0.4, schedule=schedule, every=2, factor=0.5)
    config = settings(tmp_path, "5", "8", "5", error="SpikeTime", optimizer=optimizer, epochs=4)
    train(config, log=silent)
    assert [epoch for epoch, _ in seen] == [0, 1, 2, 3]
    assert [rate for _, rate in seen] == pytest.approx(RATES[schedule])
    if schedule == "step":
        seen.clear()
        train(config.with_options(epochs=6), resume=True, log=silent)
        assert seen == [(4, pytest.approx(0.1)), (5, pytest.approx(0.1))]


def test_each_epoch_has_the_order_of_its_number(tmp_path, monkeypatch):
    """The order depends on the epoch of the loader. Calibration reads the first batches of the first epoch."""
    ordered, seen = Loader.__iter__, []
    monkeypatch.setattr(Loader, "__iter__", lambda self: seen.append((self.shuffle, self.epoch)) or ordered(self))
    write_folder(tmp_path / "data")
    config = settings(tmp_path, "34x34x2", "3", region=(0.0, 30.0), epochs=2)
    train(config, log=silent)
    train(config.with_options(epochs=4), resume=True, log=silent)
    assert [epoch for shuffled, epoch in seen if shuffled] == [0, 0, 1, 2, 3]
