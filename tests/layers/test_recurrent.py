"""Recurrent populations: against the programs of their neurons, whose output is their input too."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from cuslayer._parameter import Bounded
from cuslayer.kernels.constants import Window
from cuslayer.kernels.recurrent.constants import Geometry
from cuslayer.neurons.names import make_neuron
from cuslayer.neurons.step import flushed
from tests.support.recurrent_programs import ConvWeights, DenseWeights, gradients, spikes
from tests.support.refused import refuses

pytestmark = pytest.mark.all

RNG = np.random.default_rng(3)

KINDS = {
    "SRM": lambda **o: cs.SRM(theta=1.0, tau_sr=2.0, tau_ref=1.5, cutoff=0.1, ref_cutoff=0.2, **o),
    "SRM uncut": lambda **o: cs.SRM(theta=1.0, tau_sr=2.0, cutoff=0.0, ref_cutoff=0.0, **o),
    "LIF": lambda **o: cs.LIF(4.0, **o),
    "LIF subtract": lambda **o: cs.LIF(4.0, reset="subtract", **o),
    "CUBA": lambda **o: cs.CUBA(2.0, 4.0, reset=None, **o),
    "ALIF": lambda **o: cs.AdaptiveLIF(2.0, 4.0, 9.0, 2.0, rise=0.2, **o),
}
kinds = st.sampled_from(sorted(KINDS))


def grid(generator, shape, scale=1.0):
    """Return normal numbers rounded to 1/64: sums of them are exact in every order."""
    return np.round(generator.normal(0, scale, shape) * 64) / 64


def dense_case(kind, gradient, dt, steps, samples, neurons, delay, seed):
    generator = np.random.default_rng(seed)
    neuron = KINDS[kind](gradient=gradient, dt=dt, tau_rho=0.7, scale_rho=0.4)
    population = cs.Recurrent(cs.Dense(max(neurons, 1), max(neurons, 1)), neuron, delay=delay * dt)
    w = grid(generator, ((1 + seed % 3) * neurons, neurons), 0.6)  # of one to three lags
    population.layer.weight.data = w
    x = grid(generator, (steps, samples, neurons)) + 0.25
    return population, neuron, w, x, generator.standard_normal(x.shape)


@settings(max_examples=80)
@given(
    kinds,
    st.floats(0.3, 2),
    st.integers(0, 30),
    st.integers(0, 3),
    st.integers(1, 9),
    st.integers(1, 4),
    st.integers(0, 99),
)
def test_spikes_are_those_of_a_program_to_the_bit(kind, dt, steps, samples, neurons, delay, seed):
    population, neuron, w, x, _ = dense_case(kind, "slayer", dt, steps, samples, neurons, delay, seed)
    found = population(x).data
    assert found.dtype == bool
    assert found.shape == x.shape
    if steps:
        u, s, _ = spikes(neuron, x, DenseWeights(w), delay)
        # Filters are recurrences, whose rounding differs from that of sums; others are the same to the bit.
        near = abs(u - neuron.theta) < 1e-9 if kind.startswith("SRM") else False
        np.testing.assert_array_equal(found & ~near, s & ~near)


@settings(max_examples=80)
@given(
    kinds,
    st.sampled_from(["slayer", "exact"]),
    st.integers(1, 24),
    st.integers(1, 20),
    st.integers(1, 7),
    st.integers(1, 3),
    st.integers(0, 99),
)
def test_gradients_are_those_of_a_plain_reverse_sweep(kind, gradient, steps, samples, neurons, delay, seed):
    """Of the input, the weight and the shares that a step keeps, to 1e-10, for more samples than cores."""
    population, neuron, w, x, g = dense_case(kind, gradient, 0.5, steps, samples, neurons, delay, seed)
    spiking, keeps = neuron.step_by_step
    leaves = [cs.Tensor(np.array(each, np.float64), requires_grad=True) for each in (x, w, *keeps.values())]
    functions.recurrent(*leaves, spiking=spiking, delay=delay, trained=True).backward(g)
    expected = gradients(neuron, x, g, DenseWeights(w), delay)
    of_constants = expected[len(expected) - len(keeps) :]  # LIF has no current
    for leaf, wanted in zip(leaves, (*expected[:2], *of_constants), strict=True):
        wanted = wanted if wanted.ndim == leaf.ndim else wanted.sum().reshape(leaf.shape)
        np.testing.assert_allclose(leaf.grad, wanted, rtol=0, atol=1e-10 * max(1.0, abs(expected[0]).max()))
    leaf = cs.Tensor(x, requires_grad=True)
    population(leaf).backward(g)
    np.testing.assert_array_equal(leaf.grad, leaves[0].grad)
    np.testing.assert_array_equal(population.layer.weight.grad, leaves[1].grad)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Driven(cs.LIF):
    """Backward needs the voltage before the step and the current after it; the gradient of the gain the input too."""

    gain: Any = field(default_factory=lambda: Bounded(0.7, least=0.0))

    states = ("v", "w")

    def step(c, d, v, w, x):
        w = flushed(d * w + x)
        u = flushed(d * v + 0.3 * v * w + c.gain * x)
        s = u >= c.theta
        v = 0.25 * u if s else u
        return v, w, u, s


PUBLISHED = {
    "ADLIF": lambda **o: cs.AdLIF(theta=0.1, **o),
    "BRF": lambda **o: cs.neurons.BalancedResonateAndFire(dt=10.0, theta=0.05, scale_rho=1e-3, **o),
    "SRNN": lambda **o: cs.neurons.NormalizedALIF(theta=0.2, **o),
}


@pytest.mark.parametrize("kind", [*sorted(KINDS), *PUBLISHED, "driven"])
@pytest.mark.parametrize(
    ("gradient", "surrogate"), [("slayer", "exponential"), ("exact", "exponential"), ("exact", "arctan")]
)
def test_without_weights_it_is_the_neurons(kind, gradient, surrogate):
    """To the bit, in float32; a trained constant too, if there is one."""
    x, g = RNG.normal(0.3, 1, (2, 60, 3, 140)).astype(np.float32)
    found = []
    for alone in (True, False):
        neuron = (KINDS | PUBLISHED | {"driven": Driven})[kind](gradient=gradient, surrogate=surrogate)
        population, leaf = cs.Recurrent(cs.Dense(140, 140), neuron), cs.Tensor(x, requires_grad=True)
        neuron = population.neuron
        population.layer.weight.data[:] = 0
        out = (neuron if alone else population)(leaf)
        out.backward(g)
        found.append((out.data, leaf.grad, getattr(neuron, "gain", leaf).grad))
    for one, other in zip(*found, strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("padding", "dilation", "groups", "kernel"), [(1, 1, 1, 3), ((1, 4), (1, 2), 2, (3, 5)), (0, 1, 4, 1)]
)
@pytest.mark.parametrize("kind", ["SRM", "LIF"])
@pytest.mark.parametrize("threads", [1, 2, 9])
def test_a_convolution_to_itself(kind, padding, dilation, groups, kernel, threads):
    """With one sample in a thread, and with several."""
    cs.threads(threads)
    neuron = KINDS[kind](gradient="exact", scale_rho=1)
    layer = cs.Conv(4, 4, kernel, padding=padding, dilation=dilation, groups=groups)
    population = cs.Recurrent(layer, neuron, delay=2.0)
    w = layer.weight.data = grid(RNG, layer.weight.shape, 0.5)
    x = grid(RNG, (14, 3, 3, 5, 4)) + 0.25
    g, leaf = RNG.standard_normal(x.shape), cs.Tensor(x, requires_grad=True)
    weights = ConvWeights(w, layer.padding, layer.dilation, groups)
    out = population(leaf)
    _, s, _ = spikes(neuron, x, weights, 2)
    np.testing.assert_array_equal(out.data, s)
    out.backward(g)
    of_x, of_w, *_ = gradients(neuron, x, g, weights, 2)
    np.testing.assert_allclose(leaf.grad, of_x, rtol=0, atol=1e-10 * abs(of_x).max())
    np.testing.assert_allclose(layer.weight.grad, of_w, rtol=0, atol=1e-10 * abs(of_w).max())


def test_trained_shares_of_frames():
    layer = cs.Conv(2, 2, 3, padding=1)
    tau = RNG.uniform(2, 9, (4, 3, 2))
    neuron = cs.AdaptiveLIF(*tau.transpose(0, 1, 2), gradient="exact", trained=True)
    population = cs.Recurrent(layer, neuron)
    assert [p.shape for p in population.parameters()] == [(3, 2)] * 4 + [(3, 3, 2, 2)]
    x = grid(RNG, (12, 2, 3, 3, 2)) + 0.3
    given = [np.asarray(keep.data, np.float64) for keep in neuron.step_by_step.keeps.values()]
    leaves = [cs.Tensor(np.array(each, np.float64), requires_grad=True) for each in (x, layer.weight.data, *given)]
    g = RNG.standard_normal(x.shape)
    geometry = Geometry(Window.of(3, 1, 1, 1), 1)
    plain = cs.AdaptiveLIF(*(-1 / np.log(keep) for keep in given), gradient="exact")
    options = {"spiking": plain.spiking, "geometry": geometry, "trained": True}
    functions.recurrent(*leaves, **options).backward(g)
    weights = ConvWeights(layer.weight.data.astype(float), (1, 1), (1, 1), 1)
    for leaf, wanted in zip(leaves[2:], gradients(plain, x, g, weights, 1)[2:], strict=True):
        wanted = wanted.sum(axis=(0, 1))
        np.testing.assert_allclose(leaf.grad, wanted, rtol=0, atol=1e-9 * max(1.0, abs(wanted).max()))


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_sample_does_not_know_the_others(kind):
    """Nor the number of cores: its bits are the same, forward and back."""
    population, _, _, x, g = dense_case(kind, "exact", 1.0, 30, 9, 6, 2, 1)
    leaf = cs.Tensor(x, requires_grad=True)
    cs.threads(2)
    out = population(leaf)
    out.backward(g)
    cs.threads(1)
    for n in range(9):
        alone = cs.Tensor(x[:, n : n + 1], requires_grad=True)
        found = population(alone)
        found.backward(g[:, n : n + 1])
        np.testing.assert_array_equal(found.data, out.data[:, n : n + 1])
        np.testing.assert_array_equal(alone.grad, leaf.grad[:, n : n + 1])
    with cs.no_grad():
        np.testing.assert_array_equal(population(x).data, out.data)


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("delay", [1, 3])
def test_a_state_is_kept_between_calls(kind, delay):
    """Of streams, and of stateful neurons, whose later calls know the spikes and states before them."""
    population, neuron, w, x, g = dense_case(kind, "exact", 1.0, 40, 2, 5, delay, 2)
    expected = population(x).data
    run = population.continued()
    found = [run(part).data for part in (x[:1], x[1:2], x[2:19], x[19:19], x[19:])]
    np.testing.assert_array_equal(np.concatenate(found), expected)
    if kind.startswith("SRM"):
        return
    options = {"gradient": "exact", "tau_rho": 0.7, "scale_rho": 0.4, "stateful": True, "trained": True}
    held = cs.Recurrent(population.layer, KINDS[kind](**options), delay=float(delay))
    # As long as float32 parameters allow.
    parts = [held(part).data for part in (x[:2], x[2:17], x[17:])]
    assert (np.concatenate(parts) != expected).mean() < 0.01
    with refuses("recurrent: x must be as in the last call, 2 samples of 5 neurons, float64"):
        held(x[:, :1])
    with cs.record(net := cs.Sequential(held)) as seen:
        net(x[:3])
    assert "recurrent" not in seen[0].names  # it depends on earlier calls
    held.forget()
    np.testing.assert_array_equal(held(x[:2]).data, parts[0])
    held(x[2:17])
    population.layer.weight.grad = None
    held(x[17:]).backward(g[17:])
    # The same gradient, of the whole in one call, without the errors that would go back beyond the call.
    whole = np.concatenate([np.zeros_like(g[:17]), g[17:]])
    of_x, *_ = gradients(neuron, x, whole, DenseWeights(w), delay)
    of_x[:17] = 0
    of_w = DenseWeights(w).gradient(np.concatenate([np.zeros_like(expected[:delay]), expected])[:40], of_x)
    np.testing.assert_allclose(population.layer.weight.grad, of_w, rtol=0, atol=1e-5 * abs(of_w).max())
    assert all(p.grad is not None and np.isfinite(p.grad).all() for p in held.parameters())


def test_attributes_are_those_of_the_neurons():
    neuron = cs.CUBA(3.0, 9.0, theta=2.0, scale_rho=1.0, dt=0.5, gradient="exact")
    population = cs.Recurrent(cs.Dense(3, 3), neuron, delay=1.25)
    assert population.steps == 2
    assert population.delay == 1.25
    names = "theta", "dt", "gradient", "period", "peak", "parts", "width", "highest_rate", "pool_gain", "weight_scale"
    for name in (*names, "axon_delay", "max_delay"):
        assert getattr(population, name) == getattr(neuron, name), name
    slayer = population.with_gradient("slayer")
    assert (slayer.gradient, slayer.layer is population.layer, slayer.delay) == ("slayer", True, 1.25)
    assert repr(population) == f"Recurrent(Dense(3, 3), {neuron!r}, delay=1.25)"
    assert population.one_pass is None
    assert population.output_shape((3,)) == (3,)
    with refuses("dense: x has 4 features, weight expects 3"):
        population.output_shape((4,))


BALANCED = {
    "LIF": cs.LIF(gradient="slayer"),
    "exact LIF": cs.LIF(tau_rho=0.4, scale_rho=1.0),
    "ALIF": cs.AdaptiveLIF(gradient="slayer"),
    "SRM": cs.SRM(scale_rho=1.0),
}


@pytest.mark.parametrize("size", [16, 64])
@pytest.mark.parametrize("kind", BALANCED)
def test_errors_keep_their_size_through_a_thousand_steps(kind, size):
    """At the scale of `calibrate`, for a firing rate of 20 Hz."""
    cs.seed(0)
    neuron = BALANCED[kind]
    net = cs.Sequential(cs.Dense(20, size), cs.Recurrent(cs.Dense(size, size), neuron))
    w = net[1].layer.weight.data
    np.testing.assert_allclose(w.T @ w, np.eye(size) * float(w[0] @ w[0]), atol=1e-6)
    assert net[1].layer.as_drawn
    x = np.random.default_rng(0).random((300, 4, 20)) < 0.03
    cs.calibrate(net, [x], rate=20.0)
    assert 0.1 < net[1].growth(net[0](x)) < 10
    net[1].layer.weight.data *= 2
    assert net[1].growth(net[0](x)) > 1e3


def test_a_surrogate_that_is_0_at_usual_potentials_leaves_the_weights_as_drawn():
    cs.seed(0)
    weight = cs.Dense(4, 4).weight.data
    cs.seed(0)
    net = cs.Recurrent(cs.Dense(4, 4), cs.LIF(surrogate="boxcar", tau_rho=1e-6))
    np.testing.assert_array_equal(net.layer.weight.data, weight)


def test_a_gradient_and_a_surrogate_that_nobody_chose_are_for_the_loop(tmp_path):
    cs.save(cs.LIF(), tmp_path / "lif.npz")
    old = {"type": "LIF", "theta": 1.0, "tau": 20.0, "tauRho": 1.0}
    expected = {
        cs.LIF(): ("exact", 0.5, 0.3),
        cs.CUBA().spread(3, tau_v=(5, 9)): ("exact", 0.5, 0.3),
        cs.AdaptiveLIF(gradient="exact"): ("exact", 0.5, 0.3),
        cs.LIF(tau_rho=1): ("exact", 1.0, 0.1),
        cs.LIF(gradient="slayer"): ("slayer", 1.0, 0.1),
        cs.LIF(gradient="detached"): ("detached", 1.0, 0.1),
        cs.LIF(scale_rho=1): ("exact", 1.0, 1.0),
        cs.SRM(): ("slayer", 1.0, 0.1),
        cs.AdLIF(scale_rho=0.7): ("exact", 0.2, 0.7),
        # As configurations of version 0.2 have them.
        make_neuron("", old | {"gradient": "slayer"}, 1.0): ("slayer", 1.0, 0.1),
        make_neuron("", old | {"gradient": "exact"}, 1.0): ("exact", 1.0, 0.1),
        # A file says what its network was trained with.
        cs.load(tmp_path / "lif.npz"): ("slayer", 1.0, 1.0),
    }
    for neuron, constants in expected.items():
        found = cs.Recurrent(cs.Dense(3, 3), neuron).neuron
        assert (found.gradient, found.tau_rho, found.scale_rho) == constants
    assert "gradient='exact'" in repr(cs.Recurrent(cs.Dense(3, 3), cs.LIF()))
    assert "gradient='slayer'" in repr(cs.Recurrent(cs.Dense(3, 3), cs.LIF(gradient="slayer")))
