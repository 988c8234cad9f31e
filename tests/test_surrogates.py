"""Surrogates: each is the derivative of its primitive, scaled to a threshold, in files, and in every neuron."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.neurons.names import make_neuron, neuron_constants
from cuslayer.surrogates import SURROGATES, Surrogate, as_constant, as_surrogate
from tests.support import reference

pytestmark = pytest.mark.all

RNG = np.random.default_rng(5)


@dataclass(frozen=True)
class Own(Surrogate):
    """A user's surrogate."""

    fade: float = 2.0

    def f(self, z):
        below = 1 + self.fade * abs(z)
        return 1 / (below * below)

    def integral(self, z):
        return z / (1 + self.fade * abs(z))


KINDS = [*(kind() for kind in SURROGATES.values()), cs.surrogates.MultiGaussian(0.4, 2.5), Own()]
# Formulas of their own, from the papers.
SHAPES = {
    "Exponential": lambda z: np.exp(-np.abs(z)),
    "FastSigmoid": lambda z: (1 + np.abs(z)) ** -2.0,
    "Arctan": lambda z: (1 + z**2) ** -1.0,
    "Triangle": lambda z: np.where(np.abs(z) < 1, 1 - np.abs(z), 0),
    "Gaussian": lambda z: np.exp(-(z**2) / 2),
    "Own": lambda z: (1 + 2 * np.abs(z)) ** -2.0,
    "Boxcar": lambda z: np.where(np.abs(z) <= 1, 1.0, 0.0),
}


def normal_density(z, mean, deviation):
    return np.exp(-(((z - mean) / deviation) ** 2) / 2) / (np.sqrt(2 * np.pi) * deviation)


def expected(surrogate, z):
    if isinstance(surrogate, cs.surrogates.MultiGaussian):
        h, s = surrogate.h, surrogate.s
        published = (1 + h) * normal_density(z, 0, 1) - h * normal_density(z, 1, s) - h * normal_density(z, -1, s)
        return np.sqrt(2 * np.pi) * published
    return SHAPES[type(surrogate).__name__](z)


@pytest.mark.parametrize("surrogate", KINDS, ids=repr)
def test_it_is_the_derivative_of_its_primitive(surrogate):
    z = RNG.uniform(-6, 6, 4000)
    z = z[(abs(abs(z) - 1) > 1e-4) & (abs(z) > 1e-4)]  # not at a corner
    h = 1e-6
    slope = (surrogate.integral(z + h) - surrogate.integral(z - h)) / (2 * h)
    np.testing.assert_allclose(surrogate.f(z), slope, rtol=0, atol=1e-8)
    np.testing.assert_allclose(surrogate.f(z), expected(surrogate, z), rtol=1e-13, atol=1e-15)
    assert abs(surrogate.integral(np.zeros(1))[0]) < 1e-15


