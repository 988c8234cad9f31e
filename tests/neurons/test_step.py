"""Neurons that are written as a step: what a step may have, and its derived gradient on the smooth twin."""

from __future__ import annotations

import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._parameter import Bounded
from cuslayer.kernels.neuron.kind import read_step
from cuslayer.neurons.step import flushed
from tests.support.kinds import Compartments, OwnBackward, Quadratic
from tools.emulator.driver import emulation


def calls(c, v, x):
    u = np.tanh(v) + x
    return u, u, u >= c.theta


def loops(c, v, x):
    for _ in range(3):
        v = v + x
    return v, v, v >= c.theta


def unknown(c, v, x):
    u = v + nothing + x  # noqa: F821
    return u, u, u >= c.theta


def fires_elsewhere(c, v, x):
    u = v + x
    return u, u, v >= c.theta


def number_for_a_condition(c, v, x):
    u = v + (1 if x else 0)
    return u, u, u >= c.theta


def spike_in_a_condition(c, v, x):
    u = v + x
    s = u >= c.theta
    v = 0 if s and x > 2 else u
    return v, u, s


def one_result(c, v, x):
    return v + x


def other_parameters(c, w, x):
    return w, w, w >= c.theta


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (calls, r"step may have .*, got 'np.tanh\(v\)' in line 19 of test_step.py"),
        (loops, r"step must have assignments, then one return, got 'for _ in .* in line 24 of test_step.py"),
        (unknown, r"step must use its parameters, .*, got 'nothing' in line 30 of test_step.py"),
        (fires_elsewhere, r"step must fire at 'u >= c.theta', .*, got 'v >= c.theta' in line 36 of test_step.py"),
        (number_for_a_condition, r"step must have a comparison as a condition, got 'x' in line 40 of test_step.py"),
        (spike_in_a_condition, r"step must use its spike s .*, got '.* s and x > 2.*' in line 47 of test_step.py"),
        (one_result, r"step must return v after the step, the potential, the spike, got 1 results"),
        (other_parameters, r"step must have the parameters \(c, v, x\), got \(c, w, x\)"),
        (abs, r"step must be a function in a file, got <built-in function abs>; its source is read"),
    ],
)
def test_what_a_step_may_not_have(step, message):
    with pytest.raises((TypeError, ValueError), match=f"^{message}") as raised:
        read_step("Mine", step, ("v",), ())
    assert "\n" not in str(raised.value)
    mine = type("Mine", (cs.StepNeuron,), {"states": ("v",), "step": step})
    with pytest.raises((TypeError, ValueError), match=f"^Mine: {message}"):
        mine()(np.zeros((2, 1, 1)))


NEURONS = [
    *(cs.LIF(reset=reset) for reset in ("zero", "subtract", None)),
    *(cs.CUBA(), cs.AdaptiveLIF(), cs.ResonateAndFire(), cs.ResonateAndFire(reset="subtract")),
    *(cs.AdLIF(q=20.0), cs.BalancedResonateAndFire(1.0, dt=500.0), cs.NormalizedALIF()),
    *(Quadratic(), Compartments()),
]


@pytest.mark.parametrize("neuron", NEURONS, ids=repr)
def test_the_derived_gradient_is_that_of_differences(neuron):
    for seed in range(3):
        assert cs.gradcheck(neuron, seed=seed) < 1e-6


def test_a_constant_of_any_name_is_trained():
    """Its gradient is a sum over time, here against differences far from the threshold, where spikes carry u."""
    x = np.random.default_rng(0).normal(0.3, 1, (20, 2, 3))
    y = np.random.default_rng(1).normal(0.3, 1, (20, 2, 3))
    options = {"graded": True, "gradient": "exact", "tau_rho": 1e-4, "surrogate": "triangle"}

    def of_gain(gain):
        return Compartments(gain=gain, **options)(x, y)

    assert cs.gradcheck(of_gain, np.array([0.7, 0.8, 0.9]), step=1e-6) < 1e-6
    assert cs.gradcheck(lambda x, y: Compartments(**options)(x, y), x, y, step=1e-6) < 1e-6
    neuron = Compartments(gain=Bounded(0.7, least=0.0))
    neuron(x, y).backward(np.ones(x.shape))
    assert neuron.gain.grad != 0
    with pytest.raises(ValueError, match=r"^Compartments: y must be as x, \(20, 2, 3\), float64, got \(20, 2, 1\)"):
        neuron(x, y[..., :1])


def test_a_backward_of_its_own_takes_the_place_of_the_derived_one():
    own, plain = OwnBackward(gradient="exact"), cs.LIF(gradient="exact")
    assert cs.gradcheck(own) < 1e-12
    assert cs.gradcheck(OwnBackward(gradient="exact", factor=2.0)) > 0.1
    x = np.random.default_rng(0).normal(0.2, 0.5, (40, 2, 30))

    def gradients(neuron):
        cs.seed(0)
        net = cs.Sequential(cs.Dense(30, 20), neuron, cs.Dense(20, 20), cs.Recurrent(cs.Dense(20, 20), neuron))
        net(x).backward(np.random.default_rng(1).normal(size=(40, 2, 20)))
        return [p.grad for p in net.parameters()]

    expected = gradients(plain)
    found = [gradients(own)]
    with emulation():
        found.append([np.asarray(each) for each in gradients(own)])
    for each in found:
        for one, other in zip(each, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=0, atol=1e-5 * np.abs(other).max())
    with pytest.raises(ValueError, match=r"^OwnBackward: trained constants need the gradient of the step"):
        OwnBackward(trained=True)(x)
    wrong = type("Mine", (OwnBackward,), {"backward": OwnBackward.step})
    with pytest.raises(ValueError, match=r"^Mine: backward must have the parameters \(c, d, v, u, rho, g\), got"):
        wrong()(x)
    short = type("Mine", (cs.StepNeuron,), {"states": ("v",), "step": lambda c, v, x: (v, v, v >= c.theta)})
    with pytest.raises(TypeError, match=r"^Mine: step must be a function of its own, made by def, got line \d+ of"):
        short()(x)


def test_its_functions_run_as_plain_python():
    assert (flushed(1e-300), flushed(-2.0)) == (0.0, -2.0)
    v, u, s = Quadratic.step(Quadratic(theta=1.0), 0.5, 0.4, 1.0)
    assert (u, s, v) == (pytest.approx(1.216), True, -0.5)
    with pytest.raises(TypeError, match=r"^gradcheck: fn must be a neuron whose gradient is derived, got Loihi"):
        cs.gradcheck(cs.Loihi())
    assert re.match(r"Quadratic\(tau=20, theta=1\)$", repr(Quadratic()))
    gain = Bounded(np.full(3, 0.1))
    assert cs.Sequential(cs.Dense(2, 3), Compartments(gain=gain)).parameters()[1] is gain
    assert "gain=array (3,)" in repr(Compartments(gain=gain))
