"""Options of words beyond SLAYER's: normalization, winners, dropout, delays at the start and of recurrence."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

import cuslayer as cs
from cuslayer.network.notation import Word
from cuslayer.training import Trainer
from cuslayer.training.config import Config
from cuslayer.training.read_config import load_config

SRM = cs.SRM()
WORDS = (
    Word("6x5x2"),
    Word("8c3", norm="none", winners=40, dropout=0.25),
    Word("2a", dropout=0.5),
    Word("20r", norm="power", recurrent_delay=3.0, delay=True, max_delay=9.0, initial_delay=7.0),
    Word("12", norm="std"),
    Word("3", delay=True, initial_delay=0.0),
)


def kinds(net):
    return [type(layer).__name__ for layer in net.layers]


def test_options_become_layers():
    net = cs.Network(WORDS, SRM)
    assert kinds(net) == [
        *("Conv", "BatchNorm", "KWinners", "SRM", "Dropout", "Pool", "SRM", "Dropout"),
        *("Dense", "BatchNorm", "Recurrent", "Delay", "Dense", "BatchNorm", "SRM", "Dense", "SRM", "Delay"),
    ]
    norms = [layer for layer in net.layers if isinstance(layer, cs.BatchNorm)]
    assert [(n.features, n.scale, n.height, n.trained) for n in norms] == [
        (8, "none", SRM.theta, False),
        (20, "power", SRM.theta, True),
        (12, "std", SRM.theta, True),
    ]
    assert (net[2].k, net[4].p, net[7].p, net[10].delay) == (40, 0.25, 0.5, 3.0)
    assert net[11].max_delay == 9.0
    assert 1.0 < net[11].delay.data.max() <= 7.0
    assert not net[17].delay.data.any()
    assert net(np.zeros((4, 2, 6, 5, 2), bool)).shape == (4, 2, 3)


def test_options_in_yaml():
    layers = [
        {"dim": "5x6x2"},
        {"dim": "8c3", "norm": "none", "winners": 40, "dropout": 0.25},
        {"dim": "2a", "dropout": 0.5},
        {"dim": "20r", "norm": "power", "recurrentDelay": 3, "delay": True, "maxDelay": 9, "initialDelay": 7},
        {"dim": 12, "norm": "std"},
        {"dim": 3, "delay": True, "initialDelay": 0},
    ]
    config = load_config({"layer": layers, "training": {"sparsity": {"weight": 1e-6, "allowed": 500}}})
    assert config.layers == (Word("5x6x2"), *WORDS[1:])
    loss = config.loss()
    assert isinstance(loss, cs.SparsityLoss)
    assert (loss.weight, loss.allowed) == (1e-6, 500.0)
    assert isinstance(loss.loss, cs.SpikeCountLoss)
    assert load_config(yaml.safe_load(config.to_yaml())) == config
    assert load_config({"layer": layers, "training": {"sparsity": {"weight": 1}}}).sparsity == (1.0, 0.0)
    assert isinstance(Config().loss(), cs.SpikeCountLoss)


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ({"dim": 5, "norm": "mean"}, r"layer\[1\]\.norm must be .*, got 'mean'"),
        ({"dim": 5, "winners": 0}, r"layer\[1\]\.winners must be at least 1, got 0"),
        ({"dim": 5, "dropout": 1.0}, r"layer\[1\]\.dropout must"),
        ({"dim": 5, "recurrentDelay": 2}, r"layer\[1\]\.recurrentDelay is not for '5', a dense word"),
        ({"dim": "5r", "recurrentDelay": 0}, r"layer\[1\]\.recurrentDelay must be positive, got 0"),
        ({"dim": 5, "initialDelay": 2}, "Word: '5' has initial_delay 2 and no delay"),
        ({"dim": 5, "delay": True, "initialDelay": -1}, r"layer\[1\]\.initialDelay must not be negative"),
        ({"dim": "5out", "dropout": 0.1}, r"layer\[1\]\.dropout is not for '5out', a readout word"),
    ],
)
def test_errors_in_yaml(layer, message):
    with pytest.raises(ValueError, match=f"^(load_config: )?{message}"):
        load_config({"layer": [{"dim": 10}, layer]})


def test_errors_of_networks():
    with pytest.raises(ValueError, match=r"^Network: '5' in '9-5': norm must be"):
        cs.Network([Word("9"), Word("5", norm="mean")], SRM)
    with pytest.raises(ValueError, match=r"^Network: '5' in '9-5': winners must be at least 1, got 0"):
        cs.Network([Word("9"), Word("5", winners=0)], SRM)
    with pytest.raises(ValueError, match=r"^load_config: training\.sparsity\.weight must not be negative"):
        load_config({"layer": [{"dim": 4}, {"dim": 3}], "training": {"sparsity": {"weight": -1}}})
    with pytest.raises(ValueError, match=r"^Delay: initial must not be negative"):
        cs.Delay(3, dt=1.0, initial=-1.0)


@pytest.mark.parametrize("scale", ["std", "power", "none"])
def test_a_normalized_network_is_calibrated_and_learns(scale):
    """In training, the normalized layers fire at the rate that they were calibrated for."""
    cs.seed(0)
    net = cs.Network([Word("20"), Word("40", norm=scale), Word("3")], SRM)
    r = np.random.default_rng(0)
    labels = np.arange(24) % 3
    # A class has its own inputs; all have noise.
    likely = 0.02 + 0.08 * (np.arange(20) % 3 == labels[:, None])
    x = r.random((60, 24, 20)) < likely
    table = cs.calibrate(net, [x], rate=40.0)
    net.train(True)
    with cs.record(net) as seen:
        net(x)
    rate = 1000.0 * seen[2].spikes.mean()
    assert 30.0 < rate < 50.0
    assert "BatchNorm" in table.layers[0].name
    loss = cs.SpikeCountLoss(SRM, true=8, false=1, region=(0, 60))
    trainer = Trainer(net, loss, cs.Adam(net.parameters(), 0.05, relative=True))
    first = trainer.train([(x, labels)])
    for _ in range(30):
        last = trainer.train([(x, labels)])
    assert last.loss < 0.3 * first.loss
    assert last.accuracy > 0.9


def test_a_normalization_that_is_kept_is_not_scaled():
    cs.seed(0)
    net = cs.Network([Word("20"), Word("40", norm="std"), Word("3")], SRM)
    x = np.random.default_rng(0).random((60, 8, 20)) < 0.1
    own = net[0].weight, net[1].gain, net[1].offset
    before = [p.data.copy() for p in own]
    table = cs.calibrate(net, [x], rate=40.0, keep=[1])
    assert not table.layers[0].scaled
    assert net[1].height == SRM.theta
    assert all((p.data == b).all() for p, b in zip(own, before, strict=True))


def test_a_normalization_scales_with_its_factor():
    x = np.random.default_rng(0).normal(size=(9, 3, 4))
    for norm in (
        cs.BatchNorm(4, height=2.0),
        cs.BatchNorm(4, scale="power", height=2.0),
        cs.BatchNorm(4, trained=True),
        cs.BatchNorm(4, scale="none", trained=True),
    ):
        norm.train(False)
        norm.observe(x)
        if norm.offset is not None:
            norm.offset.data[...] = 0.5
        before = norm(x).data
        norm.scale_output(3.0)
        np.testing.assert_allclose(norm(x).data, 3.0 * before, rtol=1e-5, atol=1e-6)
    norm = cs.BatchNorm(4, scale="none")
    norm.train(False)
    norm.observe(x)
    np.testing.assert_allclose(norm.mean.data, x.mean(axis=(0, 1)), rtol=1e-5, atol=1e-7)
    np.testing.assert_allclose(norm.var.data, x.var(axis=(0, 1)), rtol=1e-5)
    before = norm(x).data
    norm.scale_output(3.0)
    np.testing.assert_allclose(norm(3.0 * x).data, 3.0 * before, rtol=1e-5, atol=1e-5)
