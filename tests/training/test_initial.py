"""The calibration of a trainer: when it happens, the rate of the output, and its place in files and runs."""

from __future__ import annotations

import dataclasses
import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.layers.base import Layer
from cuslayer.training import Config, Trainer, train
from cuslayer.training.checkpoint import load_checkpoint
from tests.support.refused import refuses
from tests.support.tiny import COUNTS, no_figures, write_folder

SRM = cs.SRM(tau_sr=4.0)
RNG = np.random.default_rng(0)
X, LABELS = RNG.random((60, 8, 8, 8, 2)) < 0.1, np.arange(8) % 2
BATCH = (X, LABELS)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    no_figures(monkeypatch)


def network(notation="8x8x2-2a-6-2", neuron=SRM):
    cs.seed(1)
    return cs.Network(notation, neuron)


def trainer(net, loss=None, **options):
    loss = loss or cs.SpikeCountLoss(SRM, true=5, false=1)
    return Trainer(net, loss, cs.SGD(net.parameters(), 0.0), **options)


def wanted(net, loss=None, batch=BATCH, **options):
    """Return the rates in Hz that a trainer sets, by layer."""
    return [row.wanted for row in trainer(net, loss, **options).prepare([batch]).layers]


def test_the_first_step_has_calibrated_weights():
    net, other = network(), network()
    t = trainer(net)
    t.train([BATCH])
    found = cs.calibrate(other, [BATCH], 30, output_rate=1000 * 3 / 60)
    assert t.calibration == found
    assert [p.data.tobytes() for p in net.parameters()] == [p.data.tobytes() for p in other.parameters()]
    assert net[0].gain == other[0].gain != SRM.pool_gain


def test_a_network_is_calibrated_once():
    net = network()
    t = trainer(net)
    first = t.prepare([BATCH])
    state = net.state()
    assert t.prepare([BATCH]) is first
    t.train([BATCH])
    t.train([BATCH])
    assert t.calibration is first
    assert trainer(net).prepare([BATCH]) is None
    assert all((a == state[name]).all() for name, a in net.state().items())


def set_weight(net):
    net[2].weight.data[0, 0] += 1.0


def loaded(net):
    cs.seed(2)
    net.load_state(cs.Network("8x8x2-2a-6-2", SRM).state())


KEPT = {
    "a weight was set": (set_weight, 30.0, 0),
    "a state was loaded": (loaded, 30.0, 0),
    "calibrated before": (lambda net: cs.calibrate(net, [BATCH]), 30.0, 0),
    "turned off": (lambda net: None, None, 0),
    "a trained optimizer": (lambda net: None, 30.0, 1),
}


@pytest.mark.parametrize("why", KEPT)
def test_weights_that_are_not_calibrated(why):
    """The trainer says it, once, if only some were set."""
    net, (change, calibrate, steps) = network(), KEPT[why]
    change(net)
    state, said = net.state(), []
    t = trainer(net, calibrate=calibrate, log=said.append)
    t.optimizer.steps = steps
    assert t.prepare([BATCH]) is None
    t.train([BATCH])
    assert t.calibration is None
    lines = ["Trainer: weights of layer 2 were set or loaded, so none is scaled"] if why == "a weight was set" else []
    assert [line.partition(";")[0] for line in said] == lines
    assert all((a == state[name]).all() for name, a in net.state().items())


@pytest.mark.all
def test_what_was_set_by_hand_is_kept():
    cs.seed(1)
    own = cs.Sequential(
        *(cs.Conv(2, 3, 3, weight_scale=7.0), SRM, cs.SumPool(2, gain=3.0), SRM, cs.SumPool(1, gain=11.0), SRM),
        *(cs.Dense((3, 3, 3), 6), SRM, cs.Dense(6, 4), SRM, cs.Dense(4, 2), SRM),
    )
    own[8].weight.requires_grad = False
    before = own.state()
    found = trainer(own).prepare([BATCH])
    assert [row.scaled for row in found.layers] == [False, False, True, True, False, True]
    after = own.state()
    same = [name for name, a in before.items() if (a == after[name]).all()]
    assert same == ["0.weight", "8.weight", "2.gain"]
    assert not own[8].weight.requires_grad


def test_the_usual_gain_up_to_rounding():
    srm = cs.SRM(theta=3.0)
    assert srm.pool_gain != 3.3
    for gain, scaled in ((3.3, True), (3.2, False)):
        net = cs.Sequential(cs.SumPool(2, gain=gain), srm, cs.Dense((4, 4, 2), 2), srm)
        assert trainer(net).prepare([BATCH]).layers[0].scaled == scaled


class OwnLayer(Layer):
    def __init__(self):
        self.gain = cs.Tensor(np.full(6, 20.0, np.float32), requires_grad=True)

    def __call__(self, x):
        return x * self.gain


def test_layers_of_users_are_kept():
    cs.seed(1)
    net = cs.Sequential(cs.Dense((8, 8, 2), 6), SRM, OwnLayer(), SRM, cs.Dense(6, 2), SRM)
    assert [row.scaled for row in trainer(net).prepare([BATCH]).layers] == [True, False, True]
    assert (net[2].gain.data == 20.0).all()
    assert trainer(cs.Sequential(lambda x: x.reshape(60, 8, 128)[:, :, :6], OwnLayer(), SRM)).prepare([BATCH]) is None
    assert trainer(cs.Sequential(cs.Dense((8, 8, 2), 2))).prepare([BATCH]) is None


