"""ResonateAndFire: against a program of a step in complex numbers, and a plain reverse sweep through it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from cuslayer.neurons.names import make_neuron, neuron_constants
from cuslayer.neurons.resonate_and_fire import rotation
from tests.support import step_programs

RNG = np.random.default_rng(17)
RESETS = ["izhikevich", "zero", "subtract", None]
SPREADS = [(), (3,), (2, 3), (2, 1)]


def turned(neuron):
    """Return what multiplies the state in a step, by the formula."""
    size = np.exp(-neuron.dt / np.asarray(neuron.tau))
    angle = 2 * np.pi * neuron.dt / 1000 * np.asarray(neuron.frequency)
    return size * np.cos(angle) + 1j * (size * np.sin(angle))


def drawn(generator, spread, **options):
    taus, frequencies = generator.uniform(2, 30, spread), generator.uniform(5, 200, spread)
    return cs.ResonateAndFire(taus, frequencies, **options)


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from(RESETS),
    st.sampled_from(SPREADS),
    st.integers(1, 60),
    st.floats(0.2, 3),
    st.floats(0.1, 2),
    st.integers(0, 999),
)
def test_spikes_are_those_of_a_program_to_the_bit(reset, spread, steps, theta, dt, seed):
    """In float64; constants are one number, one a channel, or one a neuron."""
    generator = np.random.default_rng(seed)
    neuron = drawn(generator, spread, theta=theta, reset=reset, dt=dt)
    x = generator.normal(0.2, 2, (steps, 2, 2, 3)) * theta
    z, s, _ = step_programs.resonate(x, turned(neuron), neuron)
    found = neuron(x).data
    assert found.dtype == bool
    np.testing.assert_array_equal(found, s)
    carried = cs.ResonateAndFire(neuron.tau, neuron.frequency, theta=theta, reset=reset, dt=dt, graded=True)(x).data
    np.testing.assert_array_equal(carried, np.where(s, z.imag, 0.0))
    assert neuron(x[:0]).shape == (0, 2, 2, 3)


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from(RESETS),
    st.sampled_from(["slayer", "exact"]),
    st.booleans(),
    st.sampled_from(SPREADS[:3]),
    st.integers(1, 40),
    st.integers(0, 999),
)
def test_gradients_are_those_of_a_plain_reverse_sweep(reset, gradient, graded, spread, steps, seed):
    """Of the input and of both parts of what multiplies the state, to 1e-10."""
    generator = np.random.default_rng(seed)
    options = {"theta": 0.8, "gradient": gradient, "graded": graded, "dt": 0.5, "tau_rho": 0.6, "scale_rho": 0.4}
    neuron = drawn(generator, spread, reset=reset, **options)
    x, g = generator.normal(0.2, 1.5, (steps, 2, 2, 3)), generator.standard_normal((steps, 2, 2, 3))
    w = np.asarray(turned(neuron))
    expected = step_programs.resonate_reverse(x, g, w, neuron, graded=graded)
    leaf = cs.Tensor(x, requires_grad=True)
    neuron(leaf).backward(g)
    np.testing.assert_allclose(leaf.grad, expected[0], rtol=0, atol=1e-10 * max(1.0, abs(expected[0]).max()))
    leaves = [cs.Tensor(each, requires_grad=True) for each in (x, w.real.copy(), w.imag.copy())]
    functions.simulate(*leaves, spiking=neuron.spiking, trained=True).backward(g)
    for found, each in zip(leaves[1:], expected[1:], strict=True):
        total = each.sum(axis=0).sum(axis=tuple(range(2 - len(spread))))
        assert found.grad.shape == found.shape
        np.testing.assert_allclose(found.grad, total, rtol=0, atol=1e-10 * max(1.0, abs(total).max()))


@pytest.mark.parametrize("imaginary", [False, True])
def test_rotation(imaginary):
    def run(tau, frequency):
        return rotation(tau, frequency, dt=0.5, imaginary=imaginary)

    tau, frequency = RNG.uniform(2, 9, 3), RNG.uniform(5, 300, (2, 3))
    assert cs.gradcheck(run, tau, frequency) < 1e-6
    w = np.exp(-0.5 / tau + 2j * np.pi * frequency * 0.5 / 1000)
    np.testing.assert_allclose(run(tau, frequency).data, w.imag if imaginary else w.real, rtol=1e-12)


def network(**options):
    cs.seed(2)
    net = cs.Network("10-8-3", cs.ResonateAndFire(15.0, 30.0, **options))
    return net, np.random.default_rng(0).random((40, 6, 10)) < 0.3, np.arange(6) % 3


@pytest.mark.parametrize("reset", RESETS)
@pytest.mark.parametrize("spread", [False, True])
def test_recorded_and_explained(reset, spread):
    net, x, labels = network()
    constants = (RNG.uniform(5, 20, 8), RNG.uniform(10, 80, 8)) if spread else (15.0, 30.0)
    net = cs.Sequential(net[0], cs.ResonateAndFire(*constants, reset=reset), *net.layers[2:])
    with cs.record(net) as seen:
        out = net(x)
        out.backward(np.ones(out.shape, np.float32))
    z, *_ = step_programs.resonate(net[0](x).data.astype(float), turned(net[1]), net[1])
    np.testing.assert_allclose(seen[1].potential.values, z.imag, rtol=1e-3, atol=1e-4)
    assert seen[1].weighted_error.values.any()
    assert seen[1].spikes.values.any()
    for time, sample, neuron in np.argwhere(seen[1].spikes.values)[::20].tolist():
        why = cs.explain(net, x, layer=1, neuron=neuron, time=time, sample=sample)
        assert why.exact
        assert sum(part.size for part in why.parts()) == pytest.approx(why.potential, abs=1e-4)
    assert cs.health(net, [(x, labels)]).layers


def test_its_response():
    neuron = cs.ResonateAndFire(12.0, 40.0, dt=0.5)
    x = np.zeros((200, 1, 1))
    x[0] = 0.1
    z, s, _ = step_programs.resonate(x, turned(neuron), neuron)
    assert not s.any()
    found = neuron.response
    np.testing.assert_allclose(found, z.imag[: len(found), 0, 0] / 0.1, atol=1e-12)
    assert 100 < len(found) < 120


def test_streamed_and_saved_and_named(tmp_path):
    net, x, _ = network(trained=True, surrogate="arctan", reset=None)
    out = net(x).data
    stream = net.stream()
    np.testing.assert_array_equal(np.concatenate([stream(x[:3]), stream(x[3:])]), out)
    cs.save(net, tmp_path / "net.npz")
    np.testing.assert_array_equal(cs.load(tmp_path / "net.npz")(x).data, out)
    constants = neuron_constants(net[1])
    named = make_neuron("net: neuron.", constants, net[1].dt)
    assert neuron_constants(named) == constants
    assert repr(named) == repr(net[1])
