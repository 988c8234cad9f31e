"""The gradient of exact spike times against closed forms, and against differences of losses of spike times."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.functions import first_spike_times
from cuslayer.neurons import AdLIF, NormalizedALIF, ResonateAndFire
from tests.support.kinds import Echo
from tests.support.refused import refuses


def first(x: np.ndarray, weight: np.ndarray, neuron: Any) -> tuple[float, np.ndarray]:
    """Return the first spike time for the weighted input x (T, inputs) of a neuron, and its gradient."""
    w = cs.Tensor(weight[:, None], requires_grad=True)
    time = first_spike_times(neuron(cs.Tensor(x[:, None]) @ w), dt=neuron.dt)
    time.backward(np.ones((1, 1)))
    return time.item(), w.grad[:, 0]


def test_a_constant_current():
    """u = I tau (1 - exp(-t / tau)) reaches theta at t = -tau log(1 - theta / (I tau))."""
    tau, current, errors = 20.0, 0.08, []
    for dt in (0.1, 0.01):
        time, g = first(np.full((round(50 / dt), 1), dt), np.array([current]), cs.LIF(tau, dt=dt, gradient="eventprop"))
        share = 1 / (current * tau)
        assert abs(time + tau * math.log1p(-share)) < 2 * dt
        errors.append(abs(float(g[0]) / (-tau * share / current / (1 - share)) - 1))
    assert errors[0] < 0.03
    assert errors[1] < errors[0] / 3


def test_two_input_spikes():
    """The voltage of a current that decays is a sum of differences of exponentials."""
    weight, at, tau_i, tau_v = np.array([0.25, 0.22]), np.array([2.0, 4.8]), 5.0, 20.0

    def parts(t):
        past = np.maximum(t - at, 0.0)
        scale = 1 / (1 / tau_i - 1 / tau_v)
        of_time = (np.exp(-past / tau_i) / tau_i - np.exp(-past / tau_v) / tau_v) * (past > 0)
        return scale * (np.exp(-past / tau_v) - np.exp(-past / tau_i)), scale * of_time

    low, high = 5.0, 9.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if weight @ parts(middle)[0] >= 1 else (middle, high)
    value, slope = parts(low)
    closed, errors = -value / (weight @ slope), []
    for dt in (0.1, 0.0125):
        x = np.zeros((round(20 / dt), 2))
        x[np.rint(at / dt).astype(int), [0, 1]] = dt
        time, g = first(x, weight, cs.CUBA(tau_i, tau_v, dt=dt, gradient="eventprop"))
        assert abs(time - low) < 2 * dt
        errors.append(abs(g / closed - 1).max())
    assert errors[0] < 0.04
    assert errors[1] < errors[0] / 3


@dataclass(frozen=True, eq=False, repr=False)
class Own(cs.neurons.StepNeuron):
    """A voltage with an own reset, and refraction that decays with the time constant of the voltage."""

    tau: float = 15.0
    states = ("v", "r")
    decays = {"d": "tau"}  # noqa: RUF012

    def step(c, d, v, r, x):
        u = d * v - r + x
        s = u >= c.theta
        left = d * r
        r = left + 0.002 if s else left
        return 0.3 * u if s else u, r, u, s


# For each kind, the scale of a current that makes it fire a few times in 60 ms, by dt.
KINDS = {
    "LIF": (cs.LIF, lambda dt: 0.12 * dt),
    "LIF subtract": (lambda **o: cs.LIF(reset="subtract", **o), lambda dt: 0.12 * dt),
    "CUBA": (cs.CUBA, lambda dt: 0.025 * dt * dt),
    "AdLIF": (lambda **o: AdLIF(tau_w=60.0, a=0.2, b=0.05, **o), lambda dt: 3.0),
    "AdaptiveLIF": (cs.AdaptiveLIF, lambda dt: 0.015 * dt * dt),
    "ResonateAndFire": (lambda **o: ResonateAndFire(reset="zero", **o), lambda dt: 0.1 * dt),
    "NormalizedALIF": (lambda **o: NormalizedALIF(theta=0.5, rise=0.3, **o), lambda dt: 1.2),
    "SRM": (lambda **o: cs.SRM(theta=1.0, tau_sr=5.0, tau_ref=4.0, **o), lambda dt: 0.08 * dt),
    "own": (Own, lambda dt: 0.12 * dt),
    "own with earlier steps": (
        lambda dt, **o: Echo(near=round(2 / dt), far=round(7 / dt), tau=20.0, dt=dt, **o),
        lambda dt: 0.1 * dt,
    ),
}


def current(dt: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the times of 60 ms, and five currents that change smoothly."""
    generator = np.random.default_rng(1)
    t = np.arange(round(60 / dt)) * dt
    phase, speed = generator.uniform(0, 2 * np.pi, 5), generator.uniform(0.05, 0.4, 5)
    return t, 1 + np.sin(t[:, None] * speed + phase)


