"""The configuration of initialization and of learning rates: defaults, YAML of layers alone, and errors."""

from __future__ import annotations

import dataclasses

import pytest
import yaml

import cuslayer as cs
from cuslayer.cli import main
from cuslayer.training import Config, load_config
from cuslayer.training.config import OptimizerConfig
from tests.support.tiny import no_figures, write_folder


def read(**training):
    document = yaml.safe_load(Config().to_yaml())
    document["training"] |= training
    return load_config(document)


def rates(optimizer):
    return optimizer.lr, optimizer.relative, optimizer.warmup, optimizer.schedule


DEFAULT = (0.1, True, 30, "cosine")


def test_defaults():
    assert rates(Config().optimizer) == rates(OptimizerConfig("NAdam")) == DEFAULT
    assert rates(OptimizerConfig("SGD")) == rates(OptimizerConfig(relative=False)) == (0.01, False, 0, "constant")
    assert rates(OptimizerConfig(lr=0.003)) == (0.003, False, 0, "constant")
    assert rates(OptimizerConfig(lr=0.003, relative=True, warmup=5)) == (0.003, True, 5, "constant")
    assert rates(OptimizerConfig(schedule="step")) == (0.1, True, 30, "step")
    assert (Config().initialization, Config().firing_rate) == ("calibrated", 30.0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, DEFAULT),
        ({"type": "Adam"}, DEFAULT),
        ({"type": "SGD"}, (0.01, False, 0, "constant")),
        ({"lr": 0.001}, (0.001, False, 0, "constant")),
        ({"lr": 0.001, "relative": True, "warmup": 4, "schedule": "cosine"}, (0.001, True, 4, "cosine")),
        ({"type": "SGD", "relative": True}, (0.01, True, 0, "constant")),
        ({"lr": None, "relative": None, "warmup": None, "schedule": None}, DEFAULT),
    ],
)
def test_the_optimizer_of_a_file(given, expected):
    config = read(optimizer=given)
    assert rates(config.optimizer) == expected
    made = config.make_optimizer([cs.Tensor([1.0], requires_grad=True)])
    assert (made.lr, made.relative, made.warmup) == expected[:3]
    made.epoch = config.epochs
    assert made.lr == (0.0 if expected[3] == "cosine" else expected[0])


def test_the_initialization_of_a_file():
    config = read(initialization="slayer", firingRate=12)
    assert (config.initialization, config.firing_rate) == ("slayer", 12.0)


@pytest.mark.parametrize(
    "config",
    [
        Config(initialization="slayer", firing_rate=12.5),
        Config(optimizer=OptimizerConfig(lr=0.05, relative=False, warmup=0)),
        Config(optimizer=OptimizerConfig("SGD", lr=0.5, relative=True, warmup=7)),
        Config(optimizer=OptimizerConfig("NAdam", lr=0.003)),
    ],
)
def test_round_trips(config):
    assert load_config(yaml.safe_load(config.to_yaml())) == config


def test_another_rate():
    """It changes nothing else."""
    assert rates(Config().with_options(lr=0.003).optimizer) == (0.003, *DEFAULT[1:])
    assert Config().with_options(lr=0.1) == Config()
    own = Config(optimizer=OptimizerConfig(lr=0.02, relative=True, warmup=3))
    assert rates(own.with_options(lr=0.003).optimizer) == (0.003, True, 3, "constant")
    sgd = Config(optimizer=OptimizerConfig("SGD"))
    assert rates(sgd.with_options(lr=0.5).optimizer) == (0.5, False, 0, "constant")


LAYERS = [{"dim": "34x34x2"}, {"dim": "8"}, {"dim": "3"}]


def test_a_file_of_layers_alone():
    assert load_config({"layer": LAYERS}) == Config(layers=("34x34x2", "8", "3"))
    config = load_config({"layer": LAYERS, "training": {"epochs": 3, "optimizer": {"lr": 0.001}}})
    assert config == Config(layers=("34x34x2", "8", "3"), epochs=3, optimizer=OptimizerConfig(lr=0.001))
    assert load_config({"layer": LAYERS, "training": None}).epochs == Config().epochs
    own = {"dim": "8", "neuron": {"type": "LOIHI", "vThMant": 80, "vDecay": 128, "iDecay": 1024, "refDelay": 1}}
    own["neuron"] |= {"wgtExp": 0, "tauRho": 1, "scaleRho": 1}
    assert load_config({"layer": [LAYERS[0], own, LAYERS[2]]}).layers[1].neuron is not None


