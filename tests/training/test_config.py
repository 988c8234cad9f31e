"""The configuration: SLAYER's keys, defaults, round trips, and what is made of it."""

from __future__ import annotations

import copy
import pickle
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import yaml

import cuslayer as cs
from cuslayer.data import Digits
from cuslayer.data.catalog import _KNOWN, NAMES
from cuslayer.loss.base import ClassLoss
from cuslayer.network.notation import Word
from cuslayer.training import Config, Named, Params, load_config, train
from cuslayer.training.config import named_configs
from cuslayer.training.data_of_run import load_data
from cuslayer.training.optimizer import OptimizerConfig
from tests.support.refused import refuses
from tests.support.tiny import no_figures, silent
from tools import fake_tonic

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


READ_OUT = Word("2out", tau=30.0, bias=True, weight_scale=0.5)
# No value is the default, so that a lost key is noticed.
OTHER = Config(
    neuron=cs.SRM(
        **{"theta": 7.5, "tau_sr": 5.0, "tau_ref": 2.0, "scale_ref": 3.0, "tau_rho": 0.5, "scale_rho": 0.25},
        **{"dt": 0.5, "gradient": "exact", "cutoff": 0.02, "ref_cutoff": 1e-5},
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
    error=Named(
        "SpikeCountLoss",
        {"true": 30.0, "false": 3.0, "window": (10.0, 110.5), "count_scale": 2.5, "piecewise": True},
    ),
    optimizer=OptimizerConfig(
        **{"type": "SGD", "lr": 1e-5, "momentum": 0.9, "weight_decay": 1e-4, "relative": True, "warmup": 7},
        **{"schedule": "step", "every": 3, "factor": 0.5, "clip_norm": 2.5, "clip_value": 0.25},
    ),
    **{"epochs": 5, "batch": 7, "seed": 11, "initialization": "slayer", "firing_rate": 45.0},
    **{"validation": 0.25, "patience": 4},
    **{"data": "some/folder", "train_list": "a.txt", "test_list": "b.txt", "out": "results/1"},
    **{"checkpoint_minutes": 0.5, "checkpoint_steps": 7, "micro": 4, "fast": True, "sparsity": (1e-6, 200.0)},
    **{"truncate": 50, "recompute": 70, "online": "eprop", "picture": (2, 0.5, 0)},
)


@pytest.fixture
def document():
    """A complete configuration as Python objects, to be modified."""
    return yaml.safe_load(SLAYER)


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
        # A data set that is known by name has no lists, and one of sounds neither: see below, and test_sound_run.py.
        assert same in ([], ["sound", "dataset"])


@pytest.mark.parametrize(
    "config",
    [
        OTHER,
        Config(),
        Config(error=Named("SpikeTimeLoss"), layers=("200", "256", "200"), duration=1900.0, data="oxford", batch=1),
        Config(error=Named("ProbabilityWindowLoss", {"width": 7.0, "window": (3.0, 90.0)})),
        Config(
            layers=("5", READ_OUT),
            error=Named(
                "CrossEntropyLoss",
                {"over": "mean", "window": (3.0, 90.0), "smoothing": 0.1, "weights": (1.0, 2.0)},
            ),
        ),
        Config(optimizer=OptimizerConfig("SGD", lr=0.5, relative=True, warmup=7, schedule="step")),
        Config(optimizer=OptimizerConfig("NAdam", lr=0.003, momentum_decay=None)),
        Config(optimizer=OptimizerConfig("NAdam", schedule="constant", momentum_decay=0.0)),
    ],
)
def test_round_trips(load, config):
    text = config.to_yaml()
    assert load(text) == load_config(config.document()) == config
    assert type(load(text).loss()) is type(config.loss())


@pytest.mark.parametrize(
    ("neuron", "constants"),
    [
        (cs.SRM(), ("slayer", 0.1, 1.0)),
        (cs.SRM(scale_rho=1.0), ("slayer", 1.0, 1.0)),
        (cs.LIF(), ("exact", 0.3, 0.5)),
        (cs.LIF(gradient="slayer"), ("slayer", 0.1, 1.0)),
        (cs.LIF(scale_rho=1.0), ("exact", 1.0, 1.0)),
    ],
)
def test_a_run_and_its_resume_have_the_same_gradient_in_the_loop(load, neuron, constants):
    config = Config(neuron=neuron).with_options(network="12-8r-3")
    for network in (config.network(), load(config.to_yaml()).network()):
        neuron = network[1].neuron
        assert (neuron.gradient, neuron.scale_rho, neuron.tau_rho) == constants


@pytest.mark.parametrize("keys", ["{true: 61, false: 9}", "{'true': 61, 'false': 9}", "{True: 61, False: 9}"])
def test_counts_under_booleans_and_words(load, keys):
    config = load(SLAYER.replace("{true: 60, false: 10}", keys))
    assert config.error == Named("SpikeCountLoss", {"true": 61, "false": 9})


@pytest.mark.parametrize(("word", "lr"), [("1e-3", 1e-3), ("1.0e-3", 1e-3), ("0.5", 0.5), ("2", 2.0)])
def test_a_number_may_have_an_exponent_and_no_dot(load, word, lr):
    assert load(SLAYER + f"    optimizer: {{lr: {word}}}\n").optimizer.lr == lr


def test_missing_parts_have_defaults(load, document):
    document["training"]["batch"] = 3
    assert load(document).batch == 3  # before nSample
    del document["simulation"]["nSample"], document["training"]["path"], document["training"]["batch"]
    document["training"] |= {"optimizer": {}, "sparsity": {"weight": 2}, "parallel": {"micro": 3}}
    more = {"sparsity": (2.0, 0.0), "micro": 3}
    assert load(document) == Config(layers=("34x34x2", "512", "10"), **more)
    # SLAYER's files have all keys with every type: what the type does not use is not read.
    document["training"]["error"] |= {"type": "SpikeTime", "probSlidingWin": -1, "tgtSpikeRegion": {"start": -9}}
    assert load(document).error == Named("SpikeTimeLoss")
    document["training"]["error"] = {"type": "CrossEntropy"}
    document["simulation"]["tSample"] = 50
    error = Named("CrossEntropyLoss")
    assert load(document) == Config(layers=("34x34x2", "512", "10"), duration=50.0, error=error, **more)


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
    assert (loss.true, loss.false, loss.window, loss.neuron) == (30.0, 3.0, (10.0, 110.5), config.neuron)
    optimizer = config.make_optimizer(net.parameters())
    assert isinstance(optimizer, cs.SGD)
    assert (optimizer.momentum, optimizer.weight_decay) == (0.9, 1e-4)
    assert (optimizer.clip_norm, optimizer.clip_value) == (2.5, 0.25)


def made(config, **options):
    return config.make_optimizer([cs.Tensor([1.0], requires_grad=True)], **options)


DEFAULT = (0.1, True, 30, "cosine")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, DEFAULT),
        ({"type": "SGD"}, (0.01, False, 0, "constant")),
        ({"relative": False}, (0.01, False, 0, "constant")),
        ({"lr": 0.001}, (0.001, False, 0, "constant")),
        ({"schedule": "step"}, (0.1, True, 30, "step")),
        ({"lr": 0.001, "relative": True, "warmup": 4, "schedule": "cosine"}, (0.001, True, 4, "cosine")),
    ],
)
def test_the_rate_of_a_file(document, load, given, expected):
    document["training"]["optimizer"] = given
    config = load(document)
    optimizer = made(config)
    assert (optimizer.base_lr, optimizer.relative, optimizer.warmup) == expected[:3]
    assert config.optimizer.schedule.name.removesuffix("_decay") == expected[3]


