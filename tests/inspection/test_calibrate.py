"""`calibrate`: rates on the input it was given, of every kind of layer; what it changes, refuses and prints."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._tape import as_tensor, grad_enabled
from cuslayer.backend import generator
from cuslayer.data import Arrays, Loader
from cuslayer.layers.weight_hooks import quantize
from cuslayer.neurons.base import Neuron
from cuslayer.training import Trainer
from tests.support.refused import refuses

pytestmark = pytest.mark.all

SRM = cs.SRM(tau_sr=4.0)


def spikes(*shape, share=0.05, seed=0):
    return np.random.default_rng(seed).random(shape) < share


FLAT, FRAMES = spikes(120, 8, 60), spikes(100, 8, 8, 8, 2)


class Gained(cs.Layer):
    """A layer of a user's: one gain for each input."""

    def __init__(self, n):
        self.gains = cs.Tensor(np.linspace(0.5, 1.5, n).astype(np.float32), requires_grad=True)

    def __call__(self, x):
        return x * self.gains


class Rounded(cs.Layer):
    """A layer whose output is not linear in its parameter."""

    def __init__(self, n):
        self.weight = cs.Tensor(np.linspace(1.0, 3.0, n).astype(np.float32), requires_grad=True)

    def __call__(self, x):
        return x * quantize(self.weight * self.weight, step=0.5)


class Threshold(Neuron):
    """Neurons of a user's, without memory."""

    theta, dt = 2.0, 2.0

    def __call__(self, x):
        return cs.Tensor(as_tensor(x).data >= 2.0)


class Two:
    """Neurons of a user's that are no `Neuron`."""

    theta = 3.0

    def psp(self, x):
        return SRM.psp(x)

    def __call__(self, x):
        return SRM(as_tensor(x) * (10.0 / 3.0))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Resting(cs.StepNeuron):
    """Leaky neurons that rest at `rest`; a negative `sign` lets excitation inhibit."""

    tau: float = 10.0
    rest: float = 0.0
    sign: float = 1.0

    states, decays = ("v",), {"d": "tau"}

    def step(c, d, v, x):
        v = d * v + c.sign * x
        u = c.rest + v
        s = u >= c.theta
        v = 0 if s else v
        return v, u, s


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Izhikevich(cs.StepNeuron):
    """States are the distances from the potential of -65 mV and its recovery."""

    theta: float = 30.0

    states = ("p", "r")

    def step(c, p, r, x):
        v = p - 65
        u = v + c.dt * (0.04 * v * v + 5 * v + 153 - r + x)
        s = u >= c.theta
        r = r + c.dt * 0.02 * (0.2 * v + 13 - r) + (8 if s else 0)
        p = 0 if s else u + 65
        return p, r, u, s


def doubled(x):
    return x * 2.0


def dense(*sizes, neuron=SRM, **options):
    """A network of dense layers."""
    stages = [each for n, m in pairwise(sizes) for each in (cs.Dense(n, m, **options), neuron)]
    return cs.Sequential(*stages)


def with_branches(*layers):
    return cs.Sequential(*layers, cs.Dense(60, 20), SRM)


