"""What a newcomer does wrong in the first hour: each mistake is an error of one line that says what to do."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Arrays, Digits, Events, Loader, open_folder, read_counts, write_counts
from cuslayer.training import Config, Params, Trainer

RNG = np.random.default_rng(0)
SRM = cs.SRM()
NET = cs.Network("20-8-3", SRM)
LOSS = cs.SpikeCountLoss(SRM, true=5, false=1)
OPTIMIZER = cs.SGD(NET.parameters())
X, LABELS = RNG.random((50, 4, 20)) < 0.1, np.array([0, 1, 2, 0])
ONE = Events([1.0], [1], None, [0])
PAIRS = "batches must be pairs (x, target), such as a Loader has, got"
TIME = "they are as many as steps: time is the first axis of a network's input, (T, N, ...)"
EVENTS = "Events; events.to_spikes(shape, steps)[:, None] is a batch of one"
TRAINS = "target must be spike trains of shape (50, 4, 3), got shape (4,); for classes take SpikeCountLoss"
ARRAY = "network: x must be an array (T, N, ...), got"


def out():
    return NET(X)


def seen(layer):
    with cs.record(NET) as found:
        NET(X)
    return found[layer]


def trainer():
    return Trainer(NET, LOSS, OPTIMIZER)


LAYERS = "its layers are 0 Dense(20, 8), 1 SRM, 2 Dense(8, 3), 3 SRM"

MISTAKES = {
    # The order of axes, and missing axes.
    "batch first": (
        ValueError,
        lambda: LOSS(NET(X.swapaxes(0, 1)), LABELS),
        f"SpikeCountLoss: labels have shape (4,), spikes ('T', 50, 3) expect (50,) or (50, 3); {TIME}",
    ),
    "no batch axis, dense": (
        ValueError,
        lambda: cs.Dense(20, 3)(X[:, 0]),
        "dense: x must be (T, N, C), got shape (50, 20); one sample needs a batch axis, x[:, None]",
    ),
    "no batch axis, convolution": (
        ValueError,
        lambda: cs.Conv(2, 3, 3)(np.zeros((5, 6, 6, 2), bool)),
        "conv: x must be (T, N, H, W, C), got shape (5, 6, 6, 2); one sample needs a batch axis, x[:, None]",
    ),
    "no batch axis, loss": (
        ValueError,
        lambda: LOSS(out()[:, 0], [0]),
        "SpikeCountLoss: spikes must be (T, N, C), got shape (50, 3); one sample needs a batch axis, spikes[:, None]",
    ),
    "channels first": (
        ValueError,
        lambda: cs.Conv(2, 3, 3)(np.zeros((5, 1, 2, 6, 6), bool)),
        "conv: x has 6 channels, weight expects 2; channels come last, np.moveaxis(x, 2, -1)",
    ),
    # What is no array.
    "a path": (TypeError, lambda: NET("x.npy"), f"{ARRAY} the path 'x.npy'; read the file first"),
    "nothing": (TypeError, lambda: NET(None), f"{ARRAY} None"),
    "events": (
        TypeError,
        lambda: NET(ONE),
        f"{ARRAY} Events; events.to_spikes(shape, steps)[:, None] is a batch of one",
    ),
    "events in a list": (
        TypeError,
        lambda: NET([ONE, ONE]),
        f"{ARRAY} {EVENTS}",
    ),
    "a batch": (
        TypeError,
        lambda: NET((X, LABELS)),
        f"{ARRAY} a pair; a batch of a Loader is unpacked, as in for x, labels in loader",
    ),
    "a loader": (
        TypeError,
        lambda: NET(Loader(Digits("test"), 4, steps=3)),
        f"{ARRAY} Loader; iterate over its batches, as in for x, labels in loader",
    ),
    "unequal rows": (ValueError, lambda: NET([[[1, 2], [1]]]), f"{ARRAY} rows of unequal length"),
    "events as an array": (
        TypeError,
        lambda: np.asarray(ONE),
        "Events: a recording is no array; to_spikes(shape, steps) makes one, (T, H, W, C) or (T, C)",
    ),
    # Losses.
    "labels as numbers": (
        TypeError,
        lambda: LOSS(out(), LABELS.astype(float)),
        "SpikeCountLoss: labels must be integers, got float64; labels.astype(int) converts them",
    ),
    "no labels": (
        TypeError,
        lambda: LOSS(out(), None),
        "SpikeCountLoss: labels must be (N,) integers or one-hot (N, classes), got None",
    ),
    "swapped arguments": (
        ValueError,
        lambda: LOSS(LABELS, out()),
        "SpikeCountLoss: the spikes come first, then the labels, got shapes (4,), (50, 4, 3)",
    ),
    "swapped one-hot labels": (
        ValueError,
        lambda: LOSS(np.eye(3)[LABELS], out()),
        "SpikeCountLoss: the spikes come first, then the labels, got shapes (4, 3), (50, 4, 3)",
    ),
    "classes for spike times": (
        ValueError,
        lambda: cs.SpikeTimeLoss(SRM)(out(), LABELS),
        f"SpikeTimeLoss: {TRAINS}",
    ),
    "a region in steps": (
        ValueError,
        lambda: cs.SpikeCountLoss(cs.SRM(dt=0.5), region=(0, 50))(out(), LABELS),
        "SpikeCountLoss: region reaches to 50 ms, the spikes end at 25 ms",
    ),
    "a region in seconds": (
        ValueError,
        lambda: cs.SpikeCountLoss(SRM, region=(0, 0.3)),
        "SpikeCountLoss: region must hold a step of 1 ms, got 0 to 0.3 ms",
    ),
    # Classes for objects, and networks.
    "a class for a loss": (
        TypeError,
        lambda: cs.SpikeCountLoss(cs.SRM),
        "SpikeCountLoss: neuron must be a neuron, got the class SRM; write SRM()",
    ),
    "a class for a network": (
        TypeError,
        lambda: cs.Network("20-3", cs.SRM),
        "Network: neuron must be a neuron, got the class SRM; write SRM()",
    ),
    "a class as a layer": (
        TypeError,
        lambda: cs.Sequential(cs.Dense(20, 3), cs.SRM),
        "Sequential: layer 1 is the class SRM; write SRM(...)",
    ),
    "a list of layers": (
        TypeError,
        lambda: cs.Sequential([cs.Dense(20, 3), SRM]),
        "Sequential: layer 0 must be callable, got list; write Sequential(*stages)",
    ),
    "a list of sizes": (
        TypeError,
        lambda: cs.Network([20, 3], SRM),
        "Network: notation must be a string or words, got list; such a string is '34x34x2-16c5-2a-10'",
    ),
    "layers in one string": (
        TypeError,
        lambda: Config(layers="34x34x2-10"),
        "Config: layers must be a tuple of words, got '34x34x2-10'",
    ),
    # Training.
    "a data set for batches": (
        TypeError,
        lambda: trainer().train(Digits("test")),
        f"Trainer: {PAIRS} the data set Digits; make batches of it by Loader(dataset, batch, steps=...)",
    ),
    "one batch": (TypeError, lambda: trainer().train((X, LABELS)), f"Trainer: {PAIRS} one batch; write [(x, target)]"),
    "an array": (
        TypeError,
        lambda: trainer().test(X),
        f"Trainer: {PAIRS} ndarray; write [(x, target)] for one batch",
    ),
    "a path to batches": (TypeError, lambda: trainer().test("data"), f"Trainer: {PAIRS} the path 'data'"),
    "no batches": (TypeError, lambda: trainer().test(3), f"Trainer: {PAIRS} int"),
    "batches without targets": (
        TypeError,
        lambda: trainer().train([X]),
        "Trainer: a batch must be a pair (x, target), got ndarray",
    ),
    "three parts": (
        TypeError,
        lambda: cs.health(NET, [(X, LABELS, 1)]),
        "health: a batch must be a pair (x, target), got tuple of 3",
    ),
    "health of arrays": (
        TypeError,
        lambda: cs.health(NET, Arrays(X.swapaxes(0, 1), LABELS)),
        f"health: {PAIRS} the data set Arrays; make batches of it by Loader(dataset, batch, steps=...)",
    ),
    "swapped for a trainer": (
        TypeError,
        lambda: Trainer(LOSS, NET, OPTIMIZER),
        "Trainer: net must be a Network or Sequential, got SpikeCountLoss",
    ),
    "a word for a loss": (
        TypeError,
        lambda: Trainer(NET, "NumSpikes", OPTIMIZER),
        "Trainer: loss must be a function of spikes and target, got str",
    ),
    "parameters for an optimizer": (
        TypeError,
        lambda: Trainer(NET, LOSS, NET.parameters()),
        "Trainer: optimizer must be an optimizer, such as Adam, got list",
    ),
    # Paths.
    "read a number": (TypeError, lambda: cs.read_events(3), "read_events: path must be a path, got int"),
    "swapped for a file": (
        TypeError,
        lambda: cs.write_events(ONE, "a.bs1"),
        "write_events: path must be a path, got Events",
    ),
    "read counts of None": (TypeError, lambda: read_counts(None), "read_counts: path must be a path, got NoneType"),
    "write counts to None": (
        TypeError,
        lambda: write_counts(None, 3),
        "write_counts: path must be a path, got NoneType",
    ),
    "a folder of None": (TypeError, lambda: open_folder(None), "open_folder: folder must be a path, got NoneType"),
    "a configuration of None": (
        TypeError,
        lambda: cs.load_config(None),
        "load_config: source must be a path, got NoneType",
    ),
    "parameters of a number": (TypeError, lambda: Params(3), "Params: source must be a path, got int"),
    "no polarities": (
        TypeError,
        lambda: Events([1.0], [1], [1], None),
        "Events: p must be given for events in 2-D, the polarities from 0",
    ),
    # Sizes that do not fit.
    "sizes": (
        ValueError,
        lambda: cs.Sequential(cs.Dense(20, 8), SRM, cs.Dense(7, 3), SRM),
        "Sequential: layer 2, Dense(7, 3), does not fit what is before it: dense: x has 8 features, weight expects 7",
    ),
    "channels": (
        ValueError,
        lambda: cs.Sequential(cs.Conv(2, 16, 5), SRM, cs.Pool(2, 11), cs.Conv(8, 4, 3)),
        "Sequential: layer 3, Conv(8, 4, (3, 3)), does not fit what is before it: conv: x has 16 channels, weight "
        "expects 8",
    ),
    "more spikes than steps": (
        ValueError,
        lambda: cs.SpikeCountLoss(SRM, true=500)(np.zeros((50, 1, 3), bool), [0]),
        "SpikeCountLoss: true must be at most 50, a spike in each step of the input, got 500",
    ),
    "more spikes than steps of a region": (
        ValueError,
        lambda: cs.SpikeCountLoss(SRM, true=60, region=(10, 40))(np.zeros((50, 1, 3), bool), [0]),
        "SpikeCountLoss: true must be at most 30, a spike in each step of the region, got 60",
    ),
    "fewer spikes than the others": (
        ValueError,
        lambda: cs.SpikeCountLoss(SRM, true=5),
        "SpikeCountLoss: true must be at least false, 10, got 5",
    ),
    "a lower rate than the others": (
        ValueError,
        lambda: cs.SpikeRateLoss(SRM, true=20),
        "SpikeRateLoss: true must be at least false, 30, got 20",
    ),
    # Names of PyTorch.
    "eval": (
        AttributeError,
        lambda: NET.eval(),
        "Network: eval is PyTorch's; net.train(False) is evaluation, net.train() training",
    ),
    "learning_rate": (
        TypeError,
        lambda: cs.Adam(NET.parameters(), learning_rate=0.1),
        "Adam: got an unexpected keyword argument 'learning_rate'; it is lr here",
    ),
    "batch_size": (
        TypeError,
        lambda: Loader(Digits("test"), batch_size=10),
        "Loader: got an unexpected keyword argument 'batch_size'; it is batch here",
    ),
    "beta": (
        TypeError,
        lambda: cs.NAdam(NET.parameters(), beta=(0.9, 0.99)),
        "NAdam: got an unexpected keyword argument 'beta'; did you mean betas?",
    ),
    "nn": (
        AttributeError,
        lambda: cs.nn,
        "cuslayer: nn is elsewhere; layers, neurons and losses are in cs itself, as cs.Dense",
    ),
    # Indices and names.
    "a layer out of range": (IndexError, lambda: seen(9), f"record: layer must be under 4, got 9; {LAYERS}"),
    "a layer before the first": (IndexError, lambda: seen(-5), f"record: layer must be under 4, got -5; {LAYERS}"),
    "a layer of another network": (
        ValueError,
        lambda: seen(cs.Dense(8, 3)),
        f"record: layer Dense(8, 3) is none of the network's; {LAYERS}",
    ),
    "health out of range": (
        IndexError,
        lambda: cs.health(NET, [(X, LABELS)])[9],
        "health: neurons stand at 1, 3, got 9",
    ),
    "a sample out of range": (
        IndexError,
        lambda: Digits("test")[360],
        "Digits: index must lie within 360 samples, got 360",
    ),
    "several samples": (
        TypeError,
        lambda: Digits("test")[:3],
        "Digits: index must be an integer, got slice; Subset(data, range(...)) takes several",
    ),
    "an array of another name": (
        AttributeError,
        lambda: seen(1).potentials,
        "record: 'potentials' is none of weighted, potential, spikes, filtered, refractory, surrogate, spikes_error, "
        "weighted_error, potential_error; did you mean potential?",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_explained_in_one_line(mistake):
    kind, make, message = MISTAKES[mistake]
    with pytest.raises(kind, match="^" + re.escape(message) + "$") as found:
        make()
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("make", [
    lambda: Params({"layer": [1]}).layer[9], lambda: Config().layers[9], lambda: cs.Stats().epochs[0],
    lambda: cs.GradientFlow(NET).epochs[3], lambda: ONE[1], lambda: Loader(Digits("test"), 4, steps=3)[90],
    lambda: cs.explain(NET, X, 9, 0, 0), lambda: cs.explain(NET, X, 1, 8, 0), lambda: cs.explain(NET, X, 1, 0, 50),
    lambda: cs.explain(NET, X, 1, 0, -1), lambda: cs.explain(NET, X, 1, 0, 0, sample=4), lambda: seen(1).spikes[50],
])  # fmt: skip
def test_an_index_out_of_range_is_an_index_error(make):
    with pytest.raises(IndexError):
        make()


def test_a_loader_of_another_step_warns():
    loader = Loader(Arrays(X.swapaxes(0, 1), LABELS), 4, dt=0.5)
    message = r"^Trainer: the loader has a dt of 0.5 ms, the neuron of the loss one of 1 ms$"
    for run in (trainer().train, trainer().test):
        with pytest.warns(UserWarning, match=message) as found:
            run(loader)
        assert found[0].filename == __file__


def test_warnings_name_the_callers_line_through_the_library():
    recordings = [Events([time], [1], None, [0]) for time in (10.0, 900.0)]
    loader = Loader(Arrays(recordings, [0, 1], shape=20, classes=3), 2, steps=50)
    with pytest.warns(UserWarning, match="past the window") as found:
        trainer().train(loader)
    assert os.path.basename(found[0].filename) == "test_first_hour.py"
