"""What the tests of pages share: a folder with a run and recordings, and the code of a page."""

from __future__ import annotations

import pytest

import cuslayer as cs
from cuslayer.data import Digits, write_events
from cuslayer.training import Config, Stats
from cuslayer.training.checkpoint import Checkpoint
from cuslayer.training.figures import FIGURES
from cuslayer.training.stats import EpochStats
from tests.support.tiny import write_folder


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with runs/1, whose network is not trained, and with recordings."""
    monkeypatch.chdir(tmp_path)
    config = Config(epochs=1, seed=1)
    cs.seed(1)
    net = config.network()
    run = tmp_path / "runs" / "1"
    run.mkdir(parents=True)
    for name in ("checkpoint.npz", "best.npz"):
        Checkpoint.of(1, net, config.make_optimizer(net.parameters())).save(run / name)
    (run / "config.yaml").write_text(config.to_yaml())
    Stats([EpochStats(1, 2.0, 0.5, 1.5, 0.75, 3.0)]).save(run / "metrics.csv")
    for name in FIGURES:
        (run / name).touch()
    write_folder(tmp_path / "recordings", duration=300.0)
    write_events(tmp_path / "recordings" / "1.bs2", Digits("test")[0][0])
    return tmp_path
