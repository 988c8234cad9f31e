"""The table that `calibrate` returns, and what a calibration costs."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.data import Arrays, Loader
from cuslayer.tape import as_tensor
from cuslayer.training import Trainer

SRM = cs.SRM(tau_sr=4.0)
FLAT = np.random.default_rng(0).random((120, 8, 60)) < 0.05


def test_the_table():
    cs.seed(1)
    net = cs.Sequential(cs.Dense(60, 40), SRM, cs.Dense(40, 30), SRM)
    found = cs.calibrate(net, [FLAT], 60, keep=[2])
    head, first, second = str(found).splitlines()
    assert head == "weights times  rate before  after (Hz)  layer"
    one, two = found.layers
    assert first == f"{one.factor:13.3g}  {one.before:11.1f}  {one.rate:10.1f}  layer 1 (Dense(60, 40), SRM)"
    assert second == f"         kept  {two.before:11.1f}  {two.rate:10.1f}  layer 3 (Dense(40, 30), SRM)"


@pytest.mark.parametrize("notation", ["34x34x2-16c5-2a-32c3-2a-10", "34x34x2-64-10"])
def test_a_calibration_costs_less_than_ten_steps(notation):
    """By the number of inputs of neurons that are filtered: a step does so forward and backward."""
    work = []
    srm = cs.SRM

    class Counting(srm):
        def __call__(self, x):
            work.append(as_tensor(x).data.size)
            return super().__call__(x)

        def psp(self, x):
            work.append(as_tensor(x).data.size)
            return super().psp(x)

    cs.seed(0)
    net = cs.Network(notation, Counting())
    x = np.random.default_rng(0).random((20, 16, 34, 34, 2)) < 0.05
    with cs.no_grad():
        net(x)
    step = 2 * sum(work)
    work.clear()
    cs.calibrate(net, [x], 50)
    assert sum(work) < 10 * step


def test_silent_input_is_said():
    net = cs.Sequential(cs.Dense(6, 5), cs.SRM(), cs.Dense(5, 3), cs.SRM())
    before = [p.numpy().copy() for p in net.parameters()]
    found = cs.calibrate(net, [np.zeros((30, 2, 6), bool)])
    assert [(row.no_input, row.factor, row.rate) for row in found.layers] == [(True, 1.0, 0.0)] * 2
    assert str(found).count("     no input  ") == 2
    assert all((p.numpy() == old).all() for p, old in zip(net.parameters(), before, strict=True))


def test_a_kept_layer_is_named():
    net = cs.Sequential(cs.Dense(6, 5), cs.SRM(), cs.Dense(5, 3), cs.Dropout(0.1), cs.SRM())
    x = np.random.default_rng(0).random((60, 4, 6)) < 0.3
    names = ["layer 1 (Dense(6, 5), SRM)", "layer 4 (Dense(5, 3), SRM)"]
    for keep in ([], [0], [0, 2]):
        assert [row.name for row in cs.calibrate(net, [x], keep=keep).layers] == names


def test_the_epoch_of_a_loader_does_not_change():
    rng = np.random.default_rng(0)
    data = Arrays(rng.random((20, 30, 6)) < 0.3, np.arange(20) % 3)
    loader = Loader(data, batch=4, shuffle=True, seed=0)
    loader.epoch = 5
    net, loss = cs.Sequential(cs.Dense(6, 3), cs.SRM()), cs.SpikeCountLoss(cs.SRM(), true=5, false=1, region=(0, 30))
    first = loader[0][0].copy()
    Trainer(net, loss, cs.Adam(net.parameters())).prepare(loader)
    cs.calibrate(net, loader, samples=9)
    cs.health(net, loader, loss=loss)
    with pytest.raises(ValueError, match="calibrate"):
        cs.calibrate(cs.Sequential(cs.Dense(7, 3), cs.SRM()), loader, rate=2000)
    assert loader.epoch == 5
    assert (loader[0][0] == first).all()
