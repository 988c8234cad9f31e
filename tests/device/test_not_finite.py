"""Training on the stand-in for CuPy stops where a number is not finite: noted on the device, read at the next look."""

import math

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.backend import to_numpy
from cuslayer.data import Arrays, Loader
from cuslayer.training import NotFiniteError, Trainer
from tools import fake_cupy
from tools.emulator.driver import in_one_order

SRM = cs.SRM(tau_sr=3.0)


@pytest.fixture(autouse=True)
def cuda():
    with in_one_order(), fake_cupy.in_use() as emulator:
        yield emulator


def loader():
    rng = np.random.default_rng(3)
    return Loader(Arrays(rng.random((14, 12, 6)) < 0.3, rng.integers(0, 3, 14)), 2, steps=12)


def trainer(make=cs.Adam, scale=30.0, **options):
    cs.seed(1)
    net = cs.Sequential(cs.Dense(6, 5), SRM, cs.Dense(5, 3, weight_scale=30.0), SRM)
    net[0].scale_output(scale / 10)
    loss = cs.SpikeCountLoss(SRM, true=6, false=1)
    return Trainer(net, loss, make(net.parameters(), lr=0.02), calibrate=None, **options)


class Changing:
    """Batches that change a number on the device before one of them, counted from 1."""

    def __init__(self, batches, at, change):
        self.batches, self.at, self.change = batches, at, change

    def __iter__(self):
        for number, batch in enumerate(self.batches, start=1):
            if number == self.at:
                self.change()
            yield batch


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("make", [cs.SGD, cs.Adam, cs.optim.NAdam])
def test_the_first_step_is_named_at_the_end_of_the_epoch(make, graph):
    """A NaN weight of the first layer: its potentials, and with them its gradient; the batch is one of a graph."""
    t = trainer(make, graph=graph)
    t.train(loader())
    weight = t.net[0].weight.data

    def spoil():
        weight[1, 2] = math.nan

    message = r"^train: epoch 2, batch 6: the gradient of 0\.weight \(Dense\(6, 5\)\) is not finite \(nan\); lower the"
    with pytest.raises(NotFiniteError, match=message) as raised:
        t.train(Changing(loader(), 6, spoil))
    assert raised.value.batch == 6


def test_a_rate_times_a_gradient_past_float32():
    def made(lr, graph):
        t = trainer(cs.SGD, graph=graph)
        t.loss = lambda s, target, count=t.loss: count(s, target) * 1e32
        t.optimizer.lr = lr
        return t

    t = made(1e-34, graph=True)

    def spoil():
        t.optimizer.lr = 2e9

    with pytest.raises(NotFiniteError, match=r"^train: epoch 1, batch 5: 0\.weight \(Dense\(6, 5\)\) is not finite"):
        t.train(Changing(loader(), 5, spoil))
    t = made(2e9, graph=False)
    with pytest.raises(NotFiniteError, match=r"^train: epoch 1, batch 1: 0\.weight \(Dense\(6, 5\)\) is not finite"):
        t.train(loader())


def test_potentials_that_are_infinite():
    for graph in (True, False):
        with pytest.raises(NotFiniteError, match=r"^train: epoch 1, batch 1: the gradient of 0\.weight .* not finite"):
            trainer(scale=3e38, graph=graph).train(loader())


def test_a_loss_that_is_not_finite():
    t = trainer(graph=True)
    factor = backend.to_device(np.ones((), np.float32))
    t.loss = lambda s, target, count=t.loss: count(s, target) * cs.Tensor(factor)

    def spoil():
        factor[...] = math.inf

    with pytest.raises(NotFiniteError, match=r"^train: epoch 1, batch 4: the loss is not finite; check the targets"):
        t.train(Changing(loader(), 4, spoil))
    fresh = trainer()
    fresh.loss = t.loss
    with pytest.raises(NotFiniteError, match=r"^test: epoch 1, batch 1: the loss is not finite"):
        fresh.test(loader())


def test_frozen_parameters_and_checkpoints_keep_the_numbers_of_steps():
    """Other weights in the table of the kernels, and a state with other steps."""
    t = trainer(cs.SGD, graph=True)
    t.train(loader())
    t.optimizer.load_state(t.optimizer.state() | {"steps": np.array(1000)})
    first, last = (t.net[i].weight for i in (0, 2))

    def spoil():
        first.requires_grad = False
        first.data[0] = math.nan

    def restore():
        first.requires_grad, last.requires_grad = True, False

    batches = Changing(Changing(loader(), 5, restore), 3, spoil)
    with pytest.raises(NotFiniteError, match=r"^train: epoch 2, batch 5: the gradient of 0\.weight .* is not finite"):
        t.train(batches)
    assert t.optimizer.steps == 1007


@pytest.mark.parametrize("clip", [{"clip_norm": 0.01}, {"clip_value": 0.001}, {"clip_norm": 0.01, "clip_value": 0.003}])
def test_clipping_in_a_graph_has_the_bits_of_plain_steps(clip):
    found = []
    for graph in (True, False):
        t = trainer(lambda p, lr: cs.SGD(p, lr, momentum=0.5, **clip), graph=graph)
        scores = [t.train(loader()) for _ in range(2)]
        assert t.graph_problem is None
        found.append((scores, [to_numpy(p.data).tobytes() for p in t.net.parameters()]))
        # The gradient flow has the sizes before clipping.
        assert max(t.gradients.epochs[0].values()) > 0.01
    assert found[0] == found[1]
