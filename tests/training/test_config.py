"""The configuration: SLAYER's keys, defaults, round trips, and what is made of it."""

from __future__ import annotations

import copy
import hashlib
from dataclasses import fields, replace

import numpy as np
import pytest
import yaml

import cuslayer as cs
from cuslayer.cli import main
from cuslayer.network.notation import Word
from cuslayer.training import Config, load_config
from cuslayer.training.config import OptimizerConfig
from tests.support.tiny import no_figures, write_folder

# In the style of SLAYER's own files, with comments.
SLAYER = """
simulation:
    Ts: 1.0
    tSample: 300
    nSample: 12
neuron:
    type:     SRMALPHA
    theta:    10
    tauSr:    10.0
    tauRef:   1.0
    scaleRef: 2     # relative to theta
    tauRho:   1     # relative to theta
    scaleRho: 1
layer:
    - {dim: 34x34x2}
    - {dim: 512}
    - {dim: 10}
training:
    error:
        type: NumSpikes
        probSlidingWin: 20  # only for ProbSpikes
        tgtSpikeRegion: {start: 0, stop: 300}
        tgtSpikeCount: {true: 60, false: 10}
    path:
        # out:   OutFiles/
        in:      NMNISTsmall/
        train:   NMNISTsmall/train1K.txt
        test:    NMNISTsmall/test100.txt
"""


# No value is the default, so that a lost key is noticed.
OTHER = Config(
    neuron=cs.SRM(
        theta=7.5,
        tau_sr=5.0,
        tau_ref=2.0,
        scale_ref=3.0,
        tau_rho=0.5,
        scale_rho=0.25,
        dt=0.5,
        gradient="exact",
        cutoff=0.02,
        ref_cutoff=1e-5,
        surrogate=cs.surrogates.MultiGaussian(0.2, 4),
    ),
    duration=120.0,
    layers=(
        Word("34x30x2"),
        Word("16c5", stride=(2, 1), padding=1, dilation=1, groups=2, weight_scale=7.0, delay=True, max_delay=9.0),
        Word("2a", stride=2, padding=(1, 0), dilation=(1, 1)),
        Word("32", weight_scale=3.5, neuron=cs.SRM(theta=3.0, dt=0.5)),
        Word("20", bias=True),
        Word("10avg"),
    ),
    region=(10.0, 110.5),
    window=12.5,
    true=30.0,
    false=3.0,
    count_scale=2.5,
    piecewise=True,
    optimizer=OptimizerConfig("SGD", 1e-5, False, 0.9, 1e-4, "step", 3, 0.5, 0.01, False, 7, 2.5, 0.25),
    epochs=5,
    batch=7,
    seed=11,
    initialization="slayer",
    firing_rate=45.0,
    **{"data": "some/folder", "train_list": "a.txt", "test_list": "b.txt", "out": "results/1"},
    **{"checkpoint_minutes": 0.5, "checkpoint_steps": 7, "micro": 4, "fast": True, "sparsity": (1e-6, 200.0)},
)


@pytest.fixture
def document():
    """A complete configuration as Python objects, to be modified."""
    return copy.deepcopy(yaml.safe_load(SLAYER))


@pytest.fixture
def load(tmp_path):
    """Load a configuration from text or from objects."""

    def load(given):
        path = tmp_path / "network.yaml"
        path.write_text(given if isinstance(given, str) else yaml.safe_dump(given), encoding="utf-8")
        return load_config(path)

    return load


def test_slayers_own_style(load):
    config = load(SLAYER)
    assert config == Config(
        layers=("34x34x2", "512", "10"),
        batch=12,
        data="NMNISTsmall/",
        train_list="NMNISTsmall/train1K.txt",
        test_list="NMNISTsmall/test100.txt",
    )


