"""Sick networks: following the advice of health to the end gives networks that learn."""

from __future__ import annotations

import copy
import dataclasses
import sys

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.inspection import Advice, NetworkHealth
from tests.support.refused import refused

pytestmark = pytest.mark.all

SRM, LIF, ADLIF = cs.SRM(), cs.LIF(tau=10.0), cs.AdLIF()
LOSS = cs.SpikeCountLoss(SRM, true=12, false=2)
# The most rounds of advice that are followed.
ROUNDS = 4


def patterns(shape, quarters, rates=(0.02, 0.12)):
    """Spikes (60, 24, ...) of four classes: in each a quarter of the inputs fires more often."""
    rng, labels = np.random.default_rng(0), np.arange(24) % 4
    of_class = np.full((4, *shape), rates[0])
    for k, where in enumerate(quarters):
        of_class[k][where] = rates[1]
    return rng.random((60, 24, *shape)) < of_class[labels], labels


def pictures():
    """Pictures of the classes of `FRAMES`, as a constant current of 16 steps."""
    rng, labels = np.random.default_rng(0), np.arange(24) % 4
    x = 0.5 * rng.random((24, 8, 8, 1), np.float32)
    for n, k in enumerate(labels):
        x[n][QUARTERS[k]] += 0.5
    return np.repeat(x[None], 16, axis=0), labels


EIGHTHS = [slice(7 * k, 7 * k + 7) for k in range(4)]
HALVES = slice(0, 4), slice(4, 8)
QUARTERS = [(rows, columns) for rows in HALVES for columns in HALVES]
FLAT = patterns((30,), EIGHTHS)
RARE = patterns((30,), EIGHTHS, rates=(0.0005, 0.01))
FRAMES = patterns((8, 8, 2), QUARTERS)
PICTURES = pictures()


def calibrated(net, batch=FLAT):
    cs.calibrate(net, [batch], output_rate=75.0)
    return net


def layers(neuron, count, norm=lambda: ()):
    """The stages of a network of dense layers."""
    hidden = (stage for n in [30, *[20] * (count - 2)] for stage in (cs.Dense(n, 20), *norm(), neuron))
    return cs.Sequential(*hidden, cs.Dense(20, 4), neuron)


def scaled(net, *factors):
    """The network, its dense layers multiplied by factors."""
    dense = [layer for layer in net.layers if isinstance(layer, cs.Dense)]
    for layer, factor in zip(dense, factors, strict=False):
        layer.scale_output(factor)
    return net


def mlp(*factors, neuron=SRM):
    """A calibrated network of three layers, their weights then multiplied by factors."""
    return scaled(calibrated(layers(neuron, 3)), *factors)


def with_theta(*thetas):
    net = mlp()
    for position, theta in zip((1, 3, 5), thetas, strict=True):
        net.layers[position] = dataclasses.replace(SRM, theta=theta)
    return net


def cnn(factor=1.0):
    net = calibrated(cs.Network("8x8x2-4c3-2a-4", SRM), FRAMES)
    net[2].scale_output(factor)
    return net


def read_out(*factors, neuron=LIF):
    hidden = cs.Dense(30, 20), neuron, cs.Dense(20, 20), neuron
    return scaled(calibrated(cs.Sequential(*hidden, cs.ReadOut(20, 4, tau=20.0))), *factors)


def recurrent(factor):
    population = cs.Recurrent(cs.Dense(20, 20), SRM)
    net = calibrated(cs.Sequential(cs.Dense(30, 20), population, cs.Dense(20, 4), SRM))
    population.layer.scale_output(factor)
    return net


def centered():
    """Residual convolutions with `BatchNorm` on sparse spikes."""

    def layer(inputs):
        return cs.Conv(inputs, 6, 3, padding=1), cs.BatchNorm(6, height=SRM.theta)

    inner = [(*layer(6), SRM, *layer(6)) for _ in range(2)]
    blocks = (stage for block in inner for stage in (cs.Residual(*block), SRM))
    return calibrated(cs.Sequential(*layer(2), SRM, *blocks, cs.Dense((8, 8, 6), 4), SRM), FRAMES)


def direct(factor):
    neuron = cs.LIF(tau=2.0)
    pool = cs.SumPool(2, gain=neuron.pool_gain)
    net = cs.Sequential(cs.Conv(1, 8, 3, padding=1), neuron, pool, neuron, cs.ReadOut((4, 4, 8), 4, tau=20.0))
    net[0].scale_output(factor)
    return net


