"""Params: a YAML file by item and by attribute; SLAYER's own example files."""

from __future__ import annotations

import copy
import pickle

import pytest

import cuslayer as cs
from cuslayer.network.notation import Word
from cuslayer.training import Params, load_config

SRM = {"type": "SRMALPHA", "theta": 10, "tauSr": 10.0, "tauRef": 1.0, "scaleRef": 2, "tauRho": 1, "scaleRho": 1}
LOIHI = {"type": "LOIHI", "vThMant": 80, "vDecay": 128, "iDecay": 1024, "refDelay": 1, "wgtExp": 0}
LOIHI |= {"tauRho": 1, "scaleRho": 1}
OXFORD = [{"dim": 200}, {"dim": 256}, {"dim": 200}]
COUNTS = {"type": "NumSpikes", "tgtSpikeRegion": {"start": 0, "stop": 300}, "tgtSpikeCount": {True: 60, False: 10}}
PATHS = {"in": "NMNISTsmall/", "train": "NMNISTsmall/train1K.txt", "test": "NMNISTsmall/test100.txt"}

# The keys and values of the example files of SLAYER-PyTorch.
EXAMPLES = {
    "oxford": {
        "simulation": {"Ts": 1, "tSample": 1900, "nSample": 1},
        "neuron": SRM,
        "layer": OXFORD,
        "training": {"error": {"type": "SpikeTime"}},
    },
    "nmnist": {
        "simulation": {"Ts": 1.0, "tSample": 300, "nSample": 12},
        "neuron": SRM,
        "training": {"error": COUNTS | {"probSlidingWin": 20}, "path": PATHS},
    },
    "oxford_loihi": {
        "simulation": {"Ts": 1, "tSample": 1900},
        "neuron": LOIHI,
        "layer": OXFORD,
        "training": {"error": {"type": "SpikeTime"}},
    },
    "nmnist_loihi": {
        "simulation": {"Ts": 1.0, "tSample": 350},
        "neuron": LOIHI,
        "training": {"error": COUNTS, "path": PATHS},
    },
    "nmnist_auto": {
        "simulation": {"Ts": 1, "tSample": 350},
        "neuron": LOIHI,
        "layer": [{"dim": "34x34x2"}, {"dim": 512}, {"dim": 512}, {"dim": 11}],
        "training": {"error": COUNTS},
    },
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_slayers_examples_are_read(name, tmp_path):
    params = Params(EXAMPLES[name])
    params.save(tmp_path / "network.yaml")
    config = load_config(tmp_path / "network.yaml")
    assert config == load_config(EXAMPLES[name]) == load_config(params)
    assert config.neuron == (cs.Loihi() if "loihi" in name or "auto" in name else cs.SRM())
    assert config.duration == EXAMPLES[name]["simulation"]["tSample"]
    again = tmp_path / "again.yaml"
    again.write_text(config.to_yaml())
    assert load_config(again) == config
    if "layer" in EXAMPLES[name]:
        assert config.layers == tuple(Word(str(layer["dim"])) for layer in EXAMPLES[name]["layer"])
        assert len(config.network().parameters()) == len(config.layers) - 1
    else:
        with pytest.raises(ValueError, match="Config: layer is missing: the configuration has no network"):
            config.network()


def test_every_error_type_has_its_loss():
    error = {"type": "ProbSpikes", "probSlidingWin": 15, "tgtSpikeRegion": {"start": 10, "stop": 90}}
    config = load_config(EXAMPLES["oxford"] | {"training": {"error": error}})
    loss = config.loss()
    assert isinstance(loss, cs.ProbabilityWindowLoss)
    assert (loss.window, loss.region) == (15, (10, 90))
    del error["probSlidingWin"]
    with pytest.raises(ValueError, match=r"load_config: training\.error\.probSlidingWin is missing"):
        load_config(EXAMPLES["oxford"] | {"training": {"error": error}})
    for kind, name in ((cs.SpikeTimeLoss, "oxford"), (cs.SpikeCountLoss, "nmnist")):
        assert isinstance(load_config(EXAMPLES[name]).loss(), kind)


def test_items_and_attributes_are_the_same():
    params = Params(EXAMPLES["nmnist"])
    assert params.simulation.Ts == params["simulation"]["Ts"] == 1.0
    assert params.training.path["in"] == "NMNISTsmall/"
    assert params.training.error.tgtSpikeCount[True] == 60
    params.training.learning = {"etaW": 0.1}
    params["training"]["learning"]["etaW"] = 0.01
    assert params.training.learning.etaW == 0.01
    assert [layer.dim for layer in Params(EXAMPLES["oxford"]).layer] == [200, 256, 200]
    assert len(params) == 3
    assert "neuron" in params
    assert "layer" not in params
    assert params.get("layer", "none") == "none"
    del params["training"]
    assert list(params) == ["simulation", "neuron"]


def test_the_callers_mapping_is_not_changed():
    given = copy.deepcopy(EXAMPLES["oxford"])
    params = Params(given)
    params.layer[0].dim = 3
    params.neuron.theta = 1
    assert given == EXAMPLES["oxford"]
    assert params.plain()["layer"][0] == {"dim": 3}
    params.plain()["neuron"]["theta"] = 2
    assert params.neuron.theta == 1


def test_saves_and_prints(tmp_path, capsys):
    params = Params(EXAMPLES["nmnist"])
    params.save(tmp_path / "a.yaml")
    assert Params(tmp_path / "a.yaml") == params
    print(params.training.error)
    assert capsys.readouterr().out.splitlines()[:2] == ["type: NumSpikes", "tgtSpikeRegion:"]
    assert repr(params.simulation) == "Params({'Ts': 1.0, 'tSample': 300, 'nSample': 12})"
    for other in (pickle.loads(pickle.dumps(params)), copy.deepcopy(params), copy.copy(params)):
        assert other == params
    assert not [p for p in tmp_path.iterdir() if p.name != "a.yaml"]


def test_errors_name_what_is_missing(tmp_path):
    params = Params(EXAMPLES["oxford"])
    with pytest.raises(KeyError, match="Params: 'simulatoin' is missing; did you mean simulation"):
        params["simulatoin"]
    with pytest.raises(AttributeError, match="Params: 'tauSR' is missing; did you mean tauSr"):
        _ = params.neuron.tauSR
    assert not hasattr(params, "_anything")
    with pytest.raises(ValueError, match=r"Params: .*none\.yaml is no file"):
        Params(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(TypeError, match=r"Params: .*list\.yaml must hold a mapping, got list"):
        Params(tmp_path / "list.yaml")
    (tmp_path / "bad.yaml").write_text("a: b: c")
    with pytest.raises(ValueError, match=r"Params: .*bad\.yaml is no YAML"):
        Params(tmp_path / "bad.yaml")