def test_the_other_configuration_differs_in_every_field():
    usual = Config()
    for part, plain in ((OTHER, usual), (OTHER.neuron, usual.neuron), (OTHER.optimizer, usual.optimizer)):
        same = [f.name for f in fields(part) if getattr(part, f.name) == getattr(plain, f.name)]
        # A data set that is known by name has no lists, and one of sounds neither: test_named.py and test_sound_run.py.
        assert same in ([], ["error", "over", "sound", "dataset"])


@pytest.mark.parametrize(
    "config",
    [
        OTHER,
        Config(),
        Config(error="SpikeTime", layers=("200", "256", "200"), duration=1900.0, data="oxford", batch=1),
        Config(error="ProbSpikes", window=7.0, region=(3.0, 90.0)),
        Config(error="CrossEntropy", over="mean", region=(3.0, 90.0), layers=("5", "2")),
        Config(optimizer=OptimizerConfig("SGD", lr=0.5, relative=True, warmup=7, schedule="step")),
        Config(optimizer=OptimizerConfig("NAdam", lr=0.003, momentum_decay=None)),
        Config(optimizer=OptimizerConfig("NAdam", schedule="constant", momentum_decay=0.0)),
    ],
)
def test_round_trips(load, config):
    text = config.to_yaml()
    assert load(text) == load_config(config.document()) == config
    assert ("tgtSpikeCount:\n      true: " in text) == (config.error == "NumSpikes")
    assert ("tgtSpikeRegion" in text) == (config.error != "SpikeTime")
    assert type(load(text).loss()) is type(config.loss())


def test_the_text_of_a_file():
    """What is compared with the digests of checkpoints: it may not change."""
    text = Config(data="d", epochs=3).to_yaml()
    digest = hashlib.sha256(text.encode()).hexdigest()
    assert digest == "b9e90d08d4c2a834cdf944318b9b48abf38f05f864f38027685709288633489e", text
    assert (
        hashlib.sha256(OTHER.to_yaml().encode()).hexdigest()
        == "f231a086525fca38ff08dd813b8acd35f07a0960e55126e2cea831caff4119fa"
    )


@pytest.mark.parametrize("keys", ["{true: 61, false: 9}", "{'true': 61, 'false': 9}", "{True: 61, False: 9}"])
def test_counts_under_booleans_and_words(load, keys):
    config = load(SLAYER.replace("{true: 60, false: 10}", keys))
    assert (config.true, config.false) == (61.0, 9.0)


def test_batch_before_nsample(load, document):
    document["training"]["batch"] = 3
    assert load(document).batch == 3


@pytest.mark.parametrize(("word", "lr"), [("1e-3", 1e-3), ("1.0e-3", 1e-3), ("0.5", 0.5), ("2", 2.0)])
def test_a_number_may_have_an_exponent_and_no_dot(load, word, lr):
    assert load(SLAYER + f"    optimizer: {{lr: {word}}}\n").optimizer.lr == lr


def test_missing_parts_have_defaults(load, document):
    del document["simulation"]["nSample"], document["training"]["path"]
    document["training"] |= {"optimizer": {}, "sparsity": {"weight": 2}, "parallel": {"micro": 3}}
    more = {"sparsity": (2.0, 0.0), "micro": 3}
    assert load(document) == Config(layers=("34x34x2", "512", "10"), **more)
    document["training"]["error"] = {"type": "CrossEntropy"}
    document["simulation"]["tSample"] = 50
    assert load(document) == Config(
        layers=("34x34x2", "512", "10"), duration=50.0, error="CrossEntropy", region=(0.0, 50.0), **more
    )


def test_what_the_error_does_not_use_is_not_read(load, document):
    """SLAYER's files have all keys with every type."""
    document["training"]["error"] |= {"type": "SpikeTime", "probSlidingWin": -1, "tgtSpikeRegion": {"start": -9}}
    assert load(document).error == "SpikeTime"


LAYERS = [{"dim": "34x34x2"}, {"dim": "8"}, {"dim": "3"}]