TARGET = RNG.random((60, 8, 2)) < 0.02

RATES = {
    "counts": (cs.SpikeCountLoss(SRM, true=5, false=1), LABELS, 1000 * 3 / 60),
    "counts in a window": (cs.SpikeCountLoss(SRM, true=5, false=1, window=(20, 50)), LABELS, 1000 * 3 / 30),
    "rates": (cs.loss.SpikeRateLoss(SRM, true=100, false=20), LABELS, 60.0),
    "times": (cs.SpikeTimeLoss(SRM), TARGET, TARGET.mean() * 1000),
    "no spikes wanted": (cs.SpikeCountLoss(SRM, true=0, false=0), LABELS, 5.0),
    "more than neurons can": (cs.SpikeCountLoss(SRM, true=90, false=60), LABELS, 500.0),
    "a probability": (cs.loss.ProbabilityWindowLoss(SRM), LABELS, 40.0),
    "a function": (lambda spikes, labels: spikes.sum() * 1.0, LABELS, 40.0),
}


@pytest.mark.parametrize("name", RATES)
def test_the_output_has_the_rate_that_the_loss_asks_for(name):
    loss, target, rate = RATES[name]
    assert wanted(network("8x8x2-6-2"), loss, (X, target), calibrate=40) == [40, pytest.approx(rate)]


def test_no_batch_is_lost():
    """Calibration takes the first batches of an iterator; the epoch has them all."""
    seen = []

    def batches():
        for at in range(6):
            seen.append(at)
            yield X[:, at : at + 1], LABELS[at : at + 1]

    net = network()
    t = trainer(net)
    score = t.train(batches(), steps=4)
    assert (t.optimizer.steps, seen) == (4, [0, 1, 2, 3])
    whole = network()
    again = trainer(whole)
    assert again.train([BATCH_OF[at] for at in range(4)]) == score
    rest = iter(BATCH_OF * 3)
    trainer(network()).prepare(rest)
    assert len(list(rest)) == 24 - 16


BATCH_OF = [(X[:, at : at + 1], LABELS[at : at + 1]) for at in range(8)]


def test_batches_that_calibration_cannot_use():
    empty = (X[:, :0], LABELS[:0])
    t = trainer(network())
    with refuses("prepare: batches must have a batch"):
        t.prepare([])
    assert t.prepare([empty]) is None
    # Recordings of several lengths are trained on; those as long as the first are used.
    longer = (np.concatenate([X, X])[:, :2], LABELS[:2])
    assert t.prepare([(X[:, :2], LABELS[:2]), longer, (X[:, 2:], LABELS[2:])]) is not None
    with refuses("prepare: batches must be pairs (x, target), such as a Loader has"):
        trainer(network()).prepare(X)


def test_states_without_gains_and_with_wrong_ones():
    net = network()
    state = {name: a for name, a in net.state().items() if not name.endswith("gain")}
    net[0].gain = 4.0
    net.load_state(state)
    assert net[0].gain == 4.0
    before = net.state()
    for wrong in ({"0.gain": np.zeros(3)}, {"0.gain": "much"}, {"2.gain": np.array(1.0)}):
        with pytest.raises(
            (TypeError, ValueError), match=r"^load_state: (0\.gain must be a n|parameter 2\.gain is unknown$)"
        ):
            net.load_state({name: a + 1 for name, a in state.items()} | wrong)
    assert all((a == before[name]).all() for name, a in net.state().items())
    shared = cs.SumPool(2, gain=2.0)
    assert cs.Sequential(shared, cs.Sequential(shared)).state().keys() == {"0.gain", "1.0.gain"}


@pytest.fixture
def config(tmp_path):
    data, out = str(write_folder(tmp_path / "data")), str(tmp_path / "out")
    options = {
        "layers": ("34x34x2", "4a", "8", "3"),
        "error": COUNTS,
        "data": data,
        "out": out,
    }
    return Config(duration=30.0, epochs=2, batch=4, **options)


def test_a_run_says_what_it_calibrated(config):
    said = []
    out = train(config, log=said.append)
    first, calibrates, table, *_ = said
    assert re.search("fire at 30 Hz; calibrate=None .* leaves", calibrates)
    assert first.startswith("34x34x2-4a-8-3: 1,")
    assert [line.split(" (")[0].split("  ")[-1] for line in table.splitlines()[1:]] == ["layer 1", "layer 3", "layer 5"]
    found = cs.load_run(out)
    assert found.net[0].gain != config.neuron.pool_gain
    saved = load_checkpoint(out / "checkpoint.npz").network
    assert found.net[0].gain == saved["0.gain"]
    said.clear()
    train(config.with_options(epochs=3), resume=True, log=said.append)
    assert not any("weights times" in line for line in said)


def test_slayers_scales_by_name_and_the_rate_of_the_configuration(config, tmp_path):
    said = []
    out = train(dataclasses.replace(config, initialization="slayer", epochs=1), log=said.append)
    assert not any("weights times" in line for line in said)
    assert cs.load_run(out).net[0].gain == config.neuron.pool_gain
    said.clear()
    config = dataclasses.replace(config, firing_rate=20.0, epochs=1, out=str(tmp_path / "other"))
    train(config, log=said.append)
    rates = [float(line.split()[2]) for line in said[2].splitlines()[1:3]]
    assert rates == pytest.approx([20, 20], rel=0.1)
