"""The contract of a neuron: its defaults; one that a user writes, leaky with a surrogate of its own, everywhere."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import kernels
from cuslayer._tape import differentiable, save_for_backward
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron
from tests.support.refused import refuses


@differentiable
def leaky(x, /, *, leak, theta, dt):
    """``u[t] = leak u[t-1] + x[t]``, reset to 0 after a spike; the surrogate is ``1 / (1 + |u - theta|)^2``."""
    u, v = np.empty_like(x), np.zeros_like(x[0]) if len(x) else 0.0
    for t in range(len(x)):
        u[t] = leak * v + x[t]
        v = np.where(u[t] >= theta, 0.0, u[t])
    potential = save_for_backward(kernels.of(x), u)

    def pullback(g):
        g_u = dt * g / (1 + abs(potential() - theta)) ** 2
        for t in reversed(range(len(g_u) - 1)):
            g_u[t] += leak * g_u[t + 1]
        return g_u.astype(g.dtype)

    return u >= theta, pullback


class LIF(Neuron):
    def __init__(self, theta=1.0, tau=5.0, dt=1.0):
        self.theta, self.dt, self.leak = theta, dt, float(np.exp(-dt / tau))

    @property
    def response(self):
        return self.leak ** np.arange(60)

    def surrogate(self, u):
        return 1 / (1 + abs(u - self.theta)) ** 2

    def __call__(self, x):
        return leaky(x, leak=self.leak, theta=self.theta, dt=self.dt)


class Duck:
    """Not a `Neuron`, but with a threshold and a response."""

    theta, dt, peak = 0.5, 2.0, 4.0
    response = np.array([2.0, 4.0])

    def psp(self, x):
        return cs.SRM(theta=1.0).psp(x)

    def __call__(self, x):
        return cs.SRM(theta=1.0)(x)


def case():
    cs.seed(3)
    net = cs.Network("8x8x2-4c3-2a-12-3", LIF())
    for layer in net.layers:
        if hasattr(layer, "weight"):
            layer.weight.data *= 0.1
    return net, np.random.default_rng(0).random((60, 4, 8, 8, 2)) < 0.1, np.array([0, 1, 2, 0])


def test_a_record_has_what_the_network_had():
    net, x, labels = case()
    with cs.record(net) as seen:
        out = net(x)
    cs.SpikeCountLoss(net[1], true=20, false=2)(out, labels).backward()
    y = cs.Tensor(x)
    for at, stage in enumerate(net.layers):
        before, y = y, stage(y)
        if is_neuron(stage):
            np.testing.assert_array_equal(seen[at].spikes.values, y.data)
            np.testing.assert_array_equal(seen[at].weighted.values, before.data)
            u = seen[at].potential.values
            assert ((u >= 1.0) == y.data).all()
            np.testing.assert_array_equal(seen[at].surrogate.values, stage.surrogate(u))
            assert seen[at].spikes_error.values.any()
    with refuses("record: layer 1 (Conv(2, 4, (3, 3), padding=(1, 1)), LIF) has no refractory, only"):
        _ = seen[1].refractory


def test_health_and_report_take_it(tmp_path):
    net, x, labels = case()
    found = cs.diagnose(net, [(x, labels)])
    assert [layer.layer for layer in found.layers] == [1, 3, 5, 7]
    with cs.record(net) as seen:
        net(x)
    assert found[1].rate == pytest.approx(1000 * seen[1].spikes.values.mean(), rel=1e-6)
    assert found[1].theta == 1.0
    assert "loss of a sample" in repr(found)
    cs.write_report(net, x[:, :1], tmp_path / "page.html", target=labels[:1])
    assert "LIF" in (tmp_path / "page.html").read_text("utf-8")


def test_health_advises_no_setting_that_the_neuron_does_not_have():
    """Potentials far from the threshold, and errors that fade: for SRM the advice would be tau_rho and scale_rho."""

    class Narrow(LIF):
        width = 1e-3

        def surrogate(self, u):
            return 1e-4 * super().surrogate(u)

        def __call__(self, x):
            return faint(super().__call__(x))

    @differentiable
    def faint(s):
        return s, lambda g: 1e-4 * g

    neuron, x = Narrow(), np.random.default_rng(0).random((60, 4, 8)) < 0.2
    net = cs.Sequential(cs.Dense(8, 6, weight_scale=2.0), neuron, cs.Dense(6, 3, weight_scale=2.0), neuron)
    found = cs.diagnose(net, [(x, [0, 1, 2, 0])])
    assert found[1].distance > 3 * found[1].width
    assert 0 < found.error(1) < 0.01
    assert found.advice == ()


def test_an_explanation_says_what_it_cannot_take_apart():
    net, x, _ = case()
    with cs.record(net) as seen:
        net(x)
    u = seen[5].potential.values
    time, sample, neuron = np.argwhere(seen[5].spikes.values)[-1].tolist()
    why = cs.explain(net, x, layer=5, index=neuron, time=time, sample=sample)
    assert why.fired
    assert why.potential == pytest.approx(float(u[time, sample, neuron]))
    assert not why.exact
    assert why.filtered + why.refractory + why.unexplained == pytest.approx(why.potential)
    # Each reset took away the potential that the spike had: response alone says more than there was.
    assert why.unexplained <= 1e-4
    assert "not explained" in repr(why)
    assert why.plot().get_yticklabels()[-2].get_text() == "not explained"
    assert why.trace(depth=3).events


def test_an_object_with_a_threshold_and_a_response_is_one_too():
    duck, x = Duck(), np.random.default_rng(0).random((40, 2, 5)) < 0.2
    net = cs.Sequential(cs.Dense(5, 3, weight_scale=3.0), duck)
    assert net[1] is duck
    with cs.record(net) as seen:
        out = net(x)
    np.testing.assert_array_equal(seen[1].spikes.values, out.data)
    assert cs.diagnose(net, [(x, [0, 1])])[1].theta == 0.5
    assert cs.Network("5-3", duck)[1] is duck


@differentiable
def threshold(x):
    return x >= 1.0, lambda g: g


class Memoryless(Neuron):
    """Passes no potential to `save_for_backward`."""

    theta, dt = 1.0, 1.0

    def __call__(self, x):
        return threshold(x)


def test_a_neuron_that_saves_no_potential():
    net, x = cs.Sequential(cs.Dense(5, 3, weight_scale=9.0), Memoryless()), np.random.default_rng(0).random((40, 2, 5))
    with cs.record(net) as seen:
        out = net(x)
    np.testing.assert_array_equal(seen[1].spikes.values, out.data)
    with refuses("record: layer 1 (Dense(5, 3), Memoryless) has no potential: its neurons pass none to"):
        _ = seen[1].potential
    assert "potential" not in repr(seen[1])
    assert cs.diagnose(net, [(x, [0, 1])])[1].rate == pytest.approx(1000 * out.data.mean())
    with refuses("explain: layer 1 (Dense(5, 3), Memoryless) saves no potential for backward that could be"):
        cs.explain(net, x, layer=1, index=0, time=3)


def test_what_a_neuron_is():
    assert is_neuron(LIF())
    assert is_neuron(Duck())
    for part in ("theta", "psp"):
        lacking = {name: value for name, value in vars(Duck).items() if name not in (part, "__dict__", "__weakref__")}
        assert not is_neuron(type("Lacking", (), lacking)())
    assert not is_neuron(cs.Dense(2, 2))
    with pytest.raises(TypeError, match=r"^neuron must be a neuron, got Dense$"):
        as_neuron(cs.Dense(2, 2))


def test_an_object_is_completed_by_the_defaults():
    """What it has goes before what the contract says."""
    neuron = LIF()
    assert as_neuron(neuron) is neuron
    duck = as_neuron(Duck())
    assert (duck.theta, duck.dt, duck.peak, duck.period, duck.gradient) == (0.5, 2.0, 4.0, 1, "slayer")
    assert duck.response.tolist() == [2.0, 4.0]
    assert duck.refractory.tolist() == [0.0]
    assert duck.pool_gain == pytest.approx(0.55)
    assert duck.one_pass is None


@pytest.mark.all
def test_the_defaults():
    class Bare(Neuron):
        theta = -2.0

    bare = Bare()
    assert (bare.dt, bare.period, bare.peak, bare.parts, bare.width) == (1.0, 1, 1.0, "partial", 2.0)
    assert bare.pool_gain == pytest.approx(-2.2)
    assert (bare.one_pass, bare.relaxed, bare.surrogate(np.zeros(3)), bare.names) == (None, None, None, None)
    assert bare.with_gradient("exact") is bare
    x = np.random.default_rng(0).standard_normal((5, 1, 2))
    np.testing.assert_array_equal(bare.psp(cs.Tensor(x)).data, x)
    with refuses("Bare: a neuron must define __call__"):
        bare(x)
    Bare.theta = 0.0
    assert bare.width == 1.0


def test_a_potential_at_the_threshold_fires():
    """The threshold is rounded to the potential's type, as kernels have it."""
    neuron = LIF(theta=np.float64(0.7))
    for dtype in (np.float32, np.float64):
        at = dtype(0.7)
        below, above = np.nextafter(at, dtype(0)), np.nextafter(at, dtype(1))
        assert neuron.fires(np.array([below, at, above])).tolist() == [False, True, True]


def test_psp_has_a_peak_of_one():
    class Slow(LIF):
        peak = 2.0
        response = np.array([0.0, 2.0, 1.0])

    x = np.zeros((4, 1, 1), np.float32)
    x[0] = 1
    assert Slow().psp(cs.Tensor(x)).data.ravel().tolist() == [0.0, 1.0, 0.5, 0.0]


def test_a_network_of_ones_own_neurons_learns():
    net, x, labels = case()
    loss, optimizer, losses = cs.SpikeCountLoss(net[7], true=12, false=2), cs.Adam(net.parameters(), lr=0.01), []
    for _ in range(30):
        value = loss(net(x), labels)
        losses.append(value.item())
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.5 * losses[0]
