"""The contract of a neuron: its defaults; a user's own kind, leaky integrate-and-fire, in networks and inspection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import kernels
from cuslayer.neurons.base import Neuron, as_neuron, is_neuron
from cuslayer.tape import differentiable, save_for_backward


@differentiable
def leaky_integrate_and_fire(x, /, *, neuron):
    """Return the spikes of x (T, N, C): ``u[t] = leak u[t-1] + x[t]`` after the reset of u[t-1] by its spike."""
    u, s, before = np.empty_like(x), np.empty(x.shape, bool), np.zeros_like(x[0])
    for t in range(len(x)):
        u[t] = before * neuron.leak + x[t]
        s[t] = neuron.fires(u[t])
        before = np.where(s[t], 0 if neuron.to_zero else u[t] - neuron.theta, u[t])
    potential = save_for_backward(kernels.of(x), u)

    def pullback(g):
        """The reset has no gradient: ``g_x[t] = rho(u[t]) g[t] + leak g_x[t+1]``."""
        y = neuron.surrogate(potential()) * g
        for t in reversed(range(len(y) - 1)):
            y[t] += neuron.leak * y[t + 1]
        return y

    return s, pullback


@dataclass(frozen=True)
class Leaky(Neuron):
    theta: float = 1.0
    leak: float = 0.75
    to_zero: bool = False

    def __call__(self, x):
        return leaky_integrate_and_fire(x, neuron=self)

    @property
    def response(self):
        return self.leak ** np.arange(40)

    @property
    def refractory(self):
        return np.zeros(1) if self.to_zero else -self.theta * self.leak ** np.arange(40) * (np.arange(40) > 0)

    def surrogate(self, u):
        return 1 / (1 + np.abs(u - u.dtype.type(self.theta))) ** 2


class Plain:
    """Not a `Neuron`, but with what one needs."""

    theta, dt, peak = 0.5, 2.0, 4.0
    response = np.array([2.0, 4.0])

    def psp(self, x):
        return x

    def __call__(self, x):
        return cs.Tensor(x.data > 0)


def network(**constants):
    cs.seed(3)
    net = cs.Sequential(cs.Dense(6, 5), Leaky(**constants), cs.Dense(5, 3), Leaky(theta=0.5, **constants))
    for layer in net.layers[::2]:
        layer.weight.data = np.random.default_rng(1).normal(0.3, 0.4, layer.weight.shape).astype(np.float32)
    return net, np.random.default_rng(2).random((25, 2, 6)) < 0.3


def test_what_a_neuron_is():
    assert is_neuron(Leaky())
    assert is_neuron(Plain())
    for part in ("theta", "psp"):
        lacking = {name: value for name, value in vars(Plain).items() if name not in (part, "__dict__", "__weakref__")}
        assert not is_neuron(type("Lacking", (), lacking)())
    assert not is_neuron(cs.Dense(2, 2))
    with pytest.raises(TypeError, match=r"^neuron must be a neuron, got Dense$"):
        as_neuron(cs.Dense(2, 2))


def test_an_object_is_completed_by_the_defaults():
    """What it has goes before what the contract says."""
    neuron = Leaky()
    assert as_neuron(neuron) is neuron
    plain = as_neuron(Plain())
    assert (plain.theta, plain.dt, plain.peak, plain.period, plain.gradient) == (0.5, 2.0, 4.0, 1, "slayer")
    assert plain.response.tolist() == [2.0, 4.0]
    assert plain.refractory.tolist() == [0.0]
    assert plain.pool_gain == pytest.approx(0.55)
    assert plain.one_pass is None
    assert plain(cs.Tensor([1.0, -1.0])).data.tolist() == [True, False]


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
    with pytest.raises(TypeError, match=r"^Bare: a neuron must define __call__$"):
        bare(x)
    Bare.theta = 0.0
    assert bare.width == 1.0


def test_a_potential_at_the_threshold_fires():
    """The threshold is rounded to the potential's type, as kernels have it."""
    neuron = Leaky(theta=np.float64(0.7))
    for dtype in (np.float32, np.float64):
        at = dtype(0.7)
        below, above = np.nextafter(at, dtype(0)), np.nextafter(at, dtype(1))
        assert neuron.fires(np.array([below, at, above])).tolist() == [False, True, True]


def test_psp_has_a_peak_of_one():
    class Slow(Leaky):
        peak = 2.0
        response = np.array([0.0, 2.0, 1.0])

    x = np.zeros((4, 1, 1), np.float32)
    x[0] = 1
    assert Slow().psp(cs.Tensor(x)).data.ravel().tolist() == [0.0, 1.0, 0.5, 0.0]


def test_a_network_of_ones_own_neurons_learns():
    net, x = network()
    loss = cs.SpikeCountLoss(net[3], true=12, false=2)
    optimizer = cs.Adam(net.parameters(), lr=0.02)
    losses = []
    for _ in range(40):
        value = loss(net(x), [0, 2])
        losses.append(value.item())
        value.backward()
        optimizer.step()
        optimizer.zero_grad()
    assert losses[-1] < 0.2 * losses[0]


def test_neurons_with_a_call_of_their_own_are_recorded_by_it():
    """Spikes of one derived from SRM are what it returns, not where its potential reaches the threshold."""

    class Every(cs.SRM):
        def __call__(self, x):
            s = super().__call__(x)
            return cs.Tensor(s.data & (np.arange(len(s.data)) % 2 == 0)[:, None, None])

    cs.seed(1)
    net = cs.Sequential(cs.Dense(4, 3, weight_scale=20.0), Every())
    x = np.ones((40, 1, 4), bool)
    assert cs.Sequential(net[0], cs.SRM())(x).data[1::2].any()
    with cs.record(net) as seen:
        out = net(x)
    assert out.data.any()
    assert not out.data[1::2].any()
    np.testing.assert_array_equal(seen[1].spikes.values, out.data)