NETWORKS = {
    "weights of 0.001": (lambda: dense(60, 40, 30, weight_scale=0.001), FLAT),
    "frames": (lambda: cs.Network("8x8x2-4c3-2a-6c2-10", SRM), FRAMES),
    "chip": (lambda: cs.Network("8x8x2-4c3-2a-20-10", cs.Loihi()), FRAMES),
    "steps of 0.5 ms": (lambda: dense(60, 40, 30, neuron=cs.SRM(dt=0.5)), FLAT),
    "several batches": (lambda: dense(60, 40, 30), [FLAT[:, :3], FLAT[:, 3:4], (FLAT[:, 4:], None)]),
    "weight norm": (lambda: dense(60, 40, weight_hook=cs.WeightNorm()), FLAT),
    "rounded weights": (lambda: dense(60, 40, 30, weight_hook=partial(quantize, step=0.5)), FLAT),
    "transposed": (
        lambda: cs.Sequential(cs.Conv(2, 3, 3), SRM, cs.ConvTranspose(3, 4, 2), SRM, cs.layers.Unpool(2, gain=1), SRM),
        FRAMES,
    ),
    "layers without weights": (
        lambda: cs.Sequential(
            *(cs.Dense(60, 40), cs.Delay(40, dt=1.0, mode="linear"), SRM, cs.Delay(40, dt=1.0), cs.Dropout(0.5)),
            *(cs.layers.Shift(2), cs.Dense(40, 20), cs.layers.Average(10), SRM),
        ),
        FLAT,
    ),
    "own layer": (lambda: cs.Sequential(Gained(60), SRM, cs.Dense(60, 20), abs, SRM), FLAT),
    "own layer, not linear": (lambda: cs.Sequential(Rounded(60), SRM), spikes(120, 8, 60, share=0.5)),
    "own neurons": (lambda: cs.Sequential(cs.Dense(60, 40), Threshold(), cs.Dense(40, 30), Two()), FLAT),
    "two layers before neurons": (lambda: cs.Sequential(cs.Dense(60, 40), cs.Dense(40, 30), SRM), FLAT),
    "neurons first, a layer last": (
        lambda: cs.Sequential(SRM, cs.Dense(60, 40), SRM, cs.Dense(40, 5)),
        FLAT * np.float32(60.0),
    ),
    "skip": (
        lambda: with_branches(
            *(cs.Dense(60, 60), SRM),
            *(cs.Parallel(cs.Sequential(cs.Dense(60, 30), SRM, cs.Dense(30, 60)), Gained(60)), SRM),
            *(cs.Parallel(cs.Dense(60, 60), doubled), SRM, cs.Sequential(cs.Sequential())),
        ),
        FLAT,
    ),
    "branches": (
        lambda: with_branches(cs.Parallel(dense(60, 20), cs.Sequential(dense(60, 40), abs), join="concatenate")),
        FLAT,
    ),
}


def calibrated(net, x, rate=60.0, **options):
    return cs.calibrate(net, x if isinstance(x, list) else [x], rate, **options)


@pytest.mark.parametrize("name", NETWORKS)
def test_rates_are_reached(name):
    make, x = NETWORKS[name]
    cs.seed(1)
    net = make()
    found = calibrated(net, x)
    for row in found.layers:
        assert row.wanted == 60.0
        assert row.rate == pytest.approx(60.0, rel=0.1) or not row.scaled
    kept = [row.layer for row in found.layers if not row.scaled]
    assert kept == ([0] if name == "neurons first, a layer last" else [])
    # A second calibration begins with the rate that the first one reached, and changes little.
    again = calibrated(net, x).layers[0]
    assert again.before == pytest.approx(found.layers[0].rate, rel=1e-6)
    assert again.factor == pytest.approx(1.0, abs=0.1)


@pytest.mark.parametrize("name", ["frames", "own neurons"])
def test_the_rates_of_the_result_are_those_of_the_network(name):
    make, x = NETWORKS[name]
    cs.seed(1)
    net = make()
    found = calibrated(net, x)
    with cs.no_grad(), cs.record(net) as seen:
        net(x)
    for row in found.layers:
        dt = getattr(net[row.layer], "dt", 1.0)
        assert float(np.asarray(seen[row.layer].spikes.values).mean()) * 1000 / dt == pytest.approx(row.rate, rel=1e-6)


def test_the_output_has_a_rate_of_its_own():
    cs.seed(1)
    net = cs.Sequential(cs.Parallel(dense(60, 40), dense(60, 40)), cs.Dense(40, 30), SRM, abs)
    found = calibrated(net, FLAT, 40, output_rate=15)
    assert [row.wanted for row in found.layers] == [40, 40, 15]
    assert [row.rate for row in found.layers] == pytest.approx([40, 40, 15], rel=0.1)
    # Both branches end the network: both are outputs.
    net = cs.Sequential(dense(60, 40), cs.Parallel(dense(40, 30), dense(40, 30)))
    assert [row.wanted for row in calibrated(net, FLAT, 40, output_rate=15).layers] == [40, 15, 15]


def weights_of(net):
    """Return the state without the scales of surrogates."""
    return {name: array for name, array in net.state().items() if not name.endswith("scale_rho")}


