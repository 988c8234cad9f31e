"""Synaptic operations of a network, and their energy."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from tests.support.refused import refuses

pytestmark = pytest.mark.all

RNG = np.random.default_rng(47)


def test_spikes_accumulate_and_numbers_multiply() -> None:
    srm = cs.SRM()
    net = cs.Sequential(cs.Dense(6, 8, bias=True), srm, cs.Delay(8, dt=1.0), cs.Dense(8, 5), srm, cs.ReadOut(5, 3))
    x = RNG.random((30, 4, 6)) < 0.3
    found = cs.inspection.count_operations(net, x)
    hidden = net[1](net[0](x))
    second = net[4](net[3](net[2](hidden)))
    fired = [x.sum() / 4, net[2](hidden).data.sum() / 4, second.data.sum() / 4]
    assert [row.accumulates for row in found.layers] == pytest.approx([8 * fired[0] + 240, 5 * fired[1], 3 * fired[2]])
    assert [row.macs for row in found.layers] == [0.0] * 3
    assert [row.dense for row in found.layers] == [30 * 48.0, 30 * 40.0, 30 * 15.0]
    assert [row.updates for row in found.layers] == [240.0, 150.0, 90.0]
    assert [row.layer for row in found.layers] == [1, 4, 5]
    assert found.energy == pytest.approx(0.0009 * found.accumulates)
    assert found.dense_energy == pytest.approx(0.0046 * found.dense)
    numbers = cs.inspection.count_operations(net, RNG.random((30, 4, 6)).astype(np.float32), update=2.0)
    assert [row.macs for row in numbers.layers] == [30 * 48.0, 0.0, 0.0]
    expected = 0.9 * numbers.accumulates + 4.6 * numbers.macs + 2.0 * numbers.updates
    assert numbers.energy == pytest.approx(expected / 1000)


def test_spikes_that_come_back_are_counted_too() -> None:
    """Those of the last steps of the delay do not."""
    back = cs.Recurrent(cs.Dense(8, 8), cs.LIF(tau=5.0, theta=0.3), delay=3.0)
    net, x = cs.Sequential(cs.Dense(6, 8), back, cs.Dense(8, 5), cs.SRM()), RNG.random((30, 4, 6)) < 0.3
    found, spikes = cs.inspection.count_operations(net, x), net[1](net[0](x)).data
    assert [row.name for row in found.layers][1] == "Dense(8, 8)"
    assert [row.layer for row in found.layers] == [1, 1, 3]
    assert [row.accumulates for row in found.layers] == pytest.approx(
        [8 * x.sum() / 4, 8 * spikes[:-3].sum() / 4, 5 * spikes.sum() / 4]
    )
    assert [row.dense for row in found.layers] == [30 * 48.0, 30 * 64.0, 30 * 40.0]
    assert found.updates == 30 * 13.0


def test_the_table_and_the_network_stay() -> None:
    net, x = cs.Network("8x8x2-4c3-2a-6-3", cs.SRM()), RNG.random((20, 2, 8, 8, 2)) < 0.3
    before = net.state()
    text = str(cs.inspection.count_operations(net, x))
    assert [line.split("  ")[-1].split("(")[0].strip() for line in text.splitlines()[1:-1]] == [
        *("layer 1", "layer 3", "layer 5", "layer 7", "all")
    ]
    assert text.splitlines()[-1].startswith("of a sample; 0.9 pJ an accumulate, 4.6 pJ a MAC")
    assert all(np.array_equal(before[name], value) for name, value in net.state().items())
    with refuses("count_operations: x must not be padded, since all steps count"):
        cs.inspection.count_operations(net, cs.Tensor(x, lengths=[20, 9]))


def test_errors() -> None:
    net = cs.Network("6-3", cs.SRM())
    with refuses("count_operations: net must be a Network or Sequential"):
        cs.inspection.count_operations(cs.SRM(), np.zeros((3, 1, 6), bool))
    with refuses("count_operations: x must have a sample"):
        cs.inspection.count_operations(net, np.zeros((3, 0, 6), bool))


def test_a_number_of_zero_multiplies_nothing() -> None:
    hidden = cs.Dense(6, 8), cs.neurons.SigmaDelta(theta=0.5)
    net = cs.Sequential(*hidden, lambda y: y.reshape(*y.shape[:2], 2, 2, 2), cs.Conv(2, 3, 2), cs.SRM())
    x = np.where(RNG.random((30, 4, 6)) < 0.2, RNG.normal(0, 1, (30, 4, 6)), 0).astype(np.float32)
    sent = net[1](net[0](x)).data
    found = cs.inspection.count_operations(net, x)
    assert 0 < np.count_nonzero(sent) < sent.size
    assert [row.macs for row in found.layers] == [np.count_nonzero(x) / 4 * 8, np.count_nonzero(sent) / 4 * 3]
    assert [row.dense for row in found.layers] == [30 * 48.0, 30 * 24.0]