@pytest.mark.parametrize(("steps", "warmup"), [(None, 30), (1000, 30), (160, 16), (9, 0)])
def test_the_warm_up_takes_a_tenth_of_a_run_at_most(steps, warmup):
    assert made(Config(), steps=steps).warmup == warmup


@pytest.mark.parametrize(("name", "kind"), [("SGD", cs.SGD), ("Adam", cs.Adam), ("NAdam", cs.optim.NAdam)])
def test_optimizers(name, kind):
    optimizer = made(Config(optimizer=OptimizerConfig(type=name, amsgrad=False, weight_decay=0.5)))
    assert (type(optimizer), optimizer.weight_decay, "peak" in optimizer.memory[0]) == (kind, 0.5, False)
    assert ("peak" in made(Config(optimizer=OptimizerConfig(type=name))).memory[0]) == (name == "Adam")


def test_nadam_as_slayer_has_it():
    for momentum_decay, given, amsgrad in ((None, False, False), (None, True, True), (0.0, True, False)):
        optimizer = OptimizerConfig("NAdam", momentum_decay=momentum_decay, amsgrad=given)
        found = made(load_config(Config(optimizer=optimizer).document()))
        assert (type(found), found.momentum_decay, found.amsgrad) == (cs.optim.NAdam, momentum_decay, amsgrad)