def test_only_the_scale_of_weights_changes():
    cs.seed(1)
    net = cs.Network("8x8x2-4c3-2a-12-10", SRM)
    before = net.state()
    found = calibrated(net, FRAMES)
    after, factors = weights_of(net), {row.layer - 1: row.factor for row in found.layers}
    assert after.keys() == before.keys() == {"0.weight", "2.gain", "4.weight", "6.weight"}
    for name, a in after.items():
        assert a.dtype == before[name].dtype
        np.testing.assert_allclose(a, before[name] * factors[int(name[0])], rtol=1e-5)


def test_what_a_network_was_is_restored():
    cs.seed(1)
    net = cs.Sequential(cs.Dense(60, 40), SRM, cs.Dropout(0.5), cs.Dense(40, 30), SRM)
    net[3].weight.requires_grad = False
    net[0].weight.grad = grad = np.ones((60, 40), np.float32)
    net[2].training = True
    net[0].training = False
    state = generator().bit_generator.state
    calibrated(net, FLAT)
    assert (net[2].training, net[0].training, net[3].training) == (True, False, True)
    assert (net[0].weight.requires_grad, net[3].weight.requires_grad) == (True, False)
    assert net[0].weight.grad is grad
    assert generator().bit_generator.state == state
    assert grad_enabled()
    with refuses("dense_neuron: x has 50 features, weight expects 60"):
        calibrated(net, FLAT[:, :, :50])
    assert net[0].weight.requires_grad


def test_many_neurons_are_searched_in_some_of_the_samples(monkeypatch):
    cs.seed(1)
    monkeypatch.setattr(import_module("cuslayer.network.calibration"), "_COLUMNS", 100)
    found = calibrated(cs.Network("8x8x2-4c3-2a-12-10", SRM), FRAMES)
    assert [row.rate for row in found.layers] == pytest.approx([60] * 4, rel=0.1)


def test_shared_layers_are_scaled_once():
    cs.seed(1)
    shared = cs.Dense(60, 60)
    net = cs.Sequential(shared, SRM, shared, SRM, cs.Parallel(shared, cs.Sequential(shared, abs)), SRM)
    before = shared.weight.data.copy()
    first, second, third = calibrated(net, FLAT).layers
    assert (first.scaled, second.scaled, third.scaled) == (True, False, False)
    assert (second.factor, second.before) == (1.0, second.rate)
    np.testing.assert_allclose(shared.weight.data, before * first.factor, rtol=1e-5)
    both = cs.Sequential(cs.Parallel(shared, cs.Sequential(shared, cs.Dropout(0.5))), SRM)
    before = shared.weight.data.copy()
    (row,) = calibrated(both, FLAT).layers
    assert row.rate == pytest.approx(60, rel=0.1)
    np.testing.assert_allclose(shared.weight.data, before * row.factor, rtol=1e-5)


def test_a_layer_without_input_keeps_its_weights():
    net = dense(60, 40, 30)
    before = net.state()
    for x in (np.zeros((20, 3, 60), bool), np.zeros((20, 3, 60), np.float32)):
        found = calibrated(net, x)
        assert [(row.no_input, row.factor, row.rate) for row in found.layers] == [(True, 1.0, 0.0)] * 2
        assert str(found).count("     no input  ") == 2
    assert all((array == before[name]).all() for name, array in net.state().items())
    net[0].weight.data[:] = -1.0  # no factor makes neurons fire
    with pytest.warns(
        UserWarning, match=r"^calibrate: .*layer 1 \(Dense\(60, 40\), SRM\) at 0 Hz: no factor gives 60 Hz; "
    ):
        (row, _) = calibrated(net, FLAT).layers
    assert (row.factor, row.reached) == (1.0, False)
    assert (net[0].weight.data == -1.0).all()


def test_a_rate_that_cannot_be_reached():
    """Two of sixty inputs have spikes: the layer has half of the highest rate that it can have."""
    cs.seed(1)
    net, x = dense(60, 40), FLAT & (np.arange(60) < 2)
    with pytest.warns(UserWarning, match="no factor gives 800 Hz"):
        found = calibrated(net, x, 800)
    assert str(found).endswith("layer 1 (Dense(60, 40), SRM): no factor gives 800 Hz")
    (row,) = found.layers
    loud = dense(60, 40)
    loud[0].weight.data = net[0].weight.data * np.float32(2**20)
    most = float(loud(x).data.mean()) * 1000
    assert row.wanted == 800
    assert 0 < most < 800
    assert row.rate == pytest.approx(most / 2, rel=0.05)


