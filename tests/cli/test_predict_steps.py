"""Predictions in steps that are not a millisecond, and of a population vote."""

from __future__ import annotations

import json

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import write_events
from cuslayer.training import Config, Run, Stats, load_run, predict
from cuslayer.training.checkpoint import Checkpoint
from cuslayer.training.stats import EpochStats


@pytest.fixture
def run(tmp_path):
    """A run in steps of half a millisecond, of a network whose output copies its two inputs; nothing is trained."""
    config = Config(neuron=cs.SRM(theta=1.0, tau_sr=0.5, dt=0.5), duration=10.0, layers=("2", "2"))
    net = config.network()
    net[0].weight.data[...] = 10 * np.eye(2)
    Checkpoint.of(1, net, cs.SGD(net.parameters())).save(tmp_path / "checkpoint.npz")
    (tmp_path / "config.yaml").write_text(config.to_yaml())
    Stats([EpochStats(1, 1.0, 0.5, None, None, 1.0)]).save(tmp_path / "metrics.csv")
    return load_run(tmp_path)


def test_times_are_milliseconds(run, tmp_path, command):
    """Input 0 at 1 ms, input 1 at 4 and 6 ms: the second spike of output 1 decides."""
    write_events(tmp_path / "a.bs1", cs.Events([1.0, 4.0, 6.0], [0, 1, 1], None, [1, 1, 1]))
    (found,) = predict(run, [tmp_path / "a.bs1"])
    x = cs.read_events(tmp_path / "a.bs1").to_spikes(2, 20, 0.5)[:, None]
    spikes = run.net(x).numpy()[:, 0]
    counts = spikes.cumsum(axis=0)
    wins = counts[:, 1] > counts[:, 0]
    assert wins[-1]
    last = 0.5 * (1 + np.flatnonzero(~wins)[-1])
    assert found[:4] == (str(tmp_path / "a.bs1"), 1, counts[-1].tolist(), last)
    assert 6.0 <= last < 8.0
    assert f"{last:g}" in command("predict", tmp_path, tmp_path / "a.bs1")[1]


def test_a_population_vote(run, tmp_path, command):
    """The outputs of a vote are means: their counts need not be whole."""
    vote = Config(neuron=run.config.neuron, duration=10.0, layers=("2", "6", "2avg"))
    net = vote.network()
    net[0].weight.data[...] = 0
    net[0].weight.data[1, 3:5] = 10
    write_events(tmp_path / "a.bs1", cs.Events([4.0], [1], None, [1]))
    (found,) = predict(Run(net, vote, run.stats, 1, tmp_path), [tmp_path / "a.bs1"])
    spikes = net(cs.read_events(tmp_path / "a.bs1").to_spikes(2, 20, 0.5)[:, None]).numpy()
    assert found.label == 1
    np.testing.assert_allclose(found.counts, spikes.sum(axis=0)[0])
    assert found.counts[0] == 0 < found.counts[1]
    assert json.loads(json.dumps(found.counts)) == found.counts
