"""Every kind that is written as a step, in a network: recorded, explained, streamed, saved and named; it learns."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._tape import on_potential
from cuslayer.neurons.names import make_neuron, neuron_constants
from tests.neurons.test_published_kinds import KINDS as PUBLISHED
from tests.neurons.test_published_kinds import drawn


def published(kind, spread, generator, **options):
    options = {"theta": 0.15} | options if kind == "AdLIF" else options
    return drawn(kind, spread, generator, **options)


KINDS = {
    **{
        f"LIF {reset}": lambda spread, g, reset=reset, **o: cs.LIF(g.uniform(2, 9, spread), reset=reset, **o)
        for reset in ("zero", "subtract", None)
    },
    "CUBA": lambda spread, g, **o: cs.CUBA(*g.uniform(2, 9, (2, *spread)), **o),
    "AdaptiveLIF": lambda spread, g, **o: cs.AdaptiveLIF(*g.uniform(2, 9, (4, *spread)), rise=0.2, **o),
    **{
        f"ResonateAndFire {reset}": lambda spread, g, reset=reset, **o: cs.ResonateAndFire(
            g.uniform(5, 20, spread), g.uniform(10, 80, spread), reset, **o
        )
        for reset in ("izhikevich", "zero", "subtract", None)
    },
    **{kind: lambda spread, g, kind=kind, **o: published(kind, spread, g, **o) for kind in PUBLISHED},
}


def network(kind, spread=(), **options):
    cs.seed(2)
    neuron = KINDS[kind](spread, np.random.default_rng(13), **options)
    scale = {"BalancedResonateAndFire": 100.0, "NormalizedALIF": 15.0, "AdLIF": 9.0}.get(kind, 2.0)
    net = cs.Sequential(
        *(cs.Dense(10, 8, weight_scale=scale), neuron),
        *(cs.Dense(8, 3, weight_scale=6 * scale), KINDS[kind]((), np.random.default_rng(3), **options)),
    )
    return net, np.random.default_rng(0).random((40, 6, 10)) < 0.25, np.arange(6) % 3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("spread", [(), (8,)], ids=str)
def test_recorded_and_explained(kind, spread):
    net, x, labels = network(kind, spread)
    with cs.record(net) as seen:
        out = net(x)
        out.backward(np.ones(out.shape, np.float32))
    potential = seen[1].potential.values
    np.testing.assert_array_equal(seen[1].spikes.values, potential >= np.float32(net[1].theta))
    np.testing.assert_allclose(seen[1].surrogate.values, net[1].surrogate(potential))
    assert seen[1].weighted_error.values.any()
    fired = np.argwhere(seen[1].spikes.values)[::20].tolist()
    assert fired
    for time, sample, neuron in [*fired, [39, 0, 0], [25, 1, 3]]:
        why = cs.explain(net, x, layer=1, index=neuron, time=time, sample=sample)
        assert why.exact
        assert sum(part.size for part in why.parts()) == pytest.approx(potential[time, sample, neuron], abs=1e-4)
    assert cs.diagnose(net, [(x, labels)]).layers


@pytest.mark.parametrize("kind", KINDS)
def test_streamed_and_saved_and_named(kind, tmp_path):
    net, x, _ = network(kind, (8,), trained=True, surrogate="arctan")
    for p in net[1].parameters():
        p.data *= np.float32(0.99)
    out = net(x).data
    assert out.any()
    stream = net.stream()
    np.testing.assert_array_equal(np.concatenate([stream(x[:3]), stream(x[3:])]), out)
    cs.save(net, tmp_path / "net.npz")
    again = cs.load(tmp_path / "net.npz")
    np.testing.assert_array_equal(again(x).data, out)
    for p, q in zip(net[1].parameters(), again[1].parameters(), strict=True):
        assert (p.least, p.most) == (q.least, q.most)
    constants = neuron_constants(net[1])
    named = make_neuron("net: neuron.", constants, net[1].dt)
    assert neuron_constants(named) == constants
    assert repr(named) == repr(net[1])


@pytest.mark.parametrize("kind", KINDS)
def test_its_response_is_the_potential_after_a_small_input(kind):
    neuron, seen, x = KINDS[kind]((), np.random.default_rng(3)), [], np.zeros((4000, 1, 1))
    x[0] = 1e-3
    with on_potential(lambda u: seen.append(u.values[:, 0, 0] / 1e-3)):
        assert not neuron(x).data.any()
    found = neuron.response
    np.testing.assert_allclose(found, seen[0][: len(found)], rtol=0, atol=1e-12 * neuron.peak)
    assert abs(seen[0][len(found) :]).max() < 0.03 * neuron.peak


@pytest.mark.parametrize("kind", [*PUBLISHED, "LIF zero", "LIF subtract", "CUBA", "AdaptiveLIF"])
@pytest.mark.parametrize("gradient", ["slayer", "exact"])
def test_it_learns_with_its_constants_in_a_recurrent_layer(kind, gradient):
    net, x, labels = network(kind, (8,), trained=True, gradient=gradient, tau_rho=0.5, scale_rho=0.25)
    net.layers[1:3] = cs.Recurrent(cs.Dense(8, 8, weight_scale=0.5), net[1]), cs.Dense(8, 3, weight_scale=1.0)
    before = [p.data.copy() for p in net[1].neuron.parameters()]
    loss, optimizer, losses = cs.CrossEntropyLoss(), cs.Adam(net.parameters(), lr=0.02), []
    net.layers[3] = cs.ReadOut(3, 3, tau=20.0 * net[3].dt)
    for _ in range(40):
        value = loss(net(x), labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < 0.9 * losses[0]
    assert all((p.data != was).any() for p, was in zip(net[1].neuron.parameters(), before, strict=True))