def error(run: Any, weights: list[np.ndarray], along: list[np.ndarray], step: float) -> float:
    """Return the median relative error of derivatives along a direction, over the columns that keep their spikes.

    `run` returns losses (columns,), which are sums of a smooth function of the spike times, and counts of spikes.
    """
    tensors = [cs.Tensor(w, requires_grad=True) for w in weights]
    losses, counts = run(*tensors)
    losses.sum().backward()
    analytic = sum((t.grad * d).reshape(-1, t.shape[-1]).sum(axis=0) for t, d in zip(tensors, along, strict=True))
    sides = []
    with cs.no_grad():
        for sign in (1, -1):
            moved, moved_counts = run(*(w + sign * step * d for w, d in zip(weights, along, strict=True)))
            sides.append(moved.data)
            counts = np.where(moved_counts == counts, counts, 0)
    numeric = (sides[0] - sides[1]) / (2 * step)
    kept = counts > 0
    assert kept.sum() > len(kept) / 3
    size = abs(numeric[kept])
    return float(np.median(abs(analytic[kept] - numeric[kept]) / (size + 0.1 * np.median(size))))


@pytest.mark.all
@pytest.mark.parametrize("kind", KINDS)
def test_it_is_the_derivative_of_losses_of_spike_times(kind):
    make, scale = KINDS[kind]
    errors = {}
    for mode, dt in (("eventprop", 0.1), ("eventprop", 0.02), ("exact", 0.02)):
        generator = np.random.default_rng(0)
        weight, along = generator.normal(0.35, 0.25, (5, 200)), generator.standard_normal((5, 200))
        t, x = current(dt)
        neuron, of_time = make(dt=dt, gradient=mode), np.sin(t / 9) + 0.02 * t
        signal = cs.Tensor(x[:, None] * scale(dt))

        def run(w, signal=signal, neuron=neuron, of_time=of_time):
            s = neuron(signal @ w)
            return (s * of_time[:, None, None]).sum(axis=(0, 1)), s.data.sum(axis=(0, 1))

        errors[mode, dt] = error(run, [weight], [along], 0.01)
    assert errors["eventprop", 0.02] < min(0.1, 0.6 * errors["eventprop", 0.1])
    assert errors["exact", 0.02] > 0.2


@pytest.mark.all
def test_through_a_layer_of_neurons():
    """The derivative by currents of the first layer, for each sample."""
    errors = []
    for dt in (0.1, 0.02):
        t, x = current(dt)
        generator = np.random.default_rng(2)
        neuron, of_time = cs.CUBA(dt=dt, gradient="eventprop"), np.sin(t / 9) + 0.02 * t
        hidden = generator.normal(0.3, 0.2, (5, 20)) * 0.02 * dt**2
        out = generator.normal(0.06, 0.03, (20, 1)) * 0.2 * dt
        size, along = generator.uniform(0.5, 1.5, (5, 200)), generator.standard_normal((5, 200))

        def run(size, x=x, neuron=neuron, of_time=of_time, hidden=hidden, out=out):
            s = neuron(neuron(cs.Tensor(x[:, None]) * size.swapaxes(0, 1) @ hidden) @ out)
            return (s * of_time[:, None, None]).sum(axis=(0, 2)), s.data.sum(axis=(0, 2))

        errors.append(error(run, [size], [along], 0.01))
    assert errors[1] < min(0.15, 0.6 * errors[0])


