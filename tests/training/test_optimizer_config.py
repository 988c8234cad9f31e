"""The optimizer and the network of a configuration: NAdam's two kinds, and a notation in place of the layers."""

from __future__ import annotations

import pytest
import yaml

import cuslayer as cs
from cuslayer.network.notation import Word
from cuslayer.training import Config, load_config
from cuslayer.training.config import OptimizerConfig


def read(optimizer):
    document = yaml.safe_load(Config().to_yaml())
    document["training"]["optimizer"] = optimizer
    return load_config(document)


def made(config):
    return config.make_optimizer([cs.Tensor([1.0], requires_grad=True)])


def test_nadam_as_slayer_has_it():
    config = read({"type": "NAdam", "momentumDecay": "none", "amsgrad": False})
    assert config.optimizer.momentum_decay is None
    optimizer = made(config)
    assert type(optimizer) is cs.NAdam
    assert (optimizer.momentum_decay, optimizer.amsgrad) == (None, False)
    assert made(read({"type": "NAdam", "momentumDecay": "none", "amsgrad": True})).amsgrad


def test_the_usual_nadam():
    assert (made(read({"type": "NAdam"})).momentum_decay, made(read({"type": "NAdam"})).amsgrad) == (0.004, False)
    assert made(read({"type": "NAdam", "momentumDecay": 0})).momentum_decay == 0.0


@pytest.mark.parametrize("decay", [None, 0.0, 0.004, 0.5])
def test_round_trip(decay):
    config = Config(optimizer=OptimizerConfig("NAdam", momentum_decay=decay))
    assert load_config(yaml.safe_load(config.to_yaml())) == config


def test_errors():
    with pytest.raises(ValueError, match=r"training\.optimizer\.momentumDecay must not be negative, got -1"):
        read({"type": "NAdam", "momentumDecay": -1})
    with pytest.raises(TypeError, match=r"training\.optimizer\.momentumDecay must be a number, got str"):
        read({"type": "NAdam", "momentumDecay": "never"})


def test_a_notation_replaces_the_layers():
    """A notation has rows first, the words of a configuration have columns first, as SLAYER's files."""
    slow = Word("7", weight_scale=3.0, neuron=cs.SRM(theta=3.0))
    config = Config(layers=("34x34x2", slow, "10"), epochs=3).with_options(network="30x34x2-4c3-2a-10")
    assert [word.text for word in config.layers] == ["34x30x2", "4c3", "2a", "10"]
    assert not any(word.options() for word in config.layers)
    assert (config.epochs, config.network().input_shape) == (3, (30, 34, 2))
    assert Config().with_options(network="200-10").layers == (Word("200"), Word("10"))
    with pytest.raises(ValueError, match=r"^Network: '5q' in '34x34x2-5q' is no layer; known words: HxWxC"):
        Config().with_options(network="34x34x2-5q")