def adam(net, lr=0.05):
    return cs.Adam(net.parameters(), lr=lr, relative=True)


def usual(net):
    return cs.Adam(net.parameters(), lr=0.05, relative=True, warmup=50, amsgrad=True)


def sgd(net, lr=2e-4):
    return cs.SGD(net.parameters(), lr=lr)


def loss_of(net):
    """The loss of a network, by its output."""
    neuron = net.layers[-1]
    if isinstance(neuron, cs.ReadOut):
        return cs.CrossEntropyLoss("mean")
    return cs.SpikeCountLoss(neuron, true=12, false=2)


# For each sick network: the network, its optimizer, its data, and the first settings to change.
SICK = {
    "first layer too small": (lambda: mlp(0.01), adam, FLAT, {"weight_scale"}),
    "layer in the middle silent": (lambda: mlp(1.0, 0.001), adam, FLAT, {"weight_scale"}),
    "all too large": (lambda: mlp(100.0, 100.0, 100.0), adam, FLAT, {"weight_scale"}),
    "threshold of the output too low": (lambda: with_theta(10.0, 10.0, 0.02), adam, FLAT, {"weight_scale"}),
    "hardly any input": (mlp, adam, RARE, {"weight_scale"}),
    "pooling gain too small": (lambda: cnn(0.01), adam, FRAMES, {"gain"}),
    "pooling gain too large": (lambda: cnn(3000.0), adam, FRAMES, {"gain"}),
    "SLAYER's scales": (lambda: cs.Network("8x8x2-8c3-2a-16c3-4", SRM), adam, FRAMES, {"weight_scale", "gain"}),
    "surrogate too narrow": (lambda: mlp(neuron=cs.SRM(tau_rho=0.005)), sgd, FLAT, {"tau_rho"}),
    "surrogate too low": (lambda: mlp(neuron=cs.SRM(scale_rho=1e-3)), sgd, FLAT, {"scale_rho"}),
    "surrogate too high": (lambda: mlp(neuron=cs.SRM(scale_rho=100.0)), lambda n: sgd(n, 1e-3), FLAT, {"scale_rho"}),
    "surrogate too wide": (lambda: mlp(neuron=cs.SRM(tau_rho=1000.0)), sgd, FLAT, {"lr"}),
    "Adam too fast": (mlp, lambda net: adam(net, 5.0), FLAT, {"lr"}),
    "SGD too slow": (mlp, lambda net: sgd(net, 2e-6), FLAT, {"lr"}),
    "eight layers": (lambda: layers(LIF, 8), sgd, FLAT, {"weight_scale"}),
    "weights among neurons too large": (lambda: recurrent(100.0), adam, FLAT, {"weight_scale"}),
    "AdLIF too small": (lambda: read_out(0.01, 0.01, neuron=ADLIF), adam, FLAT, {"weight_scale"}),
}
# Their kernels take long to compile, or their networks to train.
SLOW = {
    "CUBA too large": (
        lambda: mlp(100.0, 100.0, 100.0, neuron=cs.CUBA(tau_i=5.0, tau_v=10.0)),
        adam,
        FLAT,
        {"weight_scale"},
    ),
    "AdaptiveLIF too small": (
        lambda: mlp(0.01, 0.01, 0.01, neuron=cs.AdaptiveLIF()),
        adam,
        FLAT,
        {"weight_scale"},
    ),
    "pictures as a current, too small": (lambda: direct(1e-4), adam, PICTURES, {"weight_scale"}),
    "mean of BatchNorm": (centered, adam, FRAMES, {"center"}),
}
GOOD = {"network with the defaults of training": (mlp, usual, FLAT), "convolutions": (cnn, usual, FRAMES)}


def score(net, batch):
    """Return the loss per sample and the accuracy."""
    x, labels = batch
    out = net(x)
    correct = out.numpy().sum(axis=0).argmax(axis=-1) == labels
    return loss_of(net)(out, labels).item() / len(labels), correct.mean()


def learn(net, optimizer, batch, steps=40):
    x, labels = batch
    loss = loss_of(net)
    for _ in range(steps):
        optimizer.zero_grad()
        loss(net(x), labels).backward()
        optimizer.step()
    return score(net, batch)


def follow(net, optimizer, batch):
    """Apply advice until there is none, and return the settings of each round."""
    rounds = []
    for _ in range(ROUNDS + 1):
        found = cs.diagnose(net, [batch], loss=loss_of(net), optimizer=optimizer)
        if not found.advice:
            return rounds
        rounds.append({each.setting for each in found.advice})
        found.apply(net, optimizer)
    return pytest.fail(f"still advice after {ROUNDS} rounds: {rounds}")


