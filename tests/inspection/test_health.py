"""Tests of health: counts by hand, advice for each fault and its effect, and the warning of a run."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from matplotlib.figure import Figure

import cuslayer as cs
from cuslayer.inspection import rates_of
from cuslayer.inspection.health import _sampled
from cuslayer.inspection.network_health import EDGES
from cuslayer.training import Trainer
from tests.support.refused import refuses


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
    found = cs.diagnose(net, [(x, target), (None, None)], loss=loss)
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
    whole = cs.diagnose(net, [(x, labels)])
    halves = cs.diagnose(net, [(x[:, :3], labels[:3]), (x[:, 3:], labels[3:])], batches=5)
    for a, b in zip(whole.layers, halves.layers, strict=True):
        np.testing.assert_allclose(a.rates, b.rates)
        for name in ("never", "always", "locked", "within", "distance", "peak", "error"):
            assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-5)
    assert whole.loss == pytest.approx(halves.loss)
    first = cs.diagnose(net, iter([(x[:, :3], labels[:3]), (x[:, 3:], labels[3:])]))
    assert first.loss != pytest.approx(whole.loss)


@pytest.mark.all
def test_neurons_that_always_fire():
    srm = cs.SRM(scale_ref=0.0)
    layer = cs.Dense(1, 2)
    layer.weight.data[:] = [[50.0, -50.0]]
    found = cs.diagnose(cs.Sequential(layer, srm), [(np.ones((100, 1, 1), bool), [0])])
    assert (found[1].always, found[1].never, found[1].locked) == (0.5, 0.5, 0.5)
    chip = cs.Loihi(ref_delay=3)
    total = chip.response[:99].sum()
    strong, weak = 4000.0, 3 * chip.theta / total
    layer.weight.data[:] = [[strong, weak]]
    found = cs.diagnose(cs.Sequential(layer, chip), [(np.ones((99, 1, 1), bool), [0])])
    assert (found[1].always, found[1].never, found[1].locked) == (0.5, 0.0, 1.0)
    assert found[1].rates[0] == pytest.approx(1000 / 3)
    assert found[1].peak == pytest.approx((strong + weak) / 2 * total)


def test_a_silent_layer_gets_larger_weights():
    net = net_of(30.0, 0.3, 12.0)
    found = cs.diagnose(net, [batch(net)])
    assert found[3].never > 0.8
    advice = found.advice[0]
    assert (advice.layer, advice.setting, advice.at) == (3, "weight_scale", 2)
    assert advice.now == pytest.approx(0.3, rel=0.05)
    said = f"% of the neurons never fire, their mean rate is {found[3].rate:.3g} Hz; with this value at 49.9 Hz"
    assert said in str(advice)
    found.apply(net)
    after = cs.diagnose(net, [batch(net)])
    assert after[3].rate == pytest.approx(50.0, rel=0.05)
    assert not after.advice


def test_an_inhibited_layer_gets_smaller_weights():
    """Few neurons are locked, since few have a positive input: the others are far below the threshold."""
    net = net_of(600.0, 8.0)
    net[0].weight.data[:, 8:] = -abs(net[0].weight.data[:, 8:])
    found = cs.diagnose(net, [batch(net)])
    assert found[1].locked < 1 / 3
    assert found[1].distance > 50
    assert (found.advice[0].layer, found.advice[0].setting) == (1, "weight_scale")
    assert found.advice[0].value < 60
    found.apply(net)
    after = cs.diagnose(net, [batch(net)])
    assert after[1].distance < 50
    assert not after.advice


@pytest.mark.parametrize(("scale_rho", "word"), [(0.02, "vanishes"), (40.0, "explodes")])
def test_a_vanishing_or_exploding_error_gets_the_size_of_the_last_one(scale_rho, word):
    srm = cs.SRM(scale_rho=scale_rho)
    net = net_of(30.0, 8.0, 12.0, srm=srm)
    found = cs.diagnose(net, [batch(net)])
    assert not 0.01 <= found.error(1) <= 100
    assert [(advice.layer, advice.setting, advice.now) for advice in found.advice] == [
        (1, "scale_rho", scale_rho),
        (3, "scale_rho", scale_rho),
    ]
    for advice in found.advice:
        assert (advice.value > scale_rho) == (word == "vanishes")
        assert f"the error is {found.error(advice.layer):.2g} times the last layer's" in advice.reason
    found.apply(net)
    after = cs.diagnose(net, [batch(net)])
    assert [after.error(layer) for layer in (1, 3)] == pytest.approx([1.0, 1.0], rel=0.02)
    assert not after.advice


@pytest.mark.parametrize("skip", [False, True])
def test_errors_that_grow_hurt_adam_only_where_a_skip_connection_adds_them(skip):
    srm = cs.SRM(scale_rho=40.0)
    net = net_of(30.0, 8.0, 12.0, srm=srm, sizes=(60, 40, 40, 4))
    if skip:
        net = cs.Sequential(*net[:2], cs.Residual(*net[2:4]), *net[4:])
    found = cs.diagnose(net, [batch(net)], optimizer=cs.Adam(net.parameters(), lr=0.01, relative=True))
    assert found.error(1) > 1000
    assert {advice.setting for advice in found.advice} == ({"scale_rho"} if skip else set())


def test_no_advice_for_a_healthy_network_or_without_weights():
    net = net_of(30.0, 8.0)
    assert cs.diagnose(net, [batch(net)]).advice == ()
    x, labels = batch(net)
    dark = cs.diagnose(net, [(np.zeros_like(x), labels)])
    assert dark[1].silent
    assert dark[1].peak == 0
    assert dark.advice == ()  # there is no input
    net[0].weight.data[:] = -1.0
    assert cs.diagnose(net, [(x, labels)]).advice == ()
    srm = cs.SRM(scale_rho=1e-6)
    faint = cs.Sequential(lambda x: x * 0.1, srm, cs.Dense(60, 4), srm)
    found = cs.diagnose(faint, [(x, labels)])
    assert found[1].silent
    assert found.advice == ()  # a function has no weights, and the layer behind has no input
    alone = cs.Sequential(cs.Dense(60, 4, weight_scale=24), cs.SRM(scale_rho=1e-6))
    assert cs.diagnose(alone, [(x, labels)]).advice == ()
    empty = cs.diagnose(net, [(x[:0], labels)], loss=lambda s, _: s.sum())
    assert empty[1].never == 1.0
    assert empty.error(1) == 0.0


def test_the_table_and_the_plot():
    net = net_of(30.0, 0.3, 12.0)
    found = cs.diagnose(net, [batch(net)])
    lines, one = repr(found).splitlines(), found[1]
    assert lines[0] == f"loss of a sample {found.loss:.4g}"
    shares = [f"{s:.1%}" for s in (one.never, one.always, one.locked, one.within)]
    assert lines[2].split() == [*one.name.split(), f"{one.rate:.3g}", "Hz", *shares, f"{found.error(1):.3g}"]
    assert lines[5] == f"advice: {found.advice[0]}"
    assert str(found.advice[0]).startswith("layer 3 (Dense(40, 30), SRM): weight_scale ")
    axes = found.plot(Figure().subplots(1, 3))
    shares_ax, potentials, errors = axes
    for bars, name in zip(shares_ax.containers, ("never", "always", "locked"), strict=True):
        assert [bar.get_height() for bar in bars] == [getattr(layer, name) for layer in found.layers]
        assert [round(bar.get_x() + bar.get_width() / 2) for bar in bars] == [0, 1, 2]
    for stairs, layer in zip(potentials.patches, found.layers, strict=True):
        np.testing.assert_allclose(stairs.get_data().values, layer.histogram / 0.25)
    (surrogate,) = potentials.get_lines()
    z, height = surrogate.get_data()
    np.testing.assert_allclose(height, np.exp(-abs(z)))
    (line,) = errors.get_lines()
    assert list(line.get_ydata()) == [found.error(layer.layer) for layer in found.layers]
    with refuses("plot: axes must be three"):
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
            with refuses("train: batches must have a batch"):
                trainer.train([])
            assert trainer.silent_batch is None


def test_potentials_are_sampled_of_every_neuron(monkeypatch):
    """A stride of 24 would sample only five of 40 neurons: the stride is 27."""
    monkeypatch.setattr(sys.modules["cuslayer.inspection.health"], "_MOST", 100)
    neurons = np.tile(np.arange(40.0), 60).reshape(60, 1, 40)
    sampled = _sampled(neurons)
    assert len(sampled) == 89
    assert set(sampled) == set(range(40))


# Dead networks: silent input, layers that never fire, layers without an error.


def small(neuron=None):
    cs.seed(0)
    neuron = neuron or cs.SRM()
    return cs.Sequential(cs.Dense(5, 6, weight_scale=40.0), neuron, cs.Dense(6, 2, weight_scale=40.0), neuron)


def weighing(first, last):
    net = small()
    for layer, weight in zip(net.layers[::2], (first, last), strict=True):
        if weight is not None:
            layer.weight.data[...] = weight
    return net


BUSY, PAIRS = np.random.default_rng(0).random((30, 4, 5)) < 0.3, [0, 1, 0, 1]


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("optimized", [False, True])
@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_silent_input_is_named_and_gives_no_advice(biased, optimized, dtype):
    """Also where a bias makes the neurons fire, and of several batches only where all are silent."""
    net, silent = small(cs.SRM(tau_rho=0.05)), np.zeros((30, 4, 5), dtype)
    if biased:
        net.layers[0] = cs.Dense(5, 6, bias=cs.Tensor(np.full(6, 30.0, np.float32)))
    optimizer = cs.Adam(net.parameters(), 1e-9) if optimized else None
    found = cs.diagnose(net, [(silent, PAIRS)] * 2, optimizer=optimizer, batches=2)
    assert found.advice == ()
    assert found.hints[0].startswith("the input is 0 everywhere; check the recordings")
    assert found[1].silent is not biased
    assert "\nhint: the input is 0 everywhere" in str(found)
    assert "nothing to change" not in str(found)
    if dtype is bool:
        loud = cs.diagnose(net, [(silent, PAIRS), (BUSY, PAIRS)], batches=2)
        assert not any("0 everywhere" in hint for hint in loud.hints)


NO_INPUT = "its weighted input is 0: the layer before it sends no spikes, or has weights of 0"
NO_RISE = "its input never raises the potential; draw the weights before it anew, or give that layer a bias"


@pytest.mark.parametrize(
    ("first", "last", "expected"),
    [
        (0.0, None, {1: NO_INPUT, 3: NO_INPUT}),
        (-5.0, None, {1: NO_RISE, 3: NO_INPUT}),
        (None, -5.0, {3: NO_RISE}),
        (None, 0.0, {3: NO_INPUT}),
    ],
)
def test_a_layer_that_never_fires_gets_advice_or_a_hint(first, last, expected):
    net = weighing(first, last)
    found = cs.diagnose(net, [(BUSY, PAIRS)])
    advised = {each.layer for each in found.advice}
    never = [layer for layer in found.layers if layer.silent]
    assert {layer.layer for layer in never} == expected.keys()
    for layer in never:
        assert layer.layer not in advised
        assert f"{layer.name} never fires: {expected[layer.layer]}" in found.hints
    assert "nothing to change" not in str(found)


def test_layers_without_an_error_are_named():
    """By weights of 0 behind them, by a surrogate that is 0, or by a loss without a gradient."""
    behind = cs.diagnose(weighing(None, 0.0), [(BUSY, PAIRS)])
    assert any(hint.startswith("layer 1 (Dense(5, 6), SRM) gets no error: the surrogate") for hint in behind.hints)
    none = "no layer gets an error: the surrogate is 0 at all potentials, or the loss has no gradient here"
    narrow = cs.SRM(surrogate="boxcar", tau_rho=1e-6)
    assert none in cs.diagnose(small(narrow), [(BUSY, PAIRS)]).hints
    constant = lambda spikes, target: (spikes * 0.0).sum() + 1.0  # noqa: E731
    assert none in cs.diagnose(small(), [(BUSY, PAIRS)], loss=constant).hints
    assert cs.diagnose(small(), [(BUSY, PAIRS)], loss=lambda spikes, target: (spikes * 0.0).sum()).hints == ()


def test_an_output_that_is_to_be_nearly_silent_is_aimed_at_five_hertz():
    """A loss that desires a spike in a thousand seconds: a silent output could not learn it."""

    class Rare(cs.SpikeCountLoss):
        def desired_rate(self, target, outputs, steps):
            return 1e-3

    x, loss = np.random.default_rng(1).random((400, 8, 5)) < 0.3, Rare(cs.SRM(), true=1, false=0)
    net = weighing(None, None)
    cs.calibrate(net, [x], 60.0)
    net[2].weight.data *= np.float32(1e-3)
    found = cs.diagnose(net, [(x, [0, 1] * 4)], loss=loss)
    (advice,) = found.advice
    assert (advice.layer, found[3].silent) == (3, True)
    advice.apply(net)
    assert 2.5 < cs.diagnose(net, [(x, [0, 1] * 4)], loss=loss)[3].rate < 10


@pytest.mark.parametrize(("desired", "least", "most"), [(None, 14, 21), (200.0, 58, 68)])
def test_neurons_that_can_fire_rarely_are_aimed_at_a_share_of_their_highest_rate(desired, least, most):
    """Of 143 Hz, or of half that: a quarter for a hidden layer, nine tenths for an output whose loss desires more."""

    class Often(cs.SpikeCountLoss):
        def desired_rate(self, target, outputs, steps):
            return desired

    x, neuron = np.random.default_rng(1).random((400, 8, 5)) < 0.3, cs.Loihi(ref_delay=7)
    cs.seed(0)
    net = cs.Sequential(cs.Dense(5, 6, weight_scale=1e-3), neuron)
    if desired is None:
        net = cs.Sequential(*net.layers, cs.Dense(6, 2, weight_scale=200.0), neuron)
    loss = Often(neuron, true=1, false=0)
    target = np.arange(8) % (6 if desired else 2)
    found = cs.diagnose(net, [(x, target)], loss=loss)
    assert found[1].silent
    next(each for each in found.advice if each.layer == 1).apply(net)
    assert least < cs.diagnose(net, [(x, target)], loss=loss)[1].rate < most


@pytest.mark.parametrize("samples", [1, 2, 5, 8])
def test_the_loss_of_mixed_outputs(samples):
    """Over batches, the larger loss of the next sample's output and that of half a batch away."""
    cs.seed(2)
    net, rng = cs.Network("6-8-3", cs.SRM(tau_sr=3.0)), np.random.default_rng(samples)
    loss = cs.loss.SpikeRateLoss(cs.SRM(tau_sr=3.0), true=100, false=10)
    batches = [(rng.random((30, samples, 6)) < 0.4, np.arange(samples) // 2 % 3) for _ in range(2)]
    found, expected = cs.diagnose(net, batches, loss=loss, batches=2), 0.0
    net.eval()
    for x, labels in batches:
        y = net(x).data
        expected += max(loss(np.roll(y, -shift, axis=1), labels).item() for shift in (1, samples // 2))
    assert found.mixed == pytest.approx(expected / (2 * samples), rel=1e-5)
