"""The time step of a network: neurons of different dt, and a loss or loader of another dt."""

from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Arrays, Loader
from cuslayer.training.trainer import Trainer

FINE, COARSE = cs.SRM(dt=0.5), cs.Loihi()
LAYERS = [
    cs.Dense(3, 3),
    cs.Delay(3, dt=1.0),
    cs.Shift(1.0),
    cs.Dropout(0.5),
    cs.Average(1),
    cs.FilterBank(2, 3),
    cs.TemporalFilter(FINE),
    cs.Pool(2, gain=1.0),
    cs.Sequential(cs.Dense(3, 3), cs.Sequential()),
    cs.Parallel(cs.Dense(3, 3), cs.Dense(3, 3)),
]


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: type(layer).__name__)
def test_neurons_of_a_chain_have_one_step(layer):
    message = r"^Sequential: neurons must have one dt, got 0\.5 and 1$"
    for first, last in ((FINE, COARSE), (COARSE, FINE), (cs.SampledSRM(dt=0.5), cs.SRM())):
        with pytest.raises(ValueError, match=message):
            cs.Sequential(cs.Dense(3, 3), first, layer, last)
        with pytest.raises(ValueError, match=message):
            cs.Sequential(cs.Sequential(first), cs.Sequential(layer, last))
    assert cs.Sequential(FINE, layer, cs.SRM(theta=5.0, dt=0.5))


class Halved(cs.Layer):
    """Every second step."""

    def __call__(self, x):
        return x[::2]


def test_a_stage_of_ones_own_may_change_the_step():
    for stage in (Halved(), lambda x: x[::2]):
        net = cs.Sequential(cs.Dense(3, 3), FINE, stage, cs.Dense(3, 2), cs.SRM())
        assert net(np.ones((10, 1, 3), bool)).shape == (5, 1, 2)

    class Kept(Halved):
        keeps_steps = True

    with pytest.raises(ValueError, match="one dt"):
        cs.Sequential(FINE, Kept(), cs.SRM())


def test_neurons_without_a_step_fit_any():
    class Plain:
        theta = 1.0

        def psp(self, x):
            return x

        def __call__(self, x):
            return x >= 1.0

    assert cs.Sequential(FINE, cs.Dense(3, 3), Plain(), cs.Dense(3, 3), FINE)


def trainer(net, loss):
    return Trainer(net, loss, cs.SGD(net.parameters()), calibrate=None)


def test_a_loss_or_a_loader_of_another_step_warns():
    net = cs.Sequential(cs.Dense(3, 2), FINE)
    message = "Trainer: the network has a dt of 0.5 ms, the neuron of the loss one of 1 ms"
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        trainer(net, cs.SpikeCountLoss(cs.SRM()))
    loader = Loader(Arrays(np.ones((4, 20, 3), bool), np.array([0, 1, 0, 1])), 4)
    message = "train: the loader has a dt of 1 ms, the network one of 0.5 ms"
    with pytest.warns(UserWarning, match=f"^{re.escape(message)}$"):
        trainer(net, lambda spikes, labels: (spikes * 1.0).sum()).test(loader)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        trainer(net, cs.SpikeCountLoss(FINE))
        trainer(cs.Sequential(*net, lambda x: x[::2]), cs.SpikeCountLoss(cs.SRM()))
        trainer(cs.Sequential(cs.Dense(3, 2)), cs.SpikeCountLoss(cs.SRM()))
