"""`IF` and `WaitingIF`: against plain loops, and the counts that conversion relies on."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.neurons import IF, WaitingIF
from tests.support.refused import refused


def integrate(x, unit):
    """Return the spikes of neurons that start at half a threshold, as a plain loop."""
    v = np.full(x.shape[1:], 0.5) * unit
    spikes = np.zeros(x.shape, bool)
    for t in range(len(x)):
        v = v + x[t]
        spikes[t] = v >= unit
        v = v - unit * spikes[t]
    return spikes


@pytest.mark.parametrize("unit", [1.0, np.array([0.5, 1.0, 4.0])])
def test_spikes_are_those_of_a_plain_loop(unit):
    # Multiples of 1/64, whose sums have no rounding.
    x = np.round(np.random.default_rng(0).normal(0.3, 1.0, (60, 4, 3)) * 64) / 64
    spikes = IF(unit=unit)(x).data
    np.testing.assert_array_equal(spikes, integrate(x, unit))
    constant = np.broadcast_to(x[:1], x.shape)
    counts = np.clip(np.floor(60 * x[0] / unit + 0.5), 0, 60)
    np.testing.assert_array_equal(IF(unit=unit)(constant).data.sum(axis=0), counts)


def test_waiting_neurons_count_the_sum_of_any_order():
    rng = np.random.default_rng(0)
    x = np.round(rng.normal(0.2, 2.0, (6, 50, 3)) * 64) / 64
    later = np.concatenate([x, rng.normal(0, 9, (9, 50, 3))])
    unit = np.array([0.5, 1.0, 4.0])
    offset = np.array([0.25, -1.0, 2.0])
    neurons = WaitingIF(unit=unit, wait=5, levels=4, offset=offset)
    spikes = neurons(later).data
    counts = np.clip(np.floor((x.sum(axis=0) + offset) / unit + 0.5), 0, 4)
    np.testing.assert_array_equal(spikes.sum(axis=0), counts)
    assert not spikes[:5].any()
    assert not spikes[9:].any()
    np.testing.assert_array_equal(neurons(later[:, ::-1]).data, spikes[:, ::-1])
    net = cs.Sequential(neurons)
    stream = net.stream()
    chunks = [stream(later[start : start + 4]).data for start in range(0, 15, 4)]
    np.testing.assert_array_equal(np.concatenate(chunks), spikes)


@pytest.mark.parametrize("kind", [IF, WaitingIF])
def test_a_trained_unit_has_a_gradient_and_is_saved(kind, tmp_path):
    options = {} if kind is IF else {"wait": 3, "levels": 5, "offset": np.array([0.1, 0.2])}
    cs.seed(0)
    net = cs.Sequential(cs.Dense(3, 2, weight_scale=2.0), kind(unit=np.array([0.5, 0.7]), trained=True, **options))
    x = np.random.default_rng(0).random((9, 4, 3)).astype(np.float32)
    net(x).sum().backward()
    assert (net[1].unit.grad != 0).all()
    net[1].unit.data[:] = [0.4, 0.9]
    cs.save(net, tmp_path / "net.npz")
    np.testing.assert_array_equal(cs.load(tmp_path / "net.npz")(x).data, net(x).data)


def test_errors():
    refused("IF: unit must be positive", lambda: IF(unit=0.0))
    refused("WaitingIF: wait must be at least 0", lambda: WaitingIF(wait=-1))
    refused("WaitingIF: levels must be at least 1", lambda: WaitingIF(levels=0))
    refused("WaitingIF: offset must be finite", lambda: WaitingIF(offset=np.inf))