def test_options_override_the_file():
    for before in (OTHER, Config()):
        config = before.with_options(lr=0.5, epochs=2, batch=None, out="x")
        assert config == replace(before, optimizer=before.optimizer.changed(lr=0.5), epochs=2, out="x")
        assert config.optimizer.schedule == before.optimizer.schedule
    assert OTHER.with_options() == OTHER


def test_a_notation_replaces_the_layers():
    """A notation has rows first, the words of a configuration have columns first, as SLAYER's files."""
    slow = Word("7", weight_scale=3.0, neuron=cs.SRM(theta=3.0))
    config = Config(layers=("34x34x2", slow, "10"), epochs=3).with_options(network="30x34x2-4c3-2a-10")
    assert [word.text for word in config.layers] == ["34x30x2", "4c3", "2a", "10"]
    assert not any(word.options() for word in config.layers)
    assert (config.epochs, config.network().input_shape) == (3, (30, 34, 2))
    with refuses("Network: '5q' in '34x34x2-5q' is no layer"):
        Config().with_options(network="34x34x2-5q")


REGION = {"tgtSpikeRegion": {"start": 4, "stop": 11}}
COUNTS_OF_CLASSES = {"tgtSpikeCount": {True: 12, False: 2}, "numSpikesScale": 3.0}


def test_losses_by_their_class_and_as_in_slayers_files():
    srm, window = cs.SRM(dt=0.5, tau_sr=3.0, scale_rho=1.0), (4.0, 11.0)
    s, labels = np.random.default_rng(0).random((30, 2, 3)) < 0.3, [2, 0]
    document = Config(neuron=srm, duration=15.0).document()
    for error, slayers, loss in (
        (
            {"type": "SpikeCountLoss", "true": 12, "false": 2, "window": [4, 11], "countScale": 3, "piecewise": True},
            {"type": "NumSpikes", **REGION, **COUNTS_OF_CLASSES, "probSlidingWin": 20, "piecewise": True},
            cs.SpikeCountLoss(srm, true=12.0, false=2.0, window=window, count_scale=3.0, piecewise=True),
        ),
        (
            {"type": "ProbabilityWindowLoss", "width": 2.5, "window": [4, 11]},
            {"type": "ProbSpikes", **REGION, **COUNTS_OF_CLASSES, "probSlidingWin": 2.5},
            cs.loss.ProbabilityWindowLoss(srm, width=2.5, window=window),
        ),
        (
            {"type": "CrossEntropyLoss", "over": "mean", "window": [4, 11], "weights": [1, "2e0", 1]},
            {"type": "CrossEntropy", "over": "mean", **REGION, "weights": [1, "2e0", 1]},
            cs.CrossEntropyLoss("mean", window=window, dt=0.5, weights=[1, 2, 1]),
        ),
        ({"type": "SpikeRateLoss", "true": 90.0}, None, cs.loss.SpikeRateLoss(srm, true=90)),
    ):
        document["training"]["error"] = error
        config = load_config(document)
        assert config.loss()(s, labels).item() == loss(s, labels).item()
        assert load_config(config.document()) == config
        if slayers is not None:
            document["training"]["error"] = slayers
            assert load_config(document) == config
    document["training"]["error"] = {"type": "SpikeTimeLoss"}
    assert load_config(document).loss()(s, s[::-1]).item() == cs.SpikeTimeLoss(srm)(s, s[::-1]).item()
    # SLAYER's keys, such as those of a sweep, also go before the arguments of a class.
    document["training"]["error"] = {"type": "SpikeCountLoss", "true": 19.0, "tgtSpikeCount": {"true": 17.0}}
    assert load_config(document).error == Named("SpikeCountLoss", {"true": 17.0})


