"""The configurations by name: each is read, builds its network, and trains on data of its shape."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import cuslayer as cs
from cuslayer.data import Digits
from cuslayer.data.catalog import _KNOWN, NAMES
from cuslayer.training import Config, Trainer, load_config, train
from cuslayer.training.config import named_configs
from cuslayer.training.data_of_run import load_data
from tests.support import fake_tonic
from tests.support.tiny import no_figures, silent

# test_sound_run.py has that of sounds.
EVERY = [name for name in named_configs() if name != "spoken-digits"]
LISTED = "cifar10dvs, digits, dvsgesture, nmnist, ntidigits, shd, spoken-digits, ssc"


def refuses(message, kind=ValueError):
    return pytest.raises(kind, match="^" + re.escape(message) + "$")


def test_there_is_one_for_each_data_set():
    assert sorted((*NAMES, "digits")) == EVERY
    assert ", ".join(named_configs()) == LISTED
    folder = Path(__file__).parents[2] / "examples" / "configs"
    assert {path.name for path in folder.iterdir()} == {f"{name}.yaml" for name in named_configs()}
    for name in named_configs():
        assert name in load_config.__doc__
        assert (folder / f"{name}.yaml").read_text(encoding="utf-8").startswith("# ")


@pytest.mark.parametrize("name", EVERY)
def test_a_configuration_fits_its_data_set(name):
    config = load_config(name)
    net = config.network()
    known = Digits if name == "digits" else _KNOWN[name]
    assert net.input_shape == tuple(known.shape)
    assert net(np.zeros((1, 1, *net.input_shape), bool)).shape == (1, 1, known.classes)
    assert config.dataset == (None if name == "digits" else name)
    assert config.data is None
    assert (config.neuron.dt, config.duration) == (1.0, known.duration)
    assert config.region == (0.0, config.duration)
    assert load_config(yaml.safe_load(config.to_yaml())) == config
    # Every constant of the neuron and every choice of the recipe is in the file.
    document = yaml.safe_load((named_configs()[name]).read_text(encoding="utf-8"))
    assert set(document["neuron"]) == {"type", "theta", "tauSr", "tauRef", "scaleRef", "tauRho", "scaleRho"}
    assert set(document["training"]) >= {"error", "initialization", "firingRate", "optimizer", "epochs", "batch"}


@pytest.mark.parametrize("name", EVERY)
def test_a_configuration_trains_on_data_of_its_shape(name):
    config = replace(load_config(name), duration=40.0, region=(0.0, 40.0), true=20.0, false=2.0)
    cs.seed(0)
    net = config.network()
    random = np.random.default_rng(0)
    x = random.random((config.steps, 2, *net.input_shape)) < 0.05
    optimizer = config.make_optimizer(net.parameters(), steps=100)
    trainer = Trainer(net, config.loss(), optimizer, calibrate=config.firing_rate)
    before = [p.numpy().copy() for p in net.parameters()]
    loss, _ = trainer.train([(x, np.array([0, 1]))])
    assert np.isfinite(loss)
    assert loss > 0
    changed = [(p.numpy() != b).any() for p, b in zip(net.parameters(), before, strict=True)]
    assert all(changed)


def test_the_default_configuration_is_that_of_the_digits():
    assert load_config("digits") == Config()


def test_a_known_data_set_is_loaded_from_the_folder_of_tonic(monkeypatch, tmp_path):
    fake_tonic.install(monkeypatch)
    cs.data.load("shd", tmp_path, download=True)
    config = load_config("shd").with_options(data=str(tmp_path), network="700-20")
    config = replace(config, duration=50.0, region=(0.0, 50.0), true=20.0, false=2.0, batch=16)
    data = load_data(config, config.network())
    assert (data.train.dataset.name, data.train.dataset.split, data.test.dataset.split) == ("shd", "train", "test")
    assert (data.train.steps, data.train.shuffle, data.test.shuffle) == (50, True, False)
    assert data.example[0] == "input, class 0"
    no_figures(monkeypatch)
    out = train(replace(config, epochs=1, out=str(tmp_path / "run")), log=silent)
    assert load_config(out / "config.yaml").dataset == "shd"
    assert cs.load_run(out).config.dataset == "shd"


def test_a_data_set_without_its_folder_raises():
    config = load_config("shd")
    with refuses("shd needs --data ROOT, the folder in which tonic keeps its data sets"):
        load_data(config, config.network())


def test_a_file_in_the_working_directory_comes_first(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("nmnist").mkdir()  # a folder of data may have the name
    assert load_config("nmnist").dataset == "nmnist"
    Path("shd").write_text(Config(epochs=77).to_yaml())
    assert load_config("shd").epochs == 77


def test_unknown_names_raise():
    for name, hint in (("shdd", "; did you mean shd?"), ("mnist", "; did you mean nmnist?"), ("net_yaml", "")):
        with refuses(f"load_config: {name!r} is no file, nor one of the configurations {LISTED}{hint}"):
            load_config(name)
    with refuses("load_config: shd.yaml is no file"):
        load_config("shd.yaml")
    with refuses(f"load_config: {Path('shd')} is no file"):
        load_config(Path("shd"))


def test_paths_of_a_known_data_set(tmp_path):
    def given(**paths):
        document = yaml.safe_load(Config().to_yaml())
        document["training"]["path"] = paths
        return document

    assert load_config(given(**{"dataset": "ssc", "in": "data"})).data == "data"
    names = "cifar10dvs, dvsgesture, nmnist, ntidigits, shd, ssc"
    with refuses(f"load_config: training.path.dataset must be one of {names}, got 'shdd'; did you mean shd?"):
        load_config(given(dataset="shdd"))
    with refuses("load_config: training.path.train is for a folder of recordings, training.path.dataset is shd"):
        load_config(given(dataset="shd", train="train.txt"))
    with refuses("load_config: training.path.dataset must be a path, got 3", TypeError):
        load_config(given(dataset=3))
