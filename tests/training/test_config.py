"""The configuration: SLAYER's keys, round trips, and errors that name the key."""

from __future__ import annotations

import copy
from dataclasses import fields

import numpy as np
import pytest
import yaml

import cuslayer as cs
from cuslayer.network.notation import Word
from cuslayer.training import Config, load_config
from cuslayer.training.config import OptimizerConfig

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


def put(document, path, value):
    """Set the value at a path of keys, or remove the key if the value is None."""
    *outer, last = path
    for key in outer:
        document = document[key]
    if value is None:
        del document[last]
    else:
        document[last] = value


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


def test_round_trip_of_every_key(load):
    assert load(OTHER.to_yaml()) == OTHER
    assert load(Config().to_yaml()) == Config()


@pytest.mark.parametrize("schedule", ["constant", "step", "cosine"])
@pytest.mark.parametrize("optimizer", ["SGD", "Adam", "NAdam"])
def test_round_trip_of_every_choice(load, optimizer, schedule):
    config = Config(optimizer=OptimizerConfig(type=optimizer, schedule=schedule))
    assert load(config.to_yaml()) == config


def test_round_trip_of_spike_time(load):
    config = Config(error="SpikeTime", layers=("200", "256", "200"), duration=1900.0, data="oxford", batch=1)
    text = config.to_yaml()
    assert "tgtSpike" not in text
    assert load(text) == config
    assert isinstance(load(text).loss(), cs.SpikeTimeLoss)


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
    for key in ("nSample",):
        del document["simulation"][key]
    del document["training"]["path"]
    document["training"]["optimizer"] = {}
    config = load(document)
    assert config == Config(layers=("34x34x2", "512", "10"))


def test_an_empty_key_is_missing_not_none(load):
    with pytest.raises(ValueError, match=r"neuron\.theta is missing"):
        load(SLAYER.replace("theta:    10\n", "theta:\n"))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        (("simulation",), "simulation"),
        (("neuron",), "neuron"),
        (("training",), "training"),
        (("simulation", "Ts"), r"simulation\.Ts"),
        (("simulation", "tSample"), r"simulation\.tSample"),
        (("neuron", "type"), r"neuron\.type"),
        (("neuron", "theta"), r"neuron\.theta"),
        (("neuron", "tauSr"), r"neuron\.tauSr"),
        (("neuron", "tauRef"), r"neuron\.tauRef"),
        (("neuron", "scaleRef"), r"neuron\.scaleRef"),
        (("neuron", "tauRho"), r"neuron\.tauRho"),
        (("neuron", "scaleRho"), r"neuron\.scaleRho"),
        (("layer", 1, "dim"), r"layer\[1\]\.dim"),
        (("training", "error"), r"training\.error"),
        (("training", "error", "type"), r"training\.error\.type"),
        (("training", "error", "tgtSpikeRegion"), r"training\.error\.tgtSpikeRegion"),
        (("training", "error", "tgtSpikeRegion", "start"), r"training\.error\.tgtSpikeRegion\.start"),
        (("training", "error", "tgtSpikeRegion", "stop"), r"training\.error\.tgtSpikeRegion\.stop"),
        (("training", "error", "tgtSpikeCount"), r"training\.error\.tgtSpikeCount"),
        (("training", "error", "tgtSpikeCount", True), r"training\.error\.tgtSpikeCount\.true"),
        (("training", "error", "tgtSpikeCount", False), r"training\.error\.tgtSpikeCount\.false"),
    ],
)
def test_the_error_names_a_missing_key(load, document, path, name):
    put(document, path, None)
    with pytest.raises(ValueError, match=rf"^load_config: .*network\.yaml: {name} is missing(; a file with |$)"):
        load(document)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (("simulatoin",), "simulatoin is an unknown key; did you mean simulation"),
        (("simulation", "tsample"), r"simulation\.tsample is an unknown key; did you mean tSample"),
        (("neuron", "thetta"), r"neuron\.thetta is an unknown key; did you mean theta"),
        (("neuron", "tau_sr"), r"neuron\.tau_sr is an unknown key; did you mean tauSr"),
        (("layer", 1, "dims"), r"layer\[1\]\.dims is an unknown key; did you mean dim"),
        (("training", "epoch"), r"training\.epoch is an unknown key; did you mean epochs"),
        (("training", "error", "tgtSpikeCuont"), "tgtSpikeCuont is an unknown key; did you mean tgtSpikeCount"),
        (("training", "error", "tgtSpikeRegion", "end"), r"tgtSpikeRegion\.end is an unknown key"),
        (("training", "error", "tgtSpikeCount", "flase"), r"tgtSpikeCount\.flase is an unknown key; did you mean"),
        (("training", "path", "tran"), r"training\.path\.tran is an unknown key; did you mean train"),
        (("training", "zzz"), r"training\.zzz is an unknown key$"),
    ],
)
def test_the_error_of_an_unknown_key_names_the_nearest(load, document, path, message):
    put(document, path, 1)
    with pytest.raises(ValueError, match=message):
        load(document)