class HalfCount(ClassLoss):
    """A loss of a user."""

    def __init__(self, neuron, share: float = 0.5):
        super().__init__(neuron, None)
        self.share = share


class Halved(cs.SGD):
    """An optimizer of a user."""

    def __init__(self, parameters, lr: float = 0.1, *, share: float = 0.5):
        super().__init__(parameters, lr)
        self.share = share


def test_an_optimizer_and_a_schedule_are_found_by_name():
    document = Config().document()
    section = {"type": "Halved", "lr": "1e-2", "share": "25e-2", "schedule": {"type": "cosine_decay", "steps": 4}}
    document["training"]["optimizer"] = section
    config = load_config(document)
    assert load_config(config.document()) == config
    optimizer = made(config)
    assert (type(optimizer), optimizer.share, optimizer.lr) == (Halved, 0.25, 0.01)
    optimizer.steps = 2
    assert optimizer.lr == pytest.approx(0.005)


def test_a_loss_of_a_user_is_found_by_its_name():
    document = Config().document()
    document["training"]["error"] = {"type": "HalfCount", "share": "25e-2"}
    loss = load_config(document).loss()
    assert (type(loss), loss.share, loss.neuron) == (HalfCount, 0.25, Config().neuron)


# Params: a YAML file by item and by attribute; SLAYER's own example files.

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
    assert config.neuron == (cs.Loihi() if "auto" in name else cs.SRM())
    assert config.duration == EXAMPLES[name]["simulation"]["tSample"]
    assert load_config(config.document()) == config
    if "layer" in EXAMPLES[name]:
        assert config.layers == tuple(Word(str(layer["dim"])) for layer in EXAMPLES[name]["layer"])
        assert len(config.network().parameters()) == len(config.layers) - 1
    else:
        with refuses("Config: layer is missing: the configuration has no network"):
            config.network()


def test_items_and_attributes_are_the_same():
    params = Params(EXAMPLES["nmnist"])
    assert params.simulation.Ts == params["simulation"]["Ts"] == 1.0
    assert params.training.path["in"] == "NMNISTsmall/"
    assert params.training.error.tgtSpikeCount[True] == 60
    params.training.learning = {"etaW": 0.1}
    params["training"]["learning"]["etaW"] = 0.01
    assert params.training.learning.etaW == 0.01
    assert [layer.dim for layer in Params(EXAMPLES["oxford"]).layer] == [200, 256, 200]
    assert (len(params), "neuron" in params, params.get("layer", "none")) == (3, True, "none")
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


def test_errors_name_what_is_missing(tmp_path):
    params = Params(EXAMPLES["oxford"])
    with pytest.raises(KeyError, match="Params: 'simulatoin' is missing; did you mean simulation"):
        params["simulatoin"]
    with pytest.raises(AttributeError, match="Params: 'tauSR' is missing; did you mean tauSr"):
        _ = params.neuron.tauSR
    assert not hasattr(params, "_anything")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(TypeError, match=r"Params: .*list\.yaml must hold a mapping, got list"):
        Params(tmp_path / "list.yaml")


# The configurations by name: each is read and builds the network of its data set.

