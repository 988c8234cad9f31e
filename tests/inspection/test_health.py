"""Tests of health: counts by hand, advice for each fault and its effect, and the warning of a run."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

import cuslayer as cs
from cuslayer.inspection import rates_of
from cuslayer.inspection.health import figures
from cuslayer.inspection.health.result import EDGES
from cuslayer.training import Config, Score, Trainer, train
from tests.support.tiny import no_figures, write_folder
from tools.fake_cupy import strict


def spread(shape, share, seed=0):
    return np.random.default_rng(seed).random(shape) < share


LABELS = np.arange(6) % 4


def net_of(*scales, srm=None, sizes=(60, 40, 30, 4)):
    """A network of dense layers, the last with four outputs."""
    cs.seed(0)
    srm = srm or cs.SRM()
    sizes = (*sizes[: len(scales)], sizes[-1])
    layers = [cs.Dense(n, m, weight_scale=w) for n, m, w in zip(sizes, sizes[1:], scales, strict=False)]
    return cs.Sequential(*(stage for layer in layers for stage in (layer, srm)))


def batch(net):
    return spread((120, 6, *net[0].in_features), 0.03), LABELS


def test_counts_by_hand():
    """Of three neurons one never fires, one fires at times, one stays over the threshold."""
    srm = cs.SRM(tau_sr=2.0, tau_rho=0.5, dt=0.5)
    layer = cs.Dense(1, 3)
    layer.weight.data[:] = [[-5.0, 12.0, 60.0]]
    net = cs.Sequential(layer, srm)
    x = np.zeros((40, 2, 1), bool)
    x[::10] = True
    x[:, 1] = False
    x[5, 1] = True
    loss = cs.SpikeTimeLoss(srm)
    target = np.zeros((40, 2, 3), bool)
    found = cs.health(net, [(x, target), (None, None)], loss=loss)
    with cs.record(net) as seen:
        value = loss(net(x), target)
    value.backward()
    has, one = seen[1], found[1]
    counts = has.spikes.sum(axis=(0, 1))
    assert counts[0] == 0
    np.testing.assert_allclose(one.rates, counts / (80 * 0.5 / 1000))
    assert one.rate == pytest.approx(one.rates.mean())
    assert not one.silent
    assert one.never == pytest.approx(1 / 3)
    assert one.always == 0
    over = np.asarray(has.filtered).reshape(80, 3) >= 10.0
    assert one.locked == (over.mean(axis=0) >= 0.5).mean() == pytest.approx(1 / 3)
    z = (np.asarray(has.potential, np.float64) - 10.0) / 5.0
    assert one.within == pytest.approx((abs(z) <= 1).mean())
    assert one.distance == pytest.approx(5.0 * np.median(abs(z)), rel=1e-5)
    assert (one.width, one.theta, one.layer) == (5.0, 10.0, 1)
    expected, _ = np.histogram(z.clip(-6, 6), EDGES)
    np.testing.assert_allclose(one.histogram, expected / z.size)
    peaks = np.asarray(has.filtered).max(axis=0)
    assert one.peak == pytest.approx(np.median(peaks[peaks > 0]), rel=1e-5)
    assert one.error == pytest.approx(float(np.linalg.norm(has.weighted_error)), rel=1e-4)
    assert found.loss == pytest.approx(value.item() / 2)
    assert found.error(1) == 1.0
    assert rates_of(net) == {1: one.rate}


def test_several_batches_equal_one():
    net = net_of(30.0, 8.0)
    x, labels = batch(net)
    whole = cs.health(net, [(x, labels)])
    halves = cs.health(net, [(x[:, :3], labels[:3]), (x[:, 3:], labels[3:])], batches=5)
    for a, b in zip(whole.layers, halves.layers, strict=True):
        np.testing.assert_allclose(a.rates, b.rates)
        for name in ("never", "always", "locked", "within", "distance", "peak", "error"):
            assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-5)
    assert whole.loss == pytest.approx(halves.loss)
    first = cs.health(net, iter([(x[:, :3], labels[:3]), (x[:, 3:], labels[3:])]))
    assert first.loss != pytest.approx(whole.loss)


@pytest.mark.parametrize("neurons", [cs.SRM(), cs.Loihi()], ids=["srm", "loihi"])
def test_on_a_device(neurons):
    def looked():
        net = net_of(30.0, 8.0, srm=neurons)
        return cs.health(net, [batch(net)])

    here = looked()
    with strict():
        cs.use("cuda")
        try:
            there = looked()
        finally:
            cs.use("cpu")
    for a, b in zip(here.layers, there.layers, strict=True):
        np.testing.assert_allclose(a.rates, b.rates)
        assert a.error == pytest.approx(b.error, rel=1e-4)
    assert [each.setting for each in here.advice] == [each.setting for each in there.advice]


@pytest.mark.parametrize("neurons", [cs.SRM(), cs.Loihi(ref_delay=2)], ids=["srm", "loihi"])
def test_every_layer(neurons):
    gain = 11.0 if isinstance(neurons, cs.SRM) else neurons.pool_gain
    dense = cs.Dense((3, 3, 3), 4, weight_scale=100.0)
    stages = (cs.Conv(2, 3, 3), neurons, cs.Pool(2, gain=gain), neurons, cs.Delay(3, dt=1.0), cs.Dropout(0.5))
    net = cs.Sequential(*stages, dense, neurons, cs.Average(2))
    loss = cs.SpikeRateLoss(neurons)
    before = [p.data.copy() for p in net.parameters()]
    found = cs.health(net, [(spread((60, 6, 8, 7, 2), 0.1), LABELS % 2)], loss=loss)
    assert [layer.layer for layer in found.layers] == [1, 3, 7]
    assert [layer.rates.shape for layer in found.layers] == [(6, 5, 3), (3, 3, 3), (4,)]
    for layer in found.layers:
        assert layer.rate > 0
        assert layer.error > 0
        assert layer.peak > 0
        assert layer.histogram.sum() == pytest.approx(1.0)
    assert all((p.data == b).all() and p.grad is None for p, b in zip(net.parameters(), before, strict=True))
    assert all(p.requires_grad for p in net.parameters())
    assert net[5].training


def test_neurons_that_always_fire():
    srm = cs.SRM(scale_ref=0.0)
    layer = cs.Dense(1, 2)
    layer.weight.data[:] = [[50.0, -50.0]]
    found = cs.health(cs.Sequential(layer, srm), [(np.ones((100, 1, 1), bool), [0])])
    assert (found[1].always, found[1].never, found[1].locked) == (0.5, 0.5, 0.5)
    chip = cs.Loihi(ref_delay=3)
    total = chip.response[:99].sum()
    strong, weak = 4000.0, 3 * chip.theta / total
    layer.weight.data[:] = [[strong, weak]]
    found = cs.health(cs.Sequential(layer, chip), [(np.ones((99, 1, 1), bool), [0])])
    assert (found[1].always, found[1].never, found[1].locked) == (0.5, 0.0, 1.0)
    assert found[1].rates[0] == pytest.approx(1000 / 3)
    assert found[1].peak == pytest.approx((strong + weak) / 2 * total)


@pytest.mark.parametrize("scale", [0.3, 2.0])
def test_a_silent_layer_gets_larger_weights(scale):
    net = net_of(30.0, scale, 12.0)
    found = cs.health(net, [batch(net)])
    assert found[3].never > 0.8
    advice = found.advice[0]
    assert (advice.layer, advice.setting, advice.at) == (3, "weight_scale", 2)
    assert advice.now == pytest.approx(scale, rel=0.05)
    assert advice.value > 2 * scale
    assert f"% of the neurons never fire, their mean rate is {found[3].rate:.3g} Hz; with this value at 49.9 Hz" in str(
        advice
    )
    better = net_of(30.0, scale * advice.value / advice.now, 12.0)
    after = cs.health(better, [batch(better)])
    assert after[3].never < 0.6
    assert after[3].rate == pytest.approx(50.0, rel=0.05)
    assert all(each.layer != 3 for each in after.advice)
    found.apply(net)
    assert not cs.health(net, [batch(net)]).advice


@pytest.mark.parametrize("scale", [1000.0, 20000.0])
def test_a_saturated_layer_gets_smaller_weights(scale):
    net = net_of(scale, 8.0)
    found = cs.health(net, [batch(net)])
    assert found[1].locked > 1 / 3
    advice = found.advice[0]
    assert (advice.layer, advice.setting) == (1, "weight_scale")
    assert advice.now == pytest.approx(scale, rel=0.05)
    assert advice.value < scale / 10
    assert "fire as often as refraction lets them" in advice.reason
    better = net_of(advice.value, 8.0)
    after = cs.health(better, [batch(better)])
    assert after[1].locked < found[1].locked / 2
    assert 0 < after[1].rate < found[1].rate / 3
    assert after[1].distance < found[1].distance / 5
    assert all(each.layer != 1 for each in after.advice)


def test_an_inhibited_layer_gets_smaller_weights():
    """Few neurons are locked, since few have a positive input: the others are far below the threshold."""
    net = net_of(600.0, 8.0)
    net[0].weight.data[:, 8:] = -abs(net[0].weight.data[:, 8:])
    found = cs.health(net, [batch(net)])
    assert found[1].locked < 1 / 3
    assert found[1].distance > 50
    assert (found.advice[0].layer, found.advice[0].setting) == (1, "weight_scale")
    assert found.advice[0].value < 60
    found.apply(net)
    after = cs.health(net, [batch(net)])
    assert after[1].distance < 50
    assert not after.advice


def test_the_weight_scale_of_a_convolution():
    cs.seed(0)
    net = cs.Sequential(cs.Conv(2, 8, 5, weight_scale=3.0), cs.SRM(), cs.Dense((4, 3, 8), 4), cs.SRM())
    advice = cs.health(net, [(spread((60, 6, 8, 7, 2), 0.05), LABELS)]).advice[0]
    assert (advice.layer, advice.now) == (1, pytest.approx(3.0, rel=0.05))


def test_a_narrow_surrogate_gets_wider():
    srm = cs.SRM(tau_rho=0.04)
    net = net_of(30.0, 8.0, srm=srm)
    found = cs.health(net, [batch(net)])
    assert {(each.layer, each.setting) for each in found.advice} == {(1, "tau_rho"), (3, "tau_rho")}
    advice = found.advice[0]
    assert advice.now == 0.04
    assert advice.value == pytest.approx(found[1].distance / 10.0, rel=0.05)
    assert "widths of the surrogate" in advice.reason
    better = net_of(30.0, 8.0, srm=dataclasses.replace(srm, tau_rho=advice.value))
    after = cs.health(better, [batch(better)])
    assert after[1].within > 5 * found[1].within
    assert not after.advice


@pytest.mark.parametrize(("scale_rho", "word"), [(0.02, "vanishes"), (40.0, "explodes")])
def test_a_vanishing_or_exploding_error_gets_another_scale(scale_rho, word):
    srm = cs.SRM(scale_rho=scale_rho)
    net = net_of(30.0, 8.0, 12.0, srm=srm)
    found = cs.health(net, [batch(net)])
    assert not 0.01 <= found.error(1) <= 100
    (advice,) = found.advice
    assert (advice.layer, advice.setting, advice.now) == (1, "scale_rho", scale_rho)
    assert (advice.value > scale_rho) == (word == "vanishes")
    assert f"the error {word} on its way back" in advice.reason
    better = net_of(30.0, 8.0, 12.0, srm=dataclasses.replace(srm, scale_rho=advice.value))
    after = cs.health(better, [batch(better)])
    assert after.error(1) == pytest.approx(1.0, rel=0.2)
    assert not after.advice
    found.apply(net)  # all neurons have the same height
    assert [neuron.scale_rho for neuron in net.layers[1::2]] == pytest.approx([advice.value] * 3)


def test_no_advice_for_a_healthy_network_or_without_weights():
    net = net_of(30.0, 8.0)
    assert cs.health(net, [batch(net)]).advice == ()
    x, labels = batch(net)
    dark = cs.health(net, [(np.zeros_like(x), labels)])
    assert dark[1].silent
    assert dark[1].peak == 0
    assert dark.advice == ()  # there is no input
    net[0].weight.data[:] = -1.0
    assert cs.health(net, [(x, labels)]).advice == ()
    srm = cs.SRM(scale_rho=1e-6)
    faint = cs.Sequential(lambda x: x * 0.1, srm, cs.Dense(60, 4), srm)
    found = cs.health(faint, [(x, labels)])
    assert found[1].silent
    assert found.advice == ()  # a function has no weights, and the layer behind has no input
    alone = cs.Sequential(cs.Dense(60, 4, weight_scale=24), cs.SRM(scale_rho=1e-6))
    assert cs.health(alone, [(x, labels)]).advice == ()
    empty = cs.health(net, [(x[:0], labels)], loss=lambda s, _: s.sum())
    assert empty[1].never == 1.0
    assert empty.error(1) == 0.0


def test_the_table_and_the_plot():
    net = net_of(30.0, 0.3, 12.0)
    found = cs.health(net, [batch(net)])
    lines = repr(found).splitlines()
    assert lines[0] == f"loss of a sample {found.loss:.4g}"
    assert lines[1].split() == ["rate", "never", "always", "locked", "near", "theta", "error"]
    one = found[1]
    shares = [f"{s:.1%}" for s in (one.never, one.always, one.locked, one.within)]
    assert lines[2].split() == [*one.name.split(), f"{one.rate:.3g}", "Hz", *shares, f"{found.error(1):.3g}"]
    assert lines[5] == f"advice: {found.advice[0]}"
    assert str(found.advice[0]).startswith("layer 3 (Dense(40, 30), SRM): weight_scale ")
    axes = found.plot(Figure().subplots(1, 3))
    shares_ax, potentials, errors = axes
    for bars, name in zip(shares_ax.containers, ("never", "always", "locked"), strict=True):
        assert bars.get_label() == name
        assert [bar.get_height() for bar in bars] == [getattr(layer, name) for layer in found.layers]
        assert [round(bar.get_x() + bar.get_width() / 2) for bar in bars] == [0, 1, 2]
    for stairs, layer in zip(potentials.patches, found.layers, strict=True):
        np.testing.assert_allclose(stairs.get_data().values, layer.histogram / 0.25)
        assert (stairs.get_data().edges == EDGES).all()
    (surrogate,) = potentials.get_lines()
    z, height = surrogate.get_data()
    np.testing.assert_allclose(height, np.exp(-abs(z)))
    (line,) = errors.get_lines()
    assert list(line.get_ydata()) == [found.error(layer.layer) for layer in found.layers]
    assert [text.get_text() for text in errors.get_xticklabels()] == ["1", "3", "5"]
    found.plot()[0].figure.canvas.draw()
    with pytest.raises(ValueError, match=r"^plot: axes must be three, got 2$"):
        found.plot(axes[:2])


def test_the_trainer_detects_a_silent_batch():
    srm = cs.SRM()
    for scales, quiet in (((30.0, 8.0), False), ((0.1, 8.0), True), ((30.0, 0.1), True)):
        net = net_of(*scales)
        trainer = Trainer(net, cs.SpikeCountLoss(srm, true=20, false=5), cs.SGD(net.parameters(), 1e-9))
        last = batch(net)
        trainer.train([batch(net), last])
        assert (trainer.silent_batch is not None) == quiet
        assert trainer.silent_batch is None or trainer.silent_batch[0] is last[0]
        if quiet:
            trainer.train([])
            assert trainer.silent_batch is None


@pytest.fixture
def config(tmp_path, monkeypatch):
    """A short run without plots."""
    no_figures(monkeypatch)
    options = {"true": 6.0, "false": 1.0, "data": str(write_folder(tmp_path / "data")), "out": str(tmp_path / "out")}
    return Config(
        duration=30.0,
        region=(0.0, 30.0),
        epochs=3,
        batch=4,
        layers=("34x34x2", "8", "3"),
        initialization="slayer",
        **options,
    )


def test_a_run_warns_of_a_silent_layer_once(config):
    said = []
    train(
        dataclasses.replace(config, optimizer=dataclasses.replace(config.optimizer, lr=1e-9)),
        log=said.append,
        health=cs.health,
    )
    warnings = [line for line in said if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert said.index(warnings[0]) == 2
    assert warnings[0].startswith("warning: layer 1 (Dense((34, 34, 2), 8), SRM) is silent; weight_scale ")
    assert "\n" not in warnings[0]


def test_a_run_does_not_diagnose_a_healthy_network(config):
    said = []
    srm = dataclasses.replace(config.neuron, theta=0.5)
    looked = lambda *_, **__: pytest.fail("looked")  # noqa: E731
    train(dataclasses.replace(config, neuron=srm), log=said.append, health=looked)
    assert len(said) == 4


def test_a_layer_that_fires_again_may_be_warned_of_again(config, monkeypatch):
    quiet = iter([True, True, False, True])

    def one_epoch(self, batches, *, title, **options):
        self.silent_batch = (None, None) if next(quiet) else None
        return Score(1.0, 0.5)

    monkeypatch.setattr(Trainer, "train", one_epoch)
    said = []
    train(dataclasses.replace(config, epochs=4), log=said.append)
    assert [line[:9] for line in said[1:]] == [
        "epoch   1",
        "warning: ",
        "epoch   2",
        "epoch   3",
        "epoch   4",
        "warning: ",
    ]


def test_potentials_are_sampled_of_every_neuron(monkeypatch):
    """A stride of 24 would sample only five of 40 neurons: the stride is 27."""
    monkeypatch.setattr(figures, "_MOST", 100)
    neurons = np.tile(np.arange(40.0), 60).reshape(60, 1, 40)
    sampled = figures._sampled(neurons)
    assert len(sampled) == 89
    assert set(sampled) == set(range(40))