def test_an_unknown_key_of_the_optimizer(load):
    with pytest.raises(ValueError, match=r"training\.optimizer\.weight_decay .*; did you mean weightDecay"):
        load(SLAYER + "    optimizer: {weight_decay: 0.1}\n")


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("simulation",), [1], "simulation must be a mapping, got list"),
        (("simulation", "Ts"), "one", r"simulation\.Ts must be a number, got str"),
        (("simulation", "Ts"), True, r"simulation\.Ts must be a number, got bool"),
        (("simulation", "nSample"), 1.5, r"simulation\.nSample must be an integer, got float"),
        (("neuron", "theta"), [10], r"neuron\.theta must be a number, got list"),
        (("layer", 0), "34x34x2", r"layer\[0\] must be a mapping, got str"),
        (("training", "error", "tgtSpikeCount"), 60, r"tgtSpikeCount must be a mapping, got int"),
        (("training", "error", "tgtSpikeRegion"), [0, 300], r"tgtSpikeRegion must be a mapping, got list"),
        (("training", "error", "piecewise"), 1, r"training\.error\.piecewise must be true or false, got 1"),
        (("training", "batch"), "many", r"training\.batch must be an integer, got str"),
        (("training", "path"), "here", r"training\.path must be a mapping, got str"),
        (("training", "path", "in"), 7, r"training\.path\.in must be a path, got 7"),
        (("training", "optimizer"), {"amsgrad": 1}, r"training\.optimizer\.amsgrad must be true or false, got 1"),
        (("training", "optimizer"), "Adam", r"training\.optimizer must be a mapping, got str"),
        (("training", "optimizer"), {"every": 0.5}, r"training\.optimizer\.every must be an integer, got float"),
    ],
)
def test_a_value_of_the_wrong_type(load, document, path, value, message):
    put(document, path, value)
    with pytest.raises(TypeError, match=message):
        load(document)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("simulation", "Ts"), -1, r"simulation\.Ts must be positive, got -1"),
        (("simulation", "Ts"), 0, r"simulation\.Ts must be positive, got 0"),
        (("simulation", "tSample"), float("nan"), r"simulation\.tSample must be finite, got nan"),
        (("simulation", "nSample"), 0, r"simulation\.nSample must be at least 1, got 0"),
        (
            ("neuron", "type"),
            "IF",
            r"neuron\.type must be one of SRMALPHA, SIGMADELTA, RESONATE, LOIHI, LIF, CUBA, ALIF, got 'IF'",
        ),
        (("neuron", "theta"), 0, r"neuron\.theta must be positive, got 0"),
        (("neuron", "theta"), "inf", r"neuron\.theta must be finite, got inf"),
        (("neuron", "scaleRef"), -1, r"neuron\.scaleRef must not be negative, got -1"),
        (("neuron", "gradient"), "exakt", r"neuron\.gradient must be one of .*; did you mean exact"),
        (("neuron", "cutoff"), -1, r"neuron\.cutoff must not be negative, got -1"),
        (("neuron", "refCutoff"), -1, r"neuron\.refCutoff must not be negative, got -1"),
        (("layer",), "34x34x2-10", "layer must be a list of an input and at least one layer"),
        (("layer",), [{"dim": "34x34x2"}], "layer must be a list of an input and at least one layer"),
        (("training", "error", "type"), "NumSpike", r"training\.error\.type must be .*; did you mean NumSpikes"),
        (("training", "error", "tgtSpikeRegion", "start"), -1, r"tgtSpikeRegion\.start must not be negative"),
        (("training", "error", "tgtSpikeRegion", "stop"), 0, r"tgtSpikeRegion\.stop must be positive"),
        (("training", "error", "tgtSpikeCount", True), -1, r"tgtSpikeCount\.true must not be negative"),
        (("training", "error", "tgtSpikeCount", False), -1, r"tgtSpikeCount\.false must not be negative"),
        (("training", "error", "numSpikesScale"), 0, r"training\.error\.numSpikesScale must be positive, got 0"),
        (("training", "epochs"), 0, r"training\.epochs must be at least 1, got 0"),
        (("training", "batch"), -2, r"training\.batch must be at least 1, got -2"),
        (("training", "seed"), -1, r"training\.seed must be at least 0, got -1"),
        (("training", "optimizer"), {"type": "adam"}, r"training\.optimizer\.type must be .*; did you mean Adam"),
        (("training", "optimizer"), {"lr": 0}, r"training\.optimizer\.lr must be positive, got 0"),
        (("training", "optimizer"), {"momentum": 1}, r"training\.optimizer\.momentum must lie in \[0, 1\), got 1"),
        (("training", "optimizer"), {"weightDecay": -1}, r"optimizer\.weightDecay must not be negative"),
        (("training", "optimizer"), {"schedule": "stepp"}, r"optimizer\.schedule must be .*; did you mean step"),
        (("training", "optimizer"), {"every": 0}, r"training\.optimizer\.every must be at least 1, got 0"),
        (("training", "optimizer"), {"factor": 0}, r"training\.optimizer\.factor must be positive, got 0"),
    ],
)
def test_a_value_out_of_range(load, document, path, value, message):
    put(document, path, value)
    with pytest.raises(ValueError, match=message):
        load(document)