@pytest.mark.parametrize("name", [*SICK, *(pytest.param(name, marks=pytest.mark.all) for name in SLOW)])
def test_a_sick_network_learns_after_the_advice(name):
    make, optimizer_of, batch, settings = (SICK | SLOW)[name]
    cs.seed(3)
    net = make()
    optimizer = optimizer_of(net)
    alone = copy.deepcopy((net, optimizer))
    rounds = follow(net, optimizer, batch)
    loss, accuracy = learn(net, optimizer, batch)
    with np.errstate(invalid="ignore", over="ignore"):
        without, chance = learn(*alone, batch)
    assert rounds[0] == settings
    assert accuracy > 0.7
    assert loss < 0.5
    assert chance < 0.8
    assert without > 2.5 * loss


@pytest.mark.parametrize("name", GOOD)
def test_a_good_start_has_nothing_to_change(name):
    make, optimizer_of, batch = GOOD[name]
    cs.seed(3)
    net = make()
    optimizer = optimizer_of(net)
    found = cs.diagnose(net, [batch], loss=LOSS, optimizer=optimizer)
    assert found.advice == ()
    assert str(found).endswith("advice: nothing to change")
    learn(net, optimizer, batch, steps=80)
    assert cs.diagnose(net, [batch], loss=LOSS, optimizer=optimizer).advice == ()


def test_the_first_step_is_that_of_the_optimizer():
    cs.seed(3)
    net = mlp()
    optimizer = cs.Adam(net.parameters(), lr=0.05, relative=True, warmup=10, amsgrad=True)
    step = cs.diagnose(net, [FLAT], loss=LOSS, optimizer=optimizer).first_step
    old = net[0].weight.data.copy()
    first = score(net, FLAT)[0]
    loss, _ = learn(net, optimizer, FLAT, steps=1)
    assert step.loss == pytest.approx(first, rel=1e-5)
    assert step.loss_after == pytest.approx(loss, rel=1e-5)
    change = SRM.psp(cs.Tensor(FLAT[0].astype(np.float32) @ (net[0].weight.data - old))).data
    assert step.moves[1] == pytest.approx(np.sqrt(np.mean(change**2)) / 10.0, rel=1e-3)
    assert step.full[1] == pytest.approx(10 * step.moves[1], rel=0.05)
    assert not step.silent


@pytest.mark.parametrize("tau", [2.0, 10.0])
@pytest.mark.parametrize("scale", ["std", "power", "none"])
@pytest.mark.parametrize("share", [0.05, 0.95])
def test_batch_norm_subtracts_no_mean_where_it_alone_moves_potentials(tau, scale, share):
    """By hand: the constant current of each channel, summed by the response, against the threshold."""
    cs.seed(3)
    srm, rng = cs.SRM(theta=5.0, tau_sr=tau), np.random.default_rng(1)
    x, labels = rng.random((60, 24, 3)) < share, np.arange(24) % 4
    norm = cs.BatchNorm(20, scale=scale, height=3.0)
    net = cs.Sequential(cs.Dense(3, 20, weight_scale=6.0), norm, srm, cs.Dense(20, 4), srm)
    current = net[0](x).data.astype(float)
    mean, deviation = current.mean(axis=(0, 1)), current.std(axis=(0, 1))
    divisor = {"std": deviation / 3, "power": 2 ** np.ceil(np.log2(deviation)) / 3, "none": 1.0}[scale]
    away = np.sqrt(np.mean((mean / divisor) ** 2)) * srm.response[:60].sum() / 5.0
    setting = "BatchNorm" if scale == "none" else "center"  # without the mean "none" does nothing
    found = [each for each in cs.diagnose(net, [(x, labels)]).advice if each.setting == setting]
    assert [each.at for each in found] == ([1] if share < 0.5 and away > 0.3 else [])
    if found:
        assert f"{away:.2g} of the distance to theta" in found[0].reason
        found[0].apply(net)
        empty = np.zeros((60, 1, 20))
        np.testing.assert_array_equal(net[1](empty).data, empty)
        assert isinstance(net[1], cs.BatchNorm) == (scale != "none")


