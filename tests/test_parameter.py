"""Parameters with bounds: every optimizer leaves them within, on either device, and a checkpoint keeps them so."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer._parameter import Bounded
from cuslayer.training.checkpoint import Checkpoint, load_checkpoint

MAKES = [
    lambda p: cs.SGD(p, 0.5, momentum=0.5),
    lambda p: cs.Adam(p, 0.5),
    lambda p: cs.Adam(p, 0.5, amsgrad=True),
    lambda p: cs.optim.NAdam(p, 0.5),
]


def walk(make):
    """Return a bounded and a free parameter after each step along the same gradients."""
    generator = np.random.default_rng(3)
    start = generator.uniform(0, 1, (4, 30)).astype(np.float32)
    bounded, free = Bounded(start.copy(), least=0.0, most=1.5), cs.Tensor(start.copy(), requires_grad=True)
    optimizer, path = make([bounded, free]), []
    for _ in range(20):
        bounded.grad = free.grad = backend.to_device(generator.standard_normal(start.shape).astype(np.float32))
        optimizer.step()
        path.append((backend.to_numpy(bounded.data).copy(), backend.to_numpy(free.data).copy()))
    return path


@pytest.mark.parametrize("make", MAKES)
def test_a_step_leaves_it_within_its_bounds(make):
    path = walk(make)
    for bounded, _ in path:
        assert bounded.min() == 0
        assert bounded.max() <= 1.5
    assert path[-1][1].min() < 0
    assert path[-1][1].max() > 1.5
    # The first step is the free one's, cut.
    assert (path[0][0] == path[0][1].clip(0, 1.5)).all()


@pytest.mark.parametrize("bounds", [{}, {"least": 0.1}, {"most": 1.1}, {"least": 0.9, "most": 1.1}])
@pytest.mark.parametrize("make", MAKES)
def test_a_trainer_takes_the_steps_of_a_loop_for_any_bounds(make, bounds):
    class Gains(cs.Layer):
        memory = 0

        def __init__(self):
            self.gains = Bounded(np.ones(3), **bounds)

        def __call__(self, x):
            return x * self.gains

    def fresh():
        cs.seed(2)
        net = cs.Sequential(Gains(), cs.Dense(3, 2), cs.SRM())
        return net, cs.SpikeCountLoss(cs.SRM(), true=5, false=0), make(net.parameters())

    x, labels = np.random.default_rng(0).random((20, 4, 3)) < 0.5, np.array([0, 1, 0, 1])
    net, loss, optimizer = fresh()
    for _ in range(3):
        optimizer.zero_grad()
        loss(net(x), labels).backward()
        optimizer.step()
    other, loss, optimizer = fresh()
    cs.Trainer(other, loss, optimizer, calibrate=None).train([(x, labels)] * 3)
    for name, value in net.state().items():
        assert (other.state()[name] == value).all(), name
    gains = other[0].gains
    assert gains.least <= gains.data.min() <= gains.data.max() <= gains.most
    assert not (gains.data == 1).all()


def test_delays_stay_within_their_bounds_through_a_checkpoint(tmp_path):
    def made():
        cs.seed(1)
        layer = cs.Delay(6, dt=1.0, max_delay=2.0)
        net = cs.Sequential(layer, cs.Dense(6, 3), cs.SRM())
        return layer, net, cs.Adam(net.parameters(), lr=0.7)

    def steps(layer, optimizer, seeds):
        for seed in seeds:
            for p in optimizer.parameters:
                p.grad = np.random.default_rng(seed).standard_normal(p.shape).astype(np.float32)
            optimizer.step()
            assert 0 <= layer.delay.data.min() <= layer.delay.data.max() <= 2

    layer, net, optimizer = made()
    steps(layer, optimizer, range(4))
    assert 0.0 in layer.delay.data
    Checkpoint.of(1, net, optimizer).save(tmp_path / "it.npz")
    other, other_net, other_optimizer = made()
    load_checkpoint(tmp_path / "it.npz").restore(other_net, other_optimizer)
    for one, two in ((layer, optimizer), (other, other_optimizer)):
        steps(one, two, range(4, 20))
    assert (layer.delay.data == other.delay.data).all()


def test_errors():
    with pytest.raises(ValueError, match="Bounded: least must not be above most, got 2 and 1"):
        Bounded([0.0], least=2.0, most=1.0)
    with pytest.raises(TypeError, match="Bounded: data must be real numbers or booleans, got complex128"):
        Bounded([1j])