@pytest.mark.all
@pytest.mark.parametrize("seed", range(12))
def test_any_neuron_has_positive_factors_and_advice_that_helps(seed):
    """Whatever the neuron's potential at rest, its threshold, its step and the sign of its response are."""
    rng, at_random = np.random.default_rng(seed), [(-65, 30), (-65, 1), (-70, -50), (0, 1), (0.4, 0.5), (3, 1)]
    rest, theta = at_random[seed % len(at_random)]
    neuron = Resting(theta=1.0, tau=rng.uniform(3, 30), rest=rest - theta + 1.0, sign=rng.choice([1.0, -1.0, 0.01]))
    neuron = Izhikevich(dt=rng.choice([0.5, 1.0])) if seed % 4 == 3 else neuron
    cs.seed(seed)
    x, labels = spikes(100, 8, 60, seed=seed), np.arange(8) % 5
    net = dense(60, 40, 5, neuron=neuron, weight_scale=float(10 ** rng.uniform(-2, 2)))
    before = net.state()
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = calibrated(net, x, rate=30.0)
    assert len(said) == (not all(row.reached for row in found.layers))
    for row, (name, array) in zip(found.layers, weights_of(net).items(), strict=True):
        assert 0 < row.factor < np.inf
        assert row.reached == (abs(row.rate - 30.0) <= 15.0)
        assert row.reached or rest > theta
        np.testing.assert_allclose(array, row.factor * before[name], rtol=1e-4)
    net.load_state(before)
    advice = cs.diagnose(net, [(x, labels)])
    assert all(0 < each.value < 1e6 for each in advice.advice if each.setting == "weight_scale")
    assert "calibrate" not in str(advice)
    advice.apply(net)
    after = cs.diagnose(net, [(x, labels)])
    assert after.badness <= advice.badness


def test_a_skip_that_fires_by_itself():
    """The other branch has the potential of the start of a search: it is neither lost nor dominant."""
    cs.seed(1)
    net = cs.Sequential(cs.Parallel(cs.Dense(60, 60), lambda x: cs.Tensor(x.data * np.float32(50.0))), SRM)
    net[0][0].weight.data *= 1e-3
    with pytest.warns(UserWarning, match="no factor gives 10 Hz"):
        (row,) = calibrated(net, FLAT, 10).layers
    assert row.rate > 20
    a = SRM.psp(net[0][0](FLAT)).data
    assert a.std() == pytest.approx(SRM.theta / 2, rel=0.01)


def test_layers_to_keep_and_the_table():
    cs.seed(1)
    for keep in ([2], [-2], (2,)):
        net = dense(60, 40, 30)
        before = net[2].weight.data
        found = calibrated(net, FLAT, keep=keep)
        assert net[2].weight.data is before
        assert [row.scaled for row in found.layers] == [True, False]
    head, first, second = str(found).splitlines()
    assert head == "weights times  rate before  after (Hz)  layer"
    one, two = found.layers
    assert first == f"{one.factor:13.3g}  {one.before:11.1f}  {one.rate:10.1f}  layer 1 (Dense(60, 40), SRM)"
    assert second == f"         kept  {two.before:11.1f}  {two.rate:10.1f}  layer 3 (Dense(40, 30), SRM)"
    net = cs.Sequential(dense(60, 40), cs.Parallel(dense(40, 30), dense(40, 30)))
    before = [p.data for p in net.parameters()]
    calibrated(net, FLAT, keep=[net[1], (0, 0)])
    assert all(p.data is a for p, a in zip(net.parameters(), before, strict=True))


def test_samples():
    """The first samples of the first batches are used, and no more are read."""
    x = [spikes(50, 3, 60, seed=seed) for seed in range(4)]
    whole = np.concatenate(x, axis=1)
    read = []

    def batches():
        for each in x:
            read.append(1)
            yield each, None

    found = []
    for given in (batches(), [whole[:, :5]], [whole]):
        cs.seed(1)
        found.append(str(cs.calibrate(dense(60, 40), given, 60, samples=5)))
    assert found[0] == found[1] == found[2]
    assert len(read) == 2
    assert len(cs.calibrate(dense(60, 40), [whole], 60, samples=100).layers) == 1