def test_batch_norm_without_its_mean_keeps_its_gain_and_statistics():
    """In evaluation: the running mean and variance give the running mean square."""
    cs.seed(3)
    norm = cs.BatchNorm(4, trained=True, height=2.0, mean_hook=lambda mean: mean)
    net = cs.Sequential(norm, SRM)
    x = np.random.default_rng(0).standard_normal((30, 5, 4), np.float32) + 1.0
    norm.observe(x)
    Advice(1, "", "center", 1.0, 0.0, "", at=0).apply(net)
    assert net[0].gain is norm.gain
    assert net[0].offset is None
    net.eval()
    np.testing.assert_allclose(net[0](x).data, 2.0 * x / np.sqrt(np.mean(x**2, axis=(0, 1))), rtol=1e-3)


def test_a_rate_of_a_group_and_a_schedule():
    cs.seed(3)
    net = mlp()
    groups = [{"params": [net[0].weight], "lr": 5.0}, {"params": [net[2].weight, net[4].weight]}]
    optimizer = cs.Adam(groups, lr=lambda epoch: 0.05 / (1 + epoch), relative=True)
    (advice,) = cs.diagnose(net, [FLAT], loss=LOSS, optimizer=optimizer).advice
    assert (advice.layer, advice.name, advice.now) == (0, "group 0 of the optimizer", 5.0)
    advice.apply(net, optimizer)
    assert [group.lr for group in optimizer.groups] == [advice.value, 0.05]
    optimizer.schedule = lambda epoch: 1e-4 / (1 + epoch)
    (advice,) = cs.diagnose(net, [FLAT], loss=LOSS, optimizer=optimizer).advice
    assert (advice.layer, advice.name, advice.setting) == (None, "optimizer", "lr")
    advice.apply(net, optimizer)
    assert optimizer.lr == pytest.approx(advice.value)
    optimizer.epoch = 1
    assert optimizer.lr == pytest.approx(advice.value / 2)


@pytest.mark.parametrize("seed", range(8))
def test_advice_of_a_rate_multiplies_the_schedule_of_its_owner_alone(seed):
    """Of the optimizer or of a group, each with a constant or a schedule; all other rates stay."""
    rng = np.random.default_rng(seed)
    net = cs.Network("3-4-4-2", SRM)

    def rate():
        size = float(rng.uniform(0.01, 1.0))
        return size if rng.random() < 0.5 else lambda epoch: size / (1 + epoch)

    own = rng.random(3) < 0.6
    groups = [{"params": [p]} | ({"lr": rate()} if has else {}) for p, has in zip(net.parameters(), own, strict=True)]
    optimizer = cs.Adam(groups, lr=rate())
    owners = [None, *np.flatnonzero(own).tolist()]
    layer = owners[rng.integers(len(owners))]

    def rates():
        found = []
        for epoch in range(4):
            optimizer.epoch = epoch
            found.append([optimizer.lr, *(group.lr for group in optimizer.groups)])
        optimizer.epoch = 0
        return np.array(found)

    before, factor = rates(), float(rng.uniform(0.1, 5.0))
    now = before[0, 0 if layer is None else 1 + layer]
    Advice(layer, "optimizer", "lr", now, now * factor, "").apply(net, optimizer)
    of_owner = [layer is None, *(layer == n if has else layer is None for n, has in enumerate(own))]
    np.testing.assert_allclose(rates(), before * np.where(of_owner, factor, 1.0))


def test_a_learned_network_keeps_its_slow_rate():
    """A rate that hardly moves a network is too small before it has learned something, and not after."""
    cs.seed(3)
    net = mlp()

    def slow():
        return [a.setting for a in cs.diagnose(net, [FLAT], loss=LOSS, optimizer=sgd(net, 1e-9)).advice]

    assert slow() == ["lr"]
    learn(net, adam(net), FLAT, steps=40)
    assert slow() == []


def test_a_rate_that_raises_the_loss_is_halved_at_least(monkeypatch):
    """By one that changes the potentials a little, which the rule for large changes would hardly lower."""
    steps = sys.modules["cuslayer.inspection.health"]._Steps
    monkeypatch.setattr(steps, "moves", lambda self, **how: {1: 0.35})
    monkeypatch.setattr(steps, "after", lambda self, *_, **how: dataclasses.replace(self.before, loss=99.0))
    cs.seed(3)
    net = mlp()
    (advice,) = cs.diagnose(net, [FLAT], loss=LOSS, optimizer=adam(net)).advice
    assert "and the loss of a sample rises from" in advice.reason
    assert advice.value == pytest.approx(advice.now / 2)


def test_which_losses_are_accepted():
    """Of a network whose loss is 30 % under the loss with other outputs a little more, of others half as much again."""
    for loss, learned, most in ((0.69, True, 0.7), (0.71, False, 1.2)):
        found = NetworkHealth((), (), loss, mixed=1.0)
        assert found.learned == learned
        assert found.accepts(most)
        assert not found.accepts(most + 0.02)


