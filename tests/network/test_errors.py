"""`calibrate` scales surrogates so that errors keep their size from the last neurons to the first."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.neurons.base import is_balanced
from tests.support.refused import refuses

RNG = np.random.default_rng(0)
X = RNG.random((60, 12, 30)) < 0.1
LABELS = np.arange(12) % 4


def deep(kind, depth, norm=False, **options):
    cs.seed(1)
    stages = []
    for layer in range(depth):
        stages.append(cs.Dense(30 if layer == 0 else 24, 24 if layer < depth - 1 else 4))
        if norm and layer < depth - 1:
            stages.append(cs.BatchNorm(24, center=False))
        stages.append(kind(**options))
    return cs.Sequential(*stages)


def spread(net):
    loss = cs.SpikeCountLoss(net[-1], true=6, false=1)
    errors = [layer.error for layer in cs.diagnose(net, [(X, LABELS)], loss=loss).layers]
    return max(errors) / min(errors)


@pytest.mark.parametrize(("kind", "norm"), [(cs.SRM, False), (cs.SRM, True), (cs.LIF, True)])
def test_errors_keep_their_size_through_eight_layers(kind, norm):
    net = deep(kind, 8, norm)
    cs.calibrate(net, [X], rate=60.0)
    assert spread(net) < 10
    scales = [stage.scale_rho for stage in net if is_balanced(stage)]
    assert len(scales) == 8
    assert scales[-1] == 1.0
    cs.calibrate(net, [X], rate=60.0)
    assert [stage.scale_rho for stage in net if is_balanced(stage)] == pytest.approx(scales, rel=0.3)


def test_an_exact_gradient_never_gets_a_higher_surrogate():
    for gradient, raised in (("slayer", True), ("exact", False)):
        cs.seed(1)
        net = cs.Sequential(cs.Dense(30, 24), cs.LIF(gradient=gradient, tau_rho=100.0), cs.Dense(24, 4), cs.LIF())
        cs.calibrate(net, [X], rate=60.0)
        assert (net[1].scale_rho > 1.0) == raised


def test_a_residual_block_and_a_read_out():
    cs.seed(0)
    block = cs.Residual(cs.Conv(3, 3, 3, padding=1), cs.LIF(), cs.Conv(3, 3, 3, padding=1), cs.LIF())
    pixels = cs.Sequential(cs.Conv(1, 3, 3, padding=1), cs.LIF(), block, cs.LIF(), cs.ReadOut((6, 6, 3), 4))
    x = RNG.random((30, 8, 6, 6, 1)) < 0.2
    cs.calibrate(pixels, [x])
    errors = [layer.error for layer in cs.diagnose(pixels, [(x, LABELS[:8])], loss=cs.CrossEntropyLoss("mean")).layers]
    assert max(errors) < 10 * min(errors)


def test_directions_of_gradients_do_not_change():
    """Along a chain, another scale of a surrogate is a factor of the gradients before it."""
    gradients = []
    for options in ({}, {"scale_rho": 1.0}):
        net = deep(cs.SRM, 4, **options)
        cs.calibrate(net, [X], rate=60.0)
        net(X).backward(np.ones((60, 12, 4), np.float32))
        gradients.append([layer.weight.grad / np.linalg.norm(layer.weight.grad) for layer in net[::2]])
        assert any(map(is_balanced, net)) == (not options)
    for balanced, plain in zip(*gradients, strict=True):
        np.testing.assert_allclose(balanced, plain, atol=1e-5)


def test_the_scale_belongs_to_the_state(tmp_path):
    net = deep(cs.LIF, 3)
    assert not any("scale_rho" in name for name in net.state())
    cs.calibrate(net, [X])
    state = net.state()
    other = deep(cs.LIF, 3)
    other.load_state(state)
    cs.save(net, tmp_path / "net.hdf5")
    for same in (other, cs.load(tmp_path / "net.hdf5")):
        assert [n.scale_rho for n in same[1::2]] == [n.scale_rho for n in net[1::2]]
    assert net[1].scale_rho != net[3].scale_rho
    with refuses("load_state: 1.scale_rho must be positive"):
        other.load_state(state | {"1.scale_rho": np.array(-1.0)})
    with refuses("load_state: 1.scale_rho must be a number"):
        other.load_state(state | {"1.scale_rho": np.ones(2)})


def test_trained_constants_stay_with_their_optimizer():
    net = deep(cs.LIF, 3, trained=True)
    parameters = net.parameters()
    cs.calibrate(net, [X])
    assert all(a is b for a, b in zip(parameters, net.parameters(), strict=True))
    assert all(p.grad is None for p in parameters)


def test_padded_recordings_and_networks_without_a_way_back():
    padded = cs.Tensor(X.copy(), lengths=np.r_[20, 20, [60] * 10])
    padded.data[20:, :2] = True
    net = deep(cs.LIF, 3)
    cs.calibrate(net, [padded])
    assert is_balanced(net[1])
    stopped = cs.Sequential(cs.Dense(30, 20), cs.LIF(), lambda x: x.detach(), cs.Dense(20, 4), cs.LIF())
    cs.calibrate(stopped, [X])
    assert not is_balanced(stopped[1])


def apart(depth=4, factor=1000.0, **options):
    """Return a trainer whose network has the errors of its first layer in another size, and a batch."""
    net = deep(cs.LIF, depth, **options)
    cs.calibrate(net, [X], rate=60.0)
    net.load_state(net.state() | {"1.scale_rho": np.array(net[1].scale_rho * factor)})
    loss = cs.SpikeCountLoss(net[-1], true=6, false=1)
    trainer = cs.Trainer(net, loss, cs.Adam(net.parameters(), lr=1e-9), progress=False, log=lambda line: None)
    return trainer, net, (X, LABELS)


@pytest.mark.parametrize(("factor", "levelled"), [(1000.0, True), (1.5, False)])
def test_training_levels_errors_that_have_moved_apart(factor, levelled):
    trainer, net, batch = apart(factor=factor)
    scales = [net[1].scale_rho]
    for _ in range(5):
        trainer.train([batch])
        scales.append(net[1].scale_rho)
    # After one step; then nothing is apart.
    assert scales[:2] == [scales[0]] * 2
    assert (scales[2] < scales[0] / 100) == levelled
    assert scales[2:] == [scales[2]] * 4
    if not levelled:
        assert scales[2] == scales[0]


def test_errors_are_looked_at_only_after_powers_of_two_of_steps(monkeypatch):
    looked = []
    trainer, _, batch = apart()
    monkeypatch.setattr("cuslayer.training.trainer.balance_again", lambda *_: looked.append(trainer.optimizer.steps))
    for _ in range(6):
        trainer.train([batch, batch, batch])
    trainer.train(iter([batch]))
    trainer.train([batch] * 14, steps=2)
    trainer.train([batch])
    assert looked == [3, 6, 9]


def test_scales_of_ones_own_stay():
    net = deep(cs.LIF, 4, scale_rho=3.0)
    loss = cs.SpikeCountLoss(net[-1], true=6, false=1)
    trainer = cs.Trainer(net, loss, cs.Adam(net.parameters(), lr=1e-9), log=lambda line: None)
    for _ in range(3):
        trainer.train([(X, LABELS)])
    assert [stage.scale_rho for stage in net[1::2]] == [3.0] * 4


@pytest.mark.parametrize("recurrent", [False, True])
def test_stateful_neurons_are_calibrated_from_their_start_and_keep_their_states(recurrent):
    def network(**options):
        cs.seed(1)
        hidden = cs.LIF(**options)
        if recurrent:
            hidden = cs.Recurrent(cs.Dense(24, 24), hidden)
        return cs.Sequential(cs.Dense(30, 24), hidden, cs.Dense(24, 4), cs.LIF(**options))

    net = network(stateful=True)
    net(X[:, :3])
    before = net(X[:, :3]).data
    other = network(stateful=True)
    other(X[:, :3])
    cs.calibrate(other, [X], rate=60.0)
    plain = network()
    cs.calibrate(plain, [X], rate=60.0)
    for name, value in plain.state().items():
        np.testing.assert_array_equal(other.state()[name], value)
    other.load_state(net.state())
    np.testing.assert_array_equal(other(X[:, :3]).data, before)


def test_without_calibration_nothing_is_levelled():
    trainer, net, batch = apart()
    trainer.calibrate = None
    before = net[1].scale_rho
    for _ in range(3):
        trainer.train([batch])
    assert net[1].scale_rho == before