def test_the_epoch_of_a_loader_does_not_change():
    data = Arrays(spikes(20, 30, 6, share=0.3), np.arange(20) % 3)
    loader = Loader(data, batch=4, shuffle=True, seed=0)
    loader.epoch = 5
    net, loss = cs.Sequential(cs.Dense(6, 3), cs.SRM()), cs.SpikeCountLoss(cs.SRM(), true=5, false=1, window=(0, 30))
    first = loader[0][0].copy()
    Trainer(net, loss, cs.Adam(net.parameters())).prepare(loader)
    assert cs.calibrate(net, loader, samples=9).layers[0].rate == pytest.approx(30, rel=0.1)
    cs.diagnose(net, loader, loss=loss)
    with refuses("calibrate: rate must be under 1000 Hz, the most of SRM(theta=10.0, tau_sr=10.0,"):
        cs.calibrate(cs.Sequential(cs.Dense(7, 3), cs.SRM()), loader, rate=2000)
    assert loader.epoch == 5
    assert (loader[0][0] == first).all()


def test_numbers_of_64_bits():
    cs.seed(1)
    net = dense(60, 40, 30)
    for p in net.parameters():
        p.data = p.data.astype(np.float64)
    found = calibrated(net, FLAT.astype(np.float64))
    assert [p.dtype for p in net.parameters()] == [np.float64, np.float64]
    assert [row.rate for row in found.layers] == pytest.approx([60, 60], rel=0.1)


X, NET = spikes(40, 3, 6, share=0.3), dense(6, 4, 2)
LOIHI = cs.Loihi(ref_delay=4)
MOST = 1000 / LOIHI.period
ERRORS = [
    (TypeError, (lambda x: x, [X]), {}, "net must be a Network or Sequential, got function"),
    (TypeError, (cs.Sequential(cs.Dense(6, 4)), [X]), {}, "net has no neurons"),
    (ValueError, (NET, [X], 1000), {}, f"rate must be under 1000 Hz, the most of {SRM!r}, got 1000"),
    (
        *(ValueError, (dense(6, 4, 2, neuron=LOIHI), [X], MOST), {}),
        f"rate must be under {MOST:g} Hz, the most of {LOIHI!r}, got {MOST:g}",
    ),
    (TypeError, (NET, X), {}, "batches must be batches (x, target), got ndarray; pass [(x, target)]"),
    (ValueError, (NET, [X[0, 0]]), {}, "x must be (T, N, ...), got shape (6,)"),
    (ValueError, (NET, []), {}, "batches must have a sample with a time step, got none"),
    (ValueError, (NET, [X[:, :1], X[:20]]), {}, "batches must have one shape, got (20, 3, 6) after (40, 1, 6)"),
    (TypeError, (NET, [X]), {"keep": NET[0]}, "keep must be layers or positions, got Dense; pass [layer]"),
]


@pytest.mark.parametrize(("kind", "given", "options", "message"), ERRORS, ids=[each[3][:24] for each in ERRORS])
def test_errors(kind, given, options, message):
    before = [p.data for p in NET.parameters()]
    with pytest.raises(kind, match="^" + re.escape(f"calibrate: {message}") + "$"):
        cs.calibrate(*given, **options)
    assert all(p.data is a for p, a in zip(NET.parameters(), before, strict=True))


def test_a_later_layer_that_does_not_fit_leaves_the_first_as_it_was():
    net = dense(6, 4, 2)
    net.layers[2] = cs.Dense(5, 2)
    before = net[0].weight.data
    with refuses("dense_neuron: x has 4 features, weight expects 5"):
        cs.calibrate(net, [X])
    with refuses("Sequential: Dense(6, 4) is none of its layers"):
        cs.calibrate(net, [X], keep=[cs.Dense(6, 4)])
    assert net[0].weight.data is before
    with refuses("Trainer: calibrate must be positive"):
        Trainer(NET, cs.SpikeCountLoss(SRM), cs.SGD(NET.parameters()), calibrate=0)
