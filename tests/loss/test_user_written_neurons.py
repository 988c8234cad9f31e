"""Losses of user-written neurons."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from tests.support import reference
from tests.support.lif import LIF, Lookalike

RNG = np.random.default_rng(5)
NEURONS = [LIF(dt=0.5), Lookalike()]
LOSSES = [
    lambda neuron: cs.SpikeCountLoss(neuron, true=12, false=3),
    cs.SpikeRateLoss,
    cs.SpikeMaxLoss,
    lambda neuron: cs.ProbabilityWindowLoss(neuron, window=4),
]


@pytest.mark.parametrize("neuron", NEURONS, ids=lambda n: type(n).__name__)
def test_spike_times_are_filtered_by_the_neurons_response(neuron):
    s, target = RNG.random((2, 30, 2, 3)) < 0.2
    e = reference.psp(s.astype(float), neuron.response) - reference.psp(target.astype(float), neuron.response)
    t = cs.Tensor(s, requires_grad=True)
    value = cs.SpikeTimeLoss(neuron)(t, target)
    assert value.item() == pytest.approx(0.5 * neuron.dt * (e**2).sum(), rel=1e-5)
    value.backward()
    np.testing.assert_allclose(t.grad, neuron.dt * reference.psp_adjoint(e, neuron.response), atol=1e-5)


@pytest.mark.parametrize("neuron", NEURONS, ids=lambda n: type(n).__name__)
def test_the_error_of_counts_is_reassigned_by_the_neurons_response(neuron):
    s = RNG.random((20, 1, 2)) < 0.3
    loss = cs.SpikeCountLoss(neuron, true=5, false=1, region=(2, 8))
    assert loss.region == (4, 16)
    outside = s.astype(float)
    outside[4:16] = 0
    e = reference.psp(outside, neuron.response)
    e[4:16] += (s[4:16].sum(axis=0) - [[1, 5]]) / 12
    assert loss(s, [1]).item() == pytest.approx(0.25 * (e**2).sum(), rel=1e-5)


@pytest.mark.parametrize("neuron", NEURONS, ids=lambda n: type(n).__name__)
@pytest.mark.parametrize("make", LOSSES, ids=["count", "rate", "max", "window"])
def test_a_loss_keeps_its_neuron(make, neuron):
    loss = make(neuron)
    assert (loss.neuron.dt, loss.neuron.theta) == (neuron.dt, neuron.theta)
    assert np.isfinite(loss(RNG.random((12, 2, 3)) < 0.3, [0, 2]).item())


@pytest.mark.parametrize("make", LOSSES, ids=["count", "rate", "max", "window"])
def test_a_network_of_user_written_neurons_learns(make):
    neuron = LIF()
    cs.seed(3)
    net = cs.Sequential(cs.Dense(8, 6, weight_scale=1.5), neuron, cs.Dense(6, 2, weight_scale=1.5), neuron)
    x, labels, loss = np.random.default_rng(5).random((40, 6, 8)) < 0.3, [0, 1, 0, 1, 0, 1], make(neuron)
    optimizer = cs.Adam(net.parameters(), lr=0.05)
    values = []
    for _ in range(30):
        value = loss(net(x), labels)
        values.append(value.item())
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert min(values[-5:]) < 0.95 * values[0]


def test_a_temporal_filter_starts_as_the_response_of_a_user_written_neuron():
    for neuron in NEURONS:
        assert np.array_equal(cs.TemporalFilter(neuron).weight.data, neuron.response.astype(np.float32))