class Contradicting:
    """A loss whose desired rate would make it worse."""

    def __call__(self, spikes, labels):
        return LOSS(spikes, labels)

    def desired_rate(self, target, outputs, steps):
        return 5.0


def test_advice_that_does_not_help_is_not_given():
    """It is before the network has learned something, to an output that fires too often."""
    cs.seed(3)
    net = mlp()
    (advice,) = cs.diagnose(net, [FLAT], loss=Contradicting()).advice
    assert (advice.layer, advice.at) == (5, 4)
    assert advice.value < advice.now / 2
    learn(net, adam(net), FLAT, steps=40)
    found = cs.diagnose(net, [FLAT], loss=Contradicting())
    assert found[5].fault == "fast"
    assert found[5].accepted == (1.0, 25.0)
    assert found.advice == ()


def test_weights_that_round_to_zero():
    cs.seed(3)
    loihi = cs.Loihi()
    net = cs.Network("30-20-4", loihi)
    for layer in net.layers:
        if isinstance(layer, cs.Dense):
            layer.scale_output(0.001)
    loss = cs.SpikeCountLoss(loihi, true=12, false=2)
    found = cs.diagnose(net, [FLAT], loss=loss)
    assert [each.setting for each in found.advice] == ["weight_scale", "weight_scale"]
    found.apply(net)
    after = cs.diagnose(net, [FLAT], loss=loss)
    assert after.advice == ()
    assert after[1].rate == pytest.approx(50, rel=0.15)


def test_advice_in_branches_reaches_the_layers():
    cs.seed(3)
    branches = cs.Parallel(cs.Sequential(cs.Dense(30, 20), SRM), cs.Dense(30, 20), join="add")
    net = cs.Sequential(branches, SRM, cs.Dense(20, 4), SRM)
    net[0, 0, 0].scale_output(0.01)
    net[0, 1].scale_output(0.01)
    found = cs.diagnose(net, [FLAT], loss=LOSS)
    assert {each.at for each in found.advice} >= {(0, 0, 0), (0, 1)}
    assert follow(net, adam(net), FLAT)
    assert not any(layer.fault for layer in cs.diagnose(net, [FLAT], loss=LOSS).layers)


def test_a_loss_without_a_desired_rate():
    cs.seed(3)
    net = mlp(1.0, 1.0, 0.001)

    def loss(spikes, target):
        return ((spikes.mean(axis=0) - cs.Tensor(target)) ** 2).sum()

    target = np.full((24, 4), 0.05, np.float32)
    found = cs.diagnose(net, [(FLAT[0], target)], loss=loss)
    assert found[5].desired is None
    assert [each.layer for each in found.advice] == [5]
    found.advice[0].apply(net)
    assert not cs.diagnose(net, [(FLAT[0], target)], loss=loss).advice


def test_errors():
    net, one = mlp(), [(np.zeros((9, 1, 4), bool), [1])]
    small, check = cs.Network("4-2", SRM), cs.diagnose
    (advice,) = check(net, [FLAT], loss=LOSS, optimizer=adam(net, 5.0)).advice

    class Fixed:
        def __call__(self, x):
            return x

        def __deepcopy__(self, memo):
            raise RuntimeError("no")

    fixed = cs.Sequential(Fixed(), *mlp(0.01).layers)
    for call, message in (
        (lambda: check(net, [FLAT], optimizer=3), "diagnose: optimizer must be an optimizer, such as Adam"),
        (lambda: check(net, [FLAT], optimizer=adam(mlp())), "diagnose: optimizer must have parameters of"),
        (lambda: advice.apply(net), "apply: lr needs the optimizer"),
        (lambda: advice.apply(3), "apply: net must be a Network or Sequential"),
        (lambda: check(fixed, [FLAT], loss=LOSS), "diagnose: net must be one that copy.deepcopy copies"),
        (lambda: check(3, one), "diagnose: net must be a Network or Sequential"),
        (lambda: check(small, one, loss=3), "diagnose: loss must be a function of spikes and target"),
        (lambda: check(small, []), "diagnose: loader must have a batch with a sample"),
        (
            lambda: check(small, [(np.zeros((9, 0, 4), bool), [])]),
            "diagnose: loader must have a batch with",
        ),
        (lambda: check(small, one)[0], "diagnose: neurons stand at 1, got 0"),
    ):
        refused(message, call)
