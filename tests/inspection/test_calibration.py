"""The table that `calibrate` returns, and what a calibration costs."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.tape import as_tensor

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
    assert second == f"         kept  {two.before:11.1f}  {two.rate:10.1f}  layer 3 (SRM)"


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