@pytest.mark.parametrize("text", ["neuron: {theta: 10", "a: b: c", "\t- x", "a: *nowhere", "!!python/object:os.x {}"])
def test_broken_yaml(load, text):
    with pytest.raises(ValueError, match=r"^load_config: [^\n]*network\.yaml is no YAML: [^\n]+$"):
        load(text)


def test_an_empty_document(load):
    with pytest.raises(TypeError, match="the document must be a mapping, got NoneType"):
        load("")


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


@pytest.mark.parametrize(
    ("schedule", "rates"),
    [("constant", [0.1, 0.1, 0.1, 0.1]), ("step", [0.1, 0.1, 0.05, 0.05]), ("cosine", [0.1, 0.05, 0.0, 0.0])],
)
def test_schedules(schedule, rates):
    config = Config(epochs=2, optimizer=OptimizerConfig(lr=0.1, schedule=schedule, every=2, factor=0.5))
    optimizer = config.make_optimizer([cs.Tensor([1.0], requires_grad=True)])
    found = []
    for optimizer.epoch in range(4):
        found.append(optimizer.lr)
    assert found == pytest.approx(rates)


@pytest.mark.parametrize(("name", "kind"), [("SGD", cs.SGD), ("Adam", cs.Adam), ("NAdam", cs.NAdam)])
def test_optimizers(name, kind):
    options = OptimizerConfig(type=name, amsgrad=False, weight_decay=0.5)
    optimizer = Config(optimizer=options).make_optimizer([cs.Tensor([1.0], requires_grad=True)])
    assert type(optimizer) is kind
    assert optimizer.weight_decay == 0.5
    assert "peak" not in optimizer.memory[0]


def test_options_override_the_file():
    config = OTHER.with_options(lr=0.5, epochs=2, batch=None, out="x")
    assert (config.optimizer.lr, config.epochs, config.batch, config.out) == (0.5, 2, OTHER.batch, "x")
    assert config.optimizer.type == "SGD"
    assert OTHER.with_options() == OTHER


@pytest.mark.parametrize("amsgrad", [True, False])
def test_amsgrad_is_passed_to_adam(amsgrad):
    config = Config(optimizer=OptimizerConfig(amsgrad=amsgrad))
    optimizer = config.make_optimizer([cs.Tensor([1.0], requires_grad=True)])
    assert ("peak" in optimizer.memory[0]) == amsgrad


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