# test_sound_run.py has that of sounds.
EVERY = [name for name in named_configs() if not name.startswith("spoken")]
LISTED = ", ".join(named_configs())
OF_DIGITS = "digits", "digits-residual"
# The duration of recordings, ms, where a configuration reads their beginning.
SHORTER = {"digits-residual": 100.0}
# Files of arrays say what they hold.
IN_TIME = {"braille": (12, 27, 77.0), "braille-spikes": (96, 27, 77.0), "qtdb": (4, 6, 1301.0)}
IN_TIME |= dict.fromkeys(("fashion-mnist", "fashion-mnist-residual", "mnist"), ((28, 28, 1), 10, 4.0))
IN_TIME |= {"smnist": (1, 10, 784.0), "psmnist": (1, 10, 784.0)}
IN_TIME |= {"yin-yang": (5, 3, 45.0), "latency-mnist": (784, 10, 60.0)}
# The steps, ms, that are not 1.
STEPS = {"smnist": 10.0, "psmnist": 10.0, "yin-yang": 0.2, "latency-mnist": 0.5}


def test_there_is_one_for_each_data_set():
    assert sorted((*set(NAMES) - {"arrays"}, *OF_DIGITS, "fashion-mnist-residual")) == sorted(EVERY)
    folder = Path(__file__).parents[2] / "examples" / "configs"
    assert {path.name for path in folder.iterdir()} == {f"{name}.yaml" for name in named_configs()}


@pytest.mark.parametrize("name", EVERY)
def test_a_configuration_fits_its_data_set(name):
    config = load_config(name)
    net = config.network()
    if name in IN_TIME:
        inputs, classes, duration = IN_TIME[name]
        shape = inputs if isinstance(inputs, tuple) else (inputs,)
    else:
        known = Digits if name in OF_DIGITS else _KNOWN[name]
        shape, classes, duration = tuple(known.shape), known.classes, SHORTER.get(name, known.duration)
    assert net.input_shape == shape
    assert net(np.zeros((1, 1, *net.input_shape), bool)).shape == (1, 1, classes)
    assert config.dataset == (None if name in OF_DIGITS else name.removesuffix("-residual"))
    assert config.data is None
    dt = STEPS.get(name, 1.0)
    steps = dt if name.endswith("smnist") else 1.0  # a pixel a step
    assert (config.neuron.dt, config.duration) == (dt, duration * steps)
    assert load_config(yaml.safe_load(config.to_yaml())).document() == config.document()


def test_the_default_configuration_is_that_of_the_digits():
    assert load_config("digits") == Config()


def test_a_known_data_set_is_loaded_from_the_folder_of_tonic(monkeypatch, tmp_path):
    fake_tonic.install(monkeypatch)
    cs.data.load("shd", tmp_path, download=True)
    config = load_config("shd").with_options(data=str(tmp_path), network="700-20")
    config = replace(config, duration=50.0, error=Named("SpikeCountLoss", {"true": 20.0, "false": 2.0}), batch=16)
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
    with pytest.raises(ValueError, match=r"^shd needs --data ROOT, the folder in which tonic keeps its data sets$"):
        load_data(config, config.network())


def test_a_file_in_the_working_directory_comes_first(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    Path("nmnist").mkdir()  # a folder of data may have the name
    assert load_config("nmnist").dataset == "nmnist"
    Path("shd").write_text(Config(epochs=77).to_yaml())
    assert load_config("shd").epochs == 77


def test_unknown_names_raise():
    for name, hint in (("shdd", "; did you mean shd?"), ("emnist", "; did you mean mnist?"), ("net_yaml", "")):
        with refuses(f"load_config: {name!r} is no file, nor one of the configurations {LISTED}", hint):
            load_config(name)
    for path in ("shd.yaml", Path("shd")):
        with refuses(f"load_config: {path} is no file"):
            load_config(path)


def test_paths_of_a_known_data_set(tmp_path):
    def given(**paths):
        document = yaml.safe_load(Config().to_yaml())
        document["training"]["path"] = paths
        return document

    assert load_config(given(**{"dataset": "ssc", "in": "data"})).data == "data"
    with refuses("load_config: training.path.dataset must be one of cifar10dvs, dvsgesture, nmnist,"):
        load_config(given(dataset="shdd"))
    with refuses("load_config: training.path.train is for a folder of recordings, training.path.dataset is shd"):
        load_config(given(dataset="shd", train="train.txt"))
    with refuses("load_config: training.path.dataset must be one of cifar10dvs, dvsgesture, nmnist,"):
        load_config(given(dataset=3))