def test_a_file_of_layers_alone():
    assert load_config({"layer": LAYERS}) == Config(layers=("34x34x2", "8", "3"))
    config = load_config({"layer": LAYERS, "training": {"epochs": 3, "optimizer": {"lr": 0.001}}})
    assert config == Config(layers=("34x34x2", "8", "3"), epochs=3, optimizer=OptimizerConfig(lr=0.001))
    assert load_config({"layer": LAYERS, "training": None}).epochs == Config().epochs
    own = {"dim": "8", "neuron": {"type": "LOIHI", "vThMant": 80, "vDecay": 128, "iDecay": 1024, "refDelay": 1}}
    own["neuron"] |= {"wgtExp": 0, "tauRho": 1, "scaleRho": 1}
    assert load_config({"layer": [LAYERS[0], own, LAYERS[2]]}).layers[1].neuron is not None


def test_objects_made_from_a_configuration():
    config = OTHER
    assert config.steps == 240
    cs.seed(0)
    net = config.network()
    assert net.notation == "30x34x2-16c5-2a-32-20-10avg"
    sparse = config.loss()
    assert (sparse.weight, sparse.allowed) == (1e-6, 200.0)
    loss = sparse.loss
    assert (loss.true, loss.false, loss.region, loss.neuron) == (30.0, 3.0, (20, 221), config.neuron)
    optimizer = config.make_optimizer(net.parameters())
    assert isinstance(optimizer, cs.SGD)
    assert (optimizer.momentum, optimizer.weight_decay) == (0.9, 1e-4)
    assert (optimizer.clip_norm, optimizer.clip_value) == (2.5, 0.25)


def made(config, **options):
    return config.make_optimizer([cs.Tensor([1.0], requires_grad=True)], **options)


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [("constant", [0.1, 0.1, 0.1, 0.1]), ("step", [0.1, 0.1, 0.05, 0.05]), ("cosine", [0.1, 0.05, 0.0, 0.0])],
)
def test_schedules(schedule, rates):
    optimizer = made(Config(epochs=2, optimizer=OptimizerConfig(lr=0.1, schedule=schedule, every=2, factor=0.5)))
    found = []
    for optimizer.epoch in range(4):
        found.append(optimizer.lr)
    assert found == pytest.approx(rates)


DEFAULT = (0.1, True, 30, "cosine")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, DEFAULT),
        ({"type": "NAdam"}, DEFAULT),
        ({"type": "SGD"}, (0.01, False, 0, "constant")),
        ({"relative": False}, (0.01, False, 0, "constant")),
        ({"lr": 0.001}, (0.001, False, 0, "constant")),
        ({"schedule": "step"}, (0.1, True, 30, "step")),
        ({"lr": 0.001, "relative": True, "warmup": 4, "schedule": "cosine"}, (0.001, True, 4, "cosine")),
        ({"lr": None, "relative": None, "warmup": None, "schedule": None}, DEFAULT),
    ],
)
def test_the_rate_of_a_file(document, load, given, expected):
    document["training"]["optimizer"] = given
    config = load(document)
    o = config.optimizer
    assert (o.lr, o.relative, o.warmup, o.schedule) == expected
    optimizer = made(config)
    assert (optimizer.lr, optimizer.relative, optimizer.warmup) == expected[:3]


def test_another_rate_changes_nothing_else():
    assert Config().with_options(lr=0.003).optimizer == replace(Config().optimizer, lr=0.003)
    own = OptimizerConfig("SGD", lr=0.02, relative=True, warmup=3)
    assert Config(optimizer=own).with_options(lr=0.003).optimizer == replace(own, lr=0.003)


@pytest.mark.parametrize(("steps", "warmup"), [(None, 30), (1000, 30), (160, 16), (9, 0)])
def test_the_warm_up_takes_a_tenth_of_a_run_at_most(steps, warmup):
    assert made(Config(), steps=steps).warmup == warmup


