"""AdLIF, BalancedResonateAndFire and NormalizedALIF: against the published equations as plain loops."""

from __future__ import annotations

import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._parameter import Bounded
from cuslayer._tape import on_potential
from tests.support.recurrent_programs import ConvWeights, DenseWeights

pytestmark = pytest.mark.all

SPREADS = [(), (3,), (2, 1, 3)]


def ad_lif(c, state, x):
    v, w = state or (0.0, 0.0)
    alpha, beta = np.exp(-c.dt / np.asarray(c.tau_u)), np.exp(-c.dt / np.asarray(c.tau_w))
    u = alpha * v + (1 - alpha) * (x - w)
    s = u >= c.theta
    v = u * (1 - s)
    return (v, beta * w + (1 - beta) * (c.a * v + c.b * s) * c.q), u, s


def balanced(c, state, x):
    re, im, q = state or (0.0, 0.0, 0.0)
    step, omega = c.dt / 1000, np.asarray(c.omega)
    b = (-1 + np.sqrt(1 - (step * omega) ** 2)) / step - c.b_offset - q
    z = re + b * re * step - omega * im * step + x * step
    im = im + omega * re * step + b * im * step
    s = z >= c.theta + q
    return (z, im, c.gamma * q + s), z - q, s


def srnn(c, state, x):
    mem, eta, before = state or (0.0, 0.0, 0.0)
    alpha, rho = np.exp(-c.dt / np.asarray(c.tau_v)), np.exp(-c.dt / np.asarray(c.tau_theta))
    eta = rho * eta + (1 - rho) * before
    threshold = c.theta + c.rise * eta
    mem = mem * alpha + (1 - alpha) * x - threshold * before
    s = mem >= threshold
    return (mem, eta, 1.0 * s), mem - c.rise * eta, s


# Each kind with its program, its constants and their ranges, and the size of an input that makes it fire.
KINDS = {
    "AdLIF": (ad_lif, {"tau_u": (5, 25), "tau_w": (60, 300), "a": (0, 1), "b": (0, 2)}, 12.0),
    "BalancedResonateAndFire": (balanced, {"omega": (3, 60), "b_offset": (0.1, 5)}, 40.0),
    "NormalizedALIF": (srnn, {"tau_v": (3, 25), "tau_theta": (5, 300)}, 8.0),
}


def drawn(kind, spread, generator, **options):
    given = {name: generator.uniform(*limits, spread) for name, limits in KINDS[kind][1].items()}
    return getattr(cs.neurons, kind)(**given, **{"dt": 10.0 if kind == "BalancedResonateAndFire" else 1.0} | options)


def run(program, c, x, send=lambda s: 0.0 * s, delay=1):
    """Return the potentials and the spikes, which also come back after a delay."""
    state, u, s = None, [], []
    for t in range(len(x)):
        own = send(s[t - delay][None, ...])[0] if t >= delay else 0.0
        state, potential, spikes = program(c, state, x[t] + own)
        u.append(potential)
        s.append(spikes)
    return np.array(u), np.array(s)