@pytest.mark.parametrize("surrogate", KINDS, ids=repr)
def test_scaled(surrogate):
    """rho(u) = height f((u - theta) / width), in the number type of u; its primitive is the integral."""
    scaled = surrogate.scaled(3.0, 0.5, 0.2)
    u = RNG.uniform(1.6, 4.4, 300)
    np.testing.assert_allclose(scaled(u), 0.2 * surrogate.f((u - 3.0) / 0.5), rtol=1e-14, atol=1e-17)
    np.testing.assert_allclose(scaled.primitive(u), 0.1 * surrogate.integral((u - 3.0) / 0.5), rtol=1e-13, atol=1e-16)
    for found in (scaled(u.astype(np.float32)), scaled.primitive(u.astype(np.float32))):
        assert found.dtype == np.float32
    assert (surrogate.theta, surrogate.width, surrogate.height) == (0.0, 1.0, 1.0)
    z, change = RNG.uniform(-3, 3, 200), RNG.uniform(-3, 3, 200)
    difference = surrogate.integral(z + change) - surrogate.integral(z)
    np.testing.assert_allclose(surrogate.difference(z, change), difference, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("name", SURROGATES)
def test_names(name):
    surrogate = as_surrogate(name)
    assert type(surrogate) is SURROGATES[name]
    assert as_surrogate(surrogate) is surrogate
    assert as_surrogate({"type": name}) == surrogate
    assert as_surrogate(as_constant(surrogate) or "exponential") == surrogate
    for neuron in (cs.SRM(surrogate=name), cs.Loihi(surrogate=surrogate)):
        constants = neuron_constants(neuron)
        assert ("surrogate" in constants) == (name != "exponential")
        again = make_neuron("net: neuron.", constants, neuron.dt)
        assert again == neuron
        assert hash(again) == hash(neuron)
        assert repr(again) == repr(neuron)
        assert ("surrogate=" in repr(neuron)) == (name != "exponential")


def test_a_surrogate_with_constants_in_files():
    given = cs.surrogates.MultiGaussian(0.3, 4)
    assert as_constant(given) == {"type": "multi_gaussian", "h": 0.3, "s": 4.0}
    assert as_surrogate(as_constant(given)) == given


def test_what_is_no_surrogate_is_refused():
    with pytest.raises(ValueError, match=r"^SRM: surrogate must be one of .*'triangel'; did you mean triangle\?$"):
        cs.SRM(surrogate="triangel")
    with pytest.raises(TypeError, match=r"^Loihi: surrogate must be .* of cs.surrogates or its name, got int$"):
        cs.Loihi(surrogate=3)
    with pytest.raises(TypeError, match=r"got the class Triangle$"):
        cs.neurons.SampledSRM(surrogate=cs.surrogates.Triangle)
    with pytest.raises(ValueError, match=r"^SRM: surrogate has no constant g"):
        cs.SRM(surrogate={"type": "multi_gaussian", "g": 1})
    with pytest.raises(
        TypeError, match=r"^SRM: f may have \+ - .*, got 'np.exp\(z\)' in line \d+ of test_surrogates.py$"
    ):
        cs.SRM(surrogate=NumPy())(np.zeros((1, 1, 1)))
    for part in (Surrogate().f, Surrogate().integral):
        with pytest.raises(TypeError, match=r"^Surrogate: a surrogate must define "):
            part(np.zeros(1))


class NumPy(Surrogate):
    def f(self, z):
        return np.exp(z)


NEURONS = {
    "SRM": lambda **options: cs.SRM(theta=2.0, tau_sr=3.0, tau_rho=0.7, scale_rho=0.6, dt=0.5, **options),
    "SampledSRM": lambda **options: cs.neurons.SampledSRM(
        [0.0, 1.0, 0.5], [0.0, -2.0, -1.0], theta=2.0, tau_rho=0.7, scale_rho=0.6, dt=0.5, **options
    ),
}


@pytest.mark.parametrize("surrogate", KINDS, ids=repr)
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("kind", NEURONS)
def test_gradients_are_their_formula(kind, exact, surrogate):
    neuron = NEURONS[kind](gradient="exact" if exact else "slayer", surrogate=surrogate)
    x, g = RNG.normal(0.5, 1.5, (40, 2, 3)), RNG.standard_normal((40, 2, 3))
    u, s = reference.spike(reference.psp(x, neuron.response), neuron.refractory, neuron.theta)
    rho = neuron.scale_rho / neuron.width * expected(surrogate, (u - neuron.theta) / neuron.width)
    np.testing.assert_allclose(neuron.surrogate(u), rho, rtol=1e-12, atol=1e-15)
    g_u = np.zeros(u.shape)
    for t in reversed(range(len(u))):
        refractory = [neuron.refractory[k] * g_u[t + k] for k in range(1, min(len(u) - t, len(neuron.refractory)))]
        g_u[t] = neuron.dt * rho[t] * (g[t] + (sum(refractory) if exact else 0))
    back = reference.psp_adjoint(g_u, neuron.response)
    for run in (neuron, lambda given: neuron.spike(neuron.psp(given))):
        leaf = cs.Tensor(x, requires_grad=True)
        out = run(leaf)
        assert (out.data == s).all()
        out.backward(g)
        np.testing.assert_allclose(leaf.grad, back, rtol=0, atol=1e-12 * abs(back).max())


@pytest.mark.parametrize("surrogate", KINDS, ids=repr)
def test_the_gradient_of_loihi(surrogate):
    neuron = cs.Loihi(tau_rho=0.4, dt=0.5, surrogate=surrogate)
    x, g = RNG.normal(20, 60, (60, 1, 4)).round(), RNG.standard_normal((60, 1, 4))
    v, _ = reference.loihi(x[:, 0], neuron)
    rho = expected(surrogate, (v - neuron.theta) / neuron.width) / (neuron.width * neuron.peak)
    leaf = cs.Tensor(x, requires_grad=True)
    neuron(leaf).backward(g)
    back = 0.5 * reference.psp_adjoint(g[:, 0] * rho, neuron.response)
    np.testing.assert_allclose(leaf.grad[:, 0], back, rtol=0, atol=1e-12 * abs(back).max())


def test_a_subclass_may_have_a_method_of_this_name():
    class Own(cs.SRM):
        def surrogate(self, u):
            return 0 * u + 1

    neuron = Own(tau_rho=0.5, gradient="exact")
    assert neuron.surrogate(np.array([3.0])) == 1
    assert neuron.with_gradient("slayer").surrogate(np.array([3.0])) == 1
    assert neuron.spiking.shape == cs.surrogates.Exponential().shape
    assert neuron.relaxed is None