@pytest.mark.parametrize(
    ("more", "missing"),
    [
        ({"simulation": {"Ts": 1.0, "tSample": 300}}, "training"),
        ({"neuron": yaml.safe_load(Config().to_yaml())["neuron"]}, "simulation"),
        ({"training": {"error": yaml.safe_load(Config().to_yaml())["training"]["error"]}}, "simulation"),
    ],
)
def test_some_of_slayers_sections_are_not_completed(more, missing):
    """A file with one of them is SLAYER's, where the others are forgotten."""
    rule = "a file with one of simulation, neuron and training.error needs all three, a file with none of them has"
    with pytest.raises(ValueError, match=f"^load_config: {missing} is missing; {rule} defaults$"):
        load_config({"layer": LAYERS, **more})


@pytest.mark.parametrize(
    ("training", "kind", "message"),
    [
        (
            {"initialization": "best"},
            ValueError,
            r"training\.initialization must be one of .*, got 'best'",
        ),
        ({"initialization": 3}, ValueError, r"training\.initialization must be one of calibrated, slayer, got 3"),
        (
            {"initialisation": "slayer"},
            ValueError,
            r"training\.initialisation is an unknown key",
        ),
        ({"firingRate": 0}, ValueError, r"training\.firingRate must be positive, got 0"),
        ({"checkpoint": {"minutes": 0}}, ValueError, r"training\.checkpoint\.minutes must be positive, got 0"),
        ({"checkpoint": {"steps": 0}}, ValueError, r"training\.checkpoint\.steps must be at least 1, got 0"),
        ({"checkpoint": {"hours": 1}}, ValueError, r"training\.checkpoint\.hours is an unknown key"),
        ({"firingRate": "fast"}, TypeError, r"training\.firingRate must be a number, got str"),
        ({"optimizer": {"relative": 1}}, TypeError, r"training\.optimizer\.relative must be true or false, got 1"),
        ({"optimizer": {"warmup": -1}}, ValueError, r"training\.optimizer\.warmup must be at least 0, got -1"),
        ({"optimizer": {"clipNorm": 0}}, ValueError, r"training\.optimizer\.clipNorm must be positive, got 0"),
        ({"optimizer": {"clipValue": "a"}}, TypeError, r"training\.optimizer\.clipValue must be a number, got"),
        ({"optimizer": {"warmup": 0.5}}, TypeError, r"training\.optimizer\.warmup must be an integer, got float"),
        ({"optimizer": {"lr": 0}}, ValueError, r"training\.optimizer\.lr must be positive, got 0"),
        ({"optimizer": {"lr": "fast"}}, TypeError, r"training\.optimizer\.lr must be a number, got str"),
    ],
)
def test_errors(training, kind, message):
    with pytest.raises(kind, match=f"^load_config: {message}"):
        read(**training)


def test_the_command_line(tmp_path, monkeypatch, capsys):
    no_figures(monkeypatch)
    path, out = tmp_path / "network.yaml", tmp_path / "out"
    path.write_text(yaml.safe_dump({"layer": LAYERS, "training": {"epochs": 1, "batch": 4}}))
    given = ["train", str(path), "--data", str(write_folder(tmp_path / "data"))]
    assert main([*given, "--out", str(out), "--network", "34x34x2-6-3"]) == 0
    used = load_config(out / "config.yaml")
    assert [word.text for word in used.layers] == ["34x34x2", "6", "3"]
    assert rates(used.optimizer) == DEFAULT
    assert "weights times" in capsys.readouterr().out
    assert main([*given, "--out", str(tmp_path / "b"), "--lr", "0.01"]) == 0
    assert rates(load_config(tmp_path / "b" / "config.yaml").optimizer) == (0.01, *DEFAULT[1:])


def test_every_field_is_in_the_file():
    document = yaml.safe_load(Config().to_yaml())["training"]
    assert (document["initialization"], document["firingRate"]) == ("calibrated", 30.0)
    assert {"lr", "relative", "warmup"} <= document["optimizer"].keys()
    assert dataclasses.fields(OptimizerConfig)[0].name == "type"


@pytest.mark.parametrize(("steps", "warmup"), [(None, 30), (1000, 30), (160, 16), (9, 0)])
def test_the_warm_up_takes_a_tenth_of_a_run_at_most(steps, warmup):
    p = cs.Tensor([1.0], requires_grad=True)
    assert Config().make_optimizer([p], steps=steps).warmup == warmup
