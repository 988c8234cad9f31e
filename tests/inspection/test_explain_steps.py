"""Tests of explain for steps that are not linear: the parts are integrated gradients, and add up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.polynomial import Polynomial

import cuslayer as cs
from cuslayer.kernels.step.smooth import evaluated
from cuslayer.neurons.held import LIMIT, held
from tests.support.kinds import Cubic, Echo, Exponential, Izhikevich, Offset, Quadratic, Resting

pytestmark = pytest.mark.all


def explained(neuron, weight_scale, neurons=6, steps=80):
    """Yield explanations at spikes and at the end, with the input and the spikes."""
    cs.seed(1)
    net = cs.Sequential(cs.Dense(20, neurons, weight_scale=weight_scale), neuron)
    x = np.random.default_rng(2).random((steps, 2, 20)) < 0.08
    with cs.no_grad():
        fired = net(x).data[:, 1]
    assert fired.any()
    for index in range(neurons):
        for time in [*np.flatnonzero(fired[:, index])[:3].tolist(), steps - 1]:
            yield cs.explain(net, x, 1, index, time, sample=1), x[:, 1], fired


def size_of(why):
    return 1 + abs(why.contributions).sum() + abs(why.refractory) + abs(why.rest) + abs(why.bias)


@pytest.mark.parametrize(
    ("neuron", "scale"),
    [(Quadratic(), 3.0), (Exponential(), 2.0), (Izhikevich(), 40.0), (Echo(), 3.0), (Offset(), 9.0)],
    ids=lambda given: type(given).__name__,
)
def test_the_parts_of_a_step_that_is_not_linear_add_up(neuron, scale):
    for why, x, fired in explained(neuron, scale):
        assert abs(why.unexplained) <= 1e-4 * size_of(why)
        assert sum(part.size for part in why.parts(most=3)) == pytest.approx(why.potential, abs=1e-9 * size_of(why))
        assert why.parts()[-1].name == "not explained"
        assert why.spikes
        assert all(x[(spike.time, *spike.sender)] for spike in why.spikes)
        assert all(fired[spike.time, why.index[0]] for spike in why.refractory_spikes)


@pytest.mark.parametrize(("neuron", "scale"), [(Izhikevich(drive=10.0), 20.0), (Cubic(drive=-0.15), 1.0)])
def test_parts_of_a_neuron_that_fires_by_itself_keep_their_size(neuron, scale):
    """Without its input it fires at other steps: a power of v would grow without a limit where no spike is held."""
    for why, *_ in explained(neuron, scale):
        assert why.size < 100 * max(abs(why.potential), neuron.theta)
        assert abs(why.unexplained) <= 1e-3 * why.size


@pytest.mark.parametrize(("v", "limited"), [(3.0, 1.0), (-3.0, -1.0), (0.5, 0.4875)])
def test_a_held_neuron_that_fires_at_both_signs_is_limited_at_both(v, limited):
    step = held(Cubic.kind())
    for fired, expected in ((0.0, limited), (1.0, 0.9 * v + 0.3 * v**3)):
        known = {"d": 0.9, "drive": 0.0, "theta": 1.0, "x": 0.0, "v": v, LIMIT: 1.0, step.spikes[0][0]: fired}
        for target, value in step.kind.body:
            known[target] = evaluated(step.kind, value, known)
        assert known[step.outputs[-1]] == pytest.approx(expected)


def test_recurrent_spikes_are_inputs_of_such_a_step():
    cs.seed(1)
    population = cs.Recurrent(cs.Dense(8, 8, weight_scale=40.0), Izhikevich())
    net = cs.Sequential(cs.Dense(20, 8, weight_scale=60.0), population)
    x = np.random.default_rng(2).random((80, 1, 20)) < 0.08
    time, _, index = np.argwhere(net(x).data)[-1].tolist()
    why = cs.explain(net, x, 1, index, time)
    assert [source.address for source in why.sources] == [None, 1]
    assert all(abs(source.contributions).sum() > 1.0 for source in why.sources)
    assert abs(why.left) <= 1e-4 * size_of(why)


def test_parts_of_a_square_by_hand():
    """The input of two steps along the line, a in [0, 1]: the derivatives of both steps are polynomials of a."""
    net = cs.Sequential(cs.Dense(2, 1), Quadratic(tau=10.0, theta=9.0))
    net[0].weight.data[:] = [[0.5], [-0.25]]
    x = np.zeros((3, 1, 2), bool)
    x[0] = x[1, 0, 0] = True
    d = float(np.exp(-0.1))
    voltage = Polynomial([0.0, 0.25])
    first = d + 0.2 * voltage
    voltage = d * voltage + 0.1 * voltage**2 + Polynomial([0.0, 0.5])
    second = d + 0.2 * voltage
    of_second = second.integ()(1.0)
    of_first = (first * second).integ()(1.0)
    why = cs.explain(net, x, 1, 0, 2)
    shares = {(spike.time, spike.sender[0]): spike.share for spike in why.spikes}
    assert shares == pytest.approx(
        {(0, 0): 0.5 * of_first, (0, 1): -0.25 * of_first, (1, 0): 0.5 * of_second}, rel=1e-5
    )


def test_a_spike_and_the_rest_by_hand():
    """Without input a neuron goes from -65 to where its step takes it; a spike sets v and adds to w."""
    net = cs.Sequential(cs.Dense(1, 1), Izhikevich())
    net[0].weight.data[:] = 200.0
    x = np.zeros((2, 1, 1), bool)
    x[0] = True
    first, second = (cs.explain(net, x, 1, 0, time) for time in (0, 1))
    alone = -65 + 0.04 * 65**2 - 5 * 65 + 140 + 13
    assert first.rest == pytest.approx(alone)
    assert first.contributions == pytest.approx([200.0])
    assert first.fired
    # After the spike nothing of the input is left in v; the slope of u by w is -1.
    assert second.contributions == pytest.approx([0.0], abs=1e-9)
    w = -13 + 0.02 * (0.2 * -65 + 13)
    assert second.potential == pytest.approx(-65 + 0.04 * 65**2 - 5 * 65 + 140 - (w + 8))
    assert second.refractory_spikes.time.tolist() == [0]


@dataclass(frozen=True, eq=False, repr=False)
class Rewritten(cs.neurons.AdLIF):
    """The equations of AdLIF in a subclass: its parts come from the step."""

    def step(c, d, e, a, b, v, w, x):
        u = d * v + (1 - d) * (x - w)
        s = u >= c.theta
        v = u if u < c.theta else 0
        w = e * w + (1 - e) * c.q * (a * v + (b if s else 0))
        return v, w, u, s


def test_a_linear_step_has_the_parts_of_the_shipped_kind():
    options = {"tau_u": 10.0, "tau_w": 60.0, "a": 0.2, "b": 0.1}
    assert Rewritten(**options).parts == "integrated"
    pairs = zip(explained(Rewritten(**options), 60.0), explained(cs.neurons.AdLIF(**options), 60.0), strict=True)
    for (own, *_), (shipped, *_) in pairs:
        most = abs(shipped.contributions).max()
        np.testing.assert_allclose(own.contributions, shipped.contributions, atol=1e-5 * most)
        assert own.refractory == pytest.approx(shipped.refractory, rel=1e-5, abs=1e-6)
        np.testing.assert_array_equal(own.refractory_spikes.time, shipped.refractory_spikes.time)
        assert own.rest == 0


def test_what_a_jump_leaves_is_a_part():
    lefts = []
    for why, *_ in explained(Resting(), 3.0, neurons=2):
        total = sum(part.size for part in why.parts(most=2))
        assert total == pytest.approx(why.potential, abs=1e-9 * size_of(why))
        lefts.append(abs(why.unexplained))
    assert max(lefts) > 0.01


def test_stateful_neurons_have_the_rest_of_earlier_calls():
    net = cs.Sequential(cs.Dense(4, 2, weight_scale=1.0), Quadratic(stateful=True))
    x = np.random.default_rng(0).random((10, 1, 4)) < 0.5
    net(x)
    why = cs.explain(net, x, 1, 0, 3)
    assert net[1].parts == "partial"
    assert sum(part.size for part in why.parts()) == pytest.approx(why.potential, abs=1e-5)