@pytest.mark.parametrize(("name", "kind"), [("SGD", cs.SGD), ("Adam", cs.Adam), ("NAdam", cs.NAdam)])
def test_optimizers(name, kind):
    optimizer = made(Config(optimizer=OptimizerConfig(type=name, amsgrad=False, weight_decay=0.5)))
    assert type(optimizer) is kind
    assert optimizer.weight_decay == 0.5
    assert "peak" not in optimizer.memory[0]
    assert ("peak" in made(Config(optimizer=OptimizerConfig(type=name))).memory[0]) == (name == "Adam")


def test_nadam_as_slayer_has_it(document, load):
    for given, momentum_decay, amsgrad in (
        ({"momentumDecay": "none", "amsgrad": False}, None, False),
        ({"momentumDecay": "none"}, None, True),
        ({"momentumDecay": 0}, 0.0, False),
        ({}, 0.004, False),
    ):
        document["training"]["optimizer"] = {"type": "NAdam", **given}
        optimizer = made(load(document))
        assert (type(optimizer), optimizer.momentum_decay, optimizer.amsgrad) == (cs.NAdam, momentum_decay, amsgrad)


def test_options_override_the_file():
    config = OTHER.with_options(lr=0.5, epochs=2, batch=None, out="x")
    assert (config.optimizer.lr, config.epochs, config.batch, config.out) == (0.5, 2, OTHER.batch, "x")
    assert config.optimizer.type == "SGD"
    assert OTHER.with_options() == OTHER


def test_a_notation_replaces_the_layers():
    """A notation has rows first, the words of a configuration have columns first, as SLAYER's files."""
    slow = Word("7", weight_scale=3.0, neuron=cs.SRM(theta=3.0))
    config = Config(layers=("34x34x2", slow, "10"), epochs=3).with_options(network="30x34x2-4c3-2a-10")
    assert [word.text for word in config.layers] == ["34x30x2", "4c3", "2a", "10"]
    assert not any(word.options() for word in config.layers)
    assert (config.epochs, config.network().input_shape) == (3, (30, 34, 2))
    with pytest.raises(ValueError, match=r"'5q' in '34x34x2-5q' is no layer; known words: HxWxC"):
        Config().with_options(network="34x34x2-5q")


def test_losses_have_the_constants_of_the_configuration():
    srm, region = cs.SRM(dt=0.5, tau_sr=3.0), (4.0, 11.0)
    s, labels = np.random.default_rng(0).random((30, 2, 3)) < 0.3, [2, 0]
    given = {"neuron": srm, "region": region, "window": 2.5, "true": 7.0, "false": 2.0}
    given |= {"count_scale": 3.0, "piecewise": True}
    for error, loss in {
        "NumSpikes": cs.SpikeCountLoss(srm, true=7.0, false=2.0, region=region, count_scale=3.0, piecewise=True),
        "ProbSpikes": cs.ProbabilityWindowLoss(srm, window=2.5, region=region),
    }.items():
        assert Config(error=error, **given).loss()(s, labels).item() == loss(s, labels).item()
    assert Config(error="SpikeTime", **given).loss()(s, s[::-1]).item() == cs.SpikeTimeLoss(srm)(s, s[::-1]).item()


def test_the_command_line(tmp_path, monkeypatch, capsys):
    no_figures(monkeypatch)
    path, out = tmp_path / "network.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump({"layer": LAYERS, "training": {"epochs": 1, "batch": 4}}))
    given = ["train", str(path), "--data", str(write_folder(tmp_path / "data"))]
    assert main([*given, "--out", str(out), "--network", "34x34x2-6-3", "--lr", "0.01"]) == 0
    used = load_config(out / "config.yaml")
    assert [word.text for word in used.layers] == ["34x34x2", "6", "3"]
    assert used.optimizer == replace(OptimizerConfig(), lr=0.01)
    assert "weights times" in capsys.readouterr().out
