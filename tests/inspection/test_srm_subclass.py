"""Inspection of a subclass of SRM with its own `__call__`: every view has what the network had, or refuses it."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.inspection.report.contents import contents
from cuslayer.tape import differentiable


@differentiable
def on_even_steps(s, /):
    kept = np.zeros_like(s)
    kept[::2] = s[::2]

    def pullback(g):
        kept = np.zeros_like(g)
        kept[::2] = g[::2]
        return kept

    return kept, pullback


class EvenSteps(cs.SRM):
    """SRM neurons whose spikes at odd steps are dropped."""

    def __call__(self, x):
        return on_even_steps(super().__call__(x))


CASES = {
    "dense": (
        lambda neuron: [cs.Dense(8, 5, weight_scale=20.0), neuron, cs.Dense(5, 3, weight_scale=20.0), neuron],
        (8,),
    ),
    "conv and pool": (
        lambda neuron: [
            cs.Conv(2, 3, 3, padding=1, weight_scale=50.0),
            neuron,
            cs.Pool(2, gain=11.0),
            neuron,
            cs.Dense((3, 3, 3), 2, weight_scale=20.0),
            neuron,
        ],
        (6, 6, 2),
    ),
}


def case(name):
    cs.seed(2)
    layers, shape = CASES[name]
    net = cs.Sequential(*layers(EvenSteps(tau_sr=4.0)))
    for p in net.parameters():
        p.data = abs(p.data)
    return net, np.random.default_rng(0).random((40, 2, *shape)) < 0.3


def spikes_by_hand(net, x):
    """Return the spikes of each layer of neurons, called stage by stage."""
    found, y = {}, cs.Tensor(x)
    for at, stage in enumerate(net.layers):
        y = stage(y)
        if at % 2:
            found[at] = y.data
    return found


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("selected", [{}, {"neurons": [1, 0], "samples": [1], "window": (3, 31)}])
def test_a_record_has_the_arrays_of_the_network(name, selected):
    net, x = case(name)
    expected = spikes_by_hand(net, x)
    plain = net(x)
    plain.backward(np.ones(plain.shape, np.float32))
    grads = [p.grad for p in net.parameters()]
    for p in net.parameters():
        p.grad = None
    with cs.record(net, **selected) as recording:
        out = net(x)
    out.backward(np.ones(out.shape, np.float32))
    assert (out.data == expected[len(net) - 1]).all()
    assert out.data.any()
    assert all((a == p.grad).all() for a, p in zip(grads, net.parameters(), strict=True))
    for at, spikes in expected.items():
        record = recording[at]
        if selected:
            spikes = spikes.reshape(*spikes.shape[:2], -1)[3:31, [1]][..., [1, 0]]
        assert (record.spikes == spikes).all()
        odd = slice(0, None, 2) if selected else slice(1, None, 2)
        assert not record.spikes[odd].any()
        # The potential is the saved one: it reaches the threshold also at odd steps.
        assert ((record.potential >= 10.0) >= record.spikes).all()
        np.testing.assert_allclose(record.surrogate, net[at].surrogate(record.potential), rtol=1e-6)
        assert record.spikes_error.shape == record.weighted_error.shape == record.spikes.shape
        with pytest.raises(ValueError, match=r"EvenSteps\) has no refractory, only weighted, potential, spikes"):
            _ = record.refractory
    assert ((recording[1].potential >= 10.0) > recording[1].spikes).any()
    assert (recording[len(net) - 1].spikes_error == 1.0).all()


def test_health_counts_the_spikes_of_the_network():
    net, x = case("dense")
    expected = spikes_by_hand(net, x)
    found = cs.health(net, [(x, [0, 1])])
    for at, spikes in expected.items():
        np.testing.assert_allclose(found[at].rates, 1000.0 * spikes.mean(axis=(0, 1)))
        assert found[at].never == pytest.approx(1.0 - spikes.any(axis=(0, 1)).mean())
    assert found[1].error > 0
    assert "EvenSteps" in repr(found)


def test_an_explanation_has_what_is_left_of_the_potential():
    """The refraction of dropped spikes is in the potential, but not in the recorded spikes: it is not explained."""
    net, x = case("dense")
    spikes = spikes_by_hand(net, x)[1]
    with cs.record(net) as recording:
        net(x)
    potential = recording[1].potential
    rest = []
    for time, sample, neuron in np.argwhere(potential.values > 9.0).tolist():
        why = cs.explain(net, x, 1, neuron, time, sample=sample)
        assert why.fired == spikes[time, sample, neuron]
        assert why.potential == pytest.approx(float(potential[time, sample, neuron]), rel=1e-5)
        assert not why.exact
        assert why.filtered + why.refractory + why.unexplained == pytest.approx(why.potential, abs=1e-6)
        assert all(time % 2 == 0 for time in why.refractory_spikes.time)
        rest.append(why.unexplained)
    assert min(rest) < -1.0
    time, sample, neuron = np.argwhere(spikes_by_hand(net, x)[3])[-1].tolist()
    assert cs.explain(net, x, 3, neuron, time, sample=sample).trace(2).events


def test_reassignment_and_compare_gradients_refuse_it_in_one_line():
    net, x = case("dense")
    name = r"layer 1 \(Dense\(8, 5\), EvenSteps\)"
    with pytest.raises(TypeError, match=rf"^reassignment: {name} has no SRM neurons$"):
        cs.reassignment(net, x, [0, 1], layer=1, neuron=2)
    with pytest.raises(
        TypeError, match=r"^compare_gradients: layer 1 must be SRM or Loihi to be relaxed, got EvenSteps$"
    ):
        cs.compare_gradients(net, x, [0, 1], perturbations=1)


def test_a_page_has_the_potentials_and_errors_of_the_network():
    """The page does not know the neurons, so it computes none of them."""
    net, x = case("dense")
    with cs.record(net) as recording:
        net(x).sum().backward()
    layers = contents(net, x, [0, 0], lambda s, t: s.sum())["layers"][1:]
    assert all(layer["potentials"] and layer["errors"] for layer in layers)
    assert recording[1].spikes_error.any()