@pytest.mark.all
def test_through_recurrent_synapses():
    """Currents move the spikes of the first neuron, and these the spikes of the second, of which the loss is."""
    errors = []
    for dt in (0.1, 0.02):
        t, x = current(dt)
        generator = np.random.default_rng(3)
        neuron, of_time = cs.CUBA(dt=dt, gradient="eventprop"), np.sin(t / 9) + 0.02 * t
        population = cs.Recurrent(cs.Dense(2, 2), neuron, delay=1.0)
        population.layer.weight.data = np.array([[0.0, 0.1], [0.0, 0.0]]) * dt
        size, along = generator.uniform(0.8, 1.2, (5, 200)), generator.standard_normal((5, 200))
        to_first, to_second = np.array([[0.005, 0.0]] * 5) * dt**2, np.array([0.0, 0.03]) * dt**2

        def run(size, x=x, of_time=of_time, population=population, weights=(to_first, to_second)):
            s = population(cs.Tensor(x[:, None]) * size.swapaxes(0, 1) @ weights[0] + weights[1])
            return (s[:, :, 1] * of_time[:, None]).sum(axis=0), s.data.sum(axis=(0, 2))

        errors.append(error(run, [size], [along], 0.02))
    assert errors[1] < min(0.2, 0.6 * errors[0])


def test_spikes_that_cross_nothing_have_no_gradient():
    """A spike in the step after another, and a potential that falls or hardly rises."""
    neuron = cs.LIF(20.0, reset="none", gradient="eventprop")
    x = cs.Tensor(np.array([0.5, 0.6, 0.6, 0.0, 0.0])[:, None, None], requires_grad=True)
    s = neuron(x)
    assert s.data.ravel().tolist() == [False, True, True, True, True]
    (s * np.arange(5.0)[:, None, None]).sum().backward()
    d = np.exp(-1 / 20)
    rise = d * 0.5 + 0.6 - 0.5
    np.testing.assert_allclose(x.grad.ravel(), [-d / rise, -1 / rise, 0, 0, 0], atol=1e-12)
    slow = cs.LIF(1e4, dt=1.0, gradient="eventprop")
    x = cs.Tensor(np.full((300, 1, 1), 0.0049), requires_grad=True)
    s = slow(x)
    assert s.data.any()
    (s * np.arange(300.0)[:, None, None]).sum().backward()
    assert not x.grad.any()


def test_a_threshold_of_each_neuron_is_trained():
    """A higher threshold is as a lower potential."""

    @dataclass(frozen=True, eq=False, repr=False, kw_only=True)
    class Own(cs.neurons.StepNeuron):
        tau: float = 15.0
        level: Any = 1.0
        states = ("v",)
        decays = {"d": "tau"}  # noqa: RUF012

        def step(c, d, v, x):
            v = d * v + x
            u = v - c.level + c.theta
            s = u >= c.theta
            return v, u, s

    level = cs.Tensor(np.ones(1), requires_grad=True)
    x = cs.Tensor(np.full((40, 1, 1), 0.1), requires_grad=True)
    s = Own(level=level, gradient="eventprop")(x)
    (s * np.arange(40.0)[:, None, None]).sum().backward()
    first = int(s.data.argmax())
    np.testing.assert_allclose(level.grad, -x.grad[first].ravel(), rtol=1e-6)
    assert level.grad[0] > 0


def test_where_there_is_no_such_gradient():
    with refuses("LIF: graded must be False with gradient='eventprop'"):
        cs.LIF(graded=True, gradient="eventprop")
    with refuses("SampledSRM: gradient must be one of slayer, detached, exact, got 'eventprop'"):
        cs.neurons.SampledSRM([1.0], [0.0], gradient="eventprop")
    with refuses("gradcheck: fn must be a neuron whose gradient is derived"):
        cs.gradcheck(cs.LIF(gradient="eventprop"))
    with refuses("SigmaDelta: graded must be False with gradient='eventprop'"):
        cs.neurons.SigmaDelta(gradient="eventprop")


@pytest.mark.parametrize("make", [cs.LIF, lambda **o: cs.CUBA(np.array([2.0, 3.0]), **o), cs.SRM, Echo])
def test_elsewhere_it_runs_without_what_only_the_gradient_needs(make):
    """As on a page, in C, and in whole numbers."""
    neuron, plain = make(gradient="eventprop"), make(gradient="slayer")
    assert neuron.spiking.kind.crossing
    for name in ("as_step", "simulation"):
        mine, other = getattr(neuron, name), getattr(plain, name)
        assert mine.spiking == other.spiking
        assert list(mine.keeps) == list(other.keeps)
    x = np.random.default_rng(0).normal(0.3, 1, (50, 2, 2)).astype(np.float32) * neuron.theta
    np.testing.assert_array_equal(neuron(x).data, plain(x).data)