@pytest.mark.parametrize("layer", ["none", "dense", "convolution"])
@pytest.mark.parametrize("spread", SPREADS, ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_potentials_and_spikes_are_those_of_the_published_equations(kind, spread, layer):
    program, _, size = KINDS[kind]
    generator = np.random.default_rng(5)
    c = drawn(kind, spread, generator)
    x, send, found = generator.normal(0.3, 1, (150, 2, 2, 4, 3)) * size, lambda s: 0.0 * s, c
    if layer == "dense":
        found = cs.Recurrent(cs.Dense((2, 4, 3), 24), c, delay=3 * c.dt)
        w = found.layer.weight.data = np.round(generator.normal(0, 64, (24, 24))) / 64 * size / 5
        send = DenseWeights(w).send
    elif layer == "convolution":
        found = cs.Recurrent(cs.Conv(3, 3, 3, padding=1), c, delay=3 * c.dt)
        w = found.layer.weight.data = np.round(generator.normal(0, 64, (3, 3, 3, 3))) / 64 * size / 5
        send = ConvWeights(w, (1, 1), (1, 1), 1).send
    seen = []
    with on_potential(lambda u: seen.append(u.values)):
        spikes = found(x).data
    u, s = run(program, c, x, send, delay=3)
    np.testing.assert_array_equal(spikes, s)
    np.testing.assert_allclose(seen[0], u, rtol=0, atol=1e-8 * abs(u).max())
    assert 0.01 < s.mean() < 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_the_gradient_of_each_constant_is_that_of_differences(kind):
    """Far from the threshold, where spikes carry u."""
    generator = np.random.default_rng(1)
    names, x = KINDS[kind][1], generator.normal(0.3, 1, (40, 2, 3)) * KINDS[kind][2]
    options = {"graded": True, "tau_rho": 1e-6, "surrogate": "triangle"}
    for trained in [*([name] for name in names), [*names]]:
        c = drawn(kind, (3,), generator)

        def of(*values, c=c, trained=trained):
            given = {name: getattr(c, name) for name in names} | dict(zip(trained, values, strict=True))
            return getattr(cs.neurons, kind)(**given, dt=c.dt, **options)(x)

        assert cs.gradcheck(of, *(getattr(c, name) for name in trained), step=1e-7) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_trained_stays_within_its_bounds(kind):
    given = {name: 1.0 * sum(limits) / 2 for name, limits in KINDS[kind][1].items()}
    for sign in (-1, 1):
        neuron = getattr(cs.neurons, kind)(**given, trained=True)
        assert [p.shape for p in neuron.parameters()] == [()] * len(given)
        optimizer = cs.SGD(neuron.parameters(), lr=1e9)
        for p in neuron.parameters():
            p.grad = np.float32(sign) * np.ones_like(p.data)
        optimizer.step()
        at = [p.most if sign < 0 else p.least for p in neuron.parameters()]
        assert [float(p.data) for p in neuron.parameters()] == pytest.approx(at)
        if kind == "AdLIF":
            assert at == [limits[sign < 0] for limits in KINDS[kind][1].values()]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: cs.AdLIF(tau_u=30.0, trained=True), "AdLIF: tau_u must be from 5 to 25 where it is trained, got 30"),
        (lambda: cs.AdLIF(a=-0.1), "AdLIF: a must be at least 0 and finite, got -0.1"),
        (lambda: cs.AdLIF(b=[1.0, 2.0])(np.ones((3, 1, 4))), "AdLIF: b must broadcast to the neurons (4,), got shape"),
        (
            lambda: cs.neurons.BalancedResonateAndFire(omega=1e3),
            "BalancedResonateAndFire: omega must be from 0 to 950 for dt=1, got 1000",
        ),
        (
            lambda: cs.neurons.BalancedResonateAndFire(b_offset=Bounded(1.0)),
            "BalancedResonateAndFire: b_offset must be from 0 to 500 for dt=1, got -inf",
        ),
        (
            lambda: cs.neurons.BalancedResonateAndFire(gamma=1.0),
            "BalancedResonateAndFire: gamma must lie in [0, 1), got 1",
        ),
        (
            lambda: cs.neurons.BalancedResonateAndFire(bounds=(1, 2)),
            "BalancedResonateAndFire: bounds must be None: dt gives",
        ),
    ],
)
def test_refused(make, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        make()


def test_other_bounds():
    neuron = cs.AdLIF(tau_u=2.0, tau_w=50.0, trained=True, bounds=(1.0, 80.0))
    assert [(p.least, p.most) for p in neuron.parameters()] == [(1, 80), (1, 80), (0, 1), (0, 2)]
    own = Bounded([0.5, 3.0], least=0.0, most=4.0)
    assert cs.AdLIF(b=own, trained=True).b is own


def test_the_published_surrogate_of_se_adlif():
    """``c alpha / 2 exp(-alpha |u - theta|)`` with alpha 5 and c 0.2."""
    u = np.linspace(-1, 3, 9)
    np.testing.assert_allclose(cs.AdLIF().surrogate(u), 0.2 * 5 / 2 * np.exp(-5 * abs(u - 1)), rtol=1e-12)
