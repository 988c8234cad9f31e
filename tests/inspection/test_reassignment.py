"""Tests of reassignment, of `on_gradient`, and of observers of a network."""

from __future__ import annotations

import threading

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from cuslayer.network.fusion import Step, observe, observed


def case(gradient="slayer"):
    srm = cs.SRM(gradient=gradient, tau_sr=4.0)
    net = cs.Network("8x8x2-3c3-2a-5", srm)
    return srm, net, np.random.default_rng(2).random((60, 2, 8, 8, 2)) < 0.2


def by_hand(srm, u, g):
    """Return the two errors of a column by plain loops, from the error on its spikes."""
    rho = srm.scale_rho / (srm.tau_rho * srm.theta) * np.exp(-abs(u - srm.theta) / (srm.tau_rho * srm.theta))
    eps, nu = srm.response, srm.refractory
    g_u = np.zeros(len(u))
    for t in reversed(range(len(u))):
        later = range(t + 1, min(len(u), t + len(nu)))
        through = sum(nu[s - t] * g_u[s] for s in later) if srm.gradient == "exact" else 0.0
        g_u[t] = srm.dt * rho[t] * (g[t] + through)
    g_x = [sum(eps[s - t] * g_u[s] for s in range(t, min(len(u), t + len(eps)))) for t in range(len(u))]
    return rho, g_u, np.array(g_x)


@pytest.mark.parametrize(
    ("gradient", "layer", "neuron"), [("exact", 1, (2, 7, 1)), ("slayer", 3, (0, 3, 2)), ("exact", 5, 4)]
)
def test_the_errors_equal_the_equations(gradient, layer, neuron):
    srm, net, x = case(gradient)
    found = cs.reassignment(net, x, [1, 3], layer, neuron, sample=1)
    assert found.spikes_error.any()
    assert found.theta == 10.0
    assert (found.spikes == (found.potential >= 10.0)).all()
    rho, g_u, g_x = by_hand(srm, found.potential.astype(float), found.spikes_error.astype(float))
    np.testing.assert_allclose(found.surrogate, rho, rtol=1e-4, atol=1e-12)
    np.testing.assert_allclose(found.potential_error, g_u, rtol=1e-4, atol=1e-6 * abs(g_u).max())
    np.testing.assert_allclose(found.weighted_error, g_x, rtol=1e-4, atol=1e-5 * abs(g_x).max())
    np.testing.assert_allclose(found.spread.sum(axis=1), found.weighted_error, atol=1e-5 * abs(g_x).max())
    assert found.spread[30, 40] == pytest.approx(srm.response[10] * found.potential_error[40])
    assert found.spread[40, 30] == 0
    where = neuron if isinstance(neuron, tuple) else (neuron,)
    assert found.neuron == where
    with cs.record(net) as seen:
        loss = cs.SpikeCountLoss(srm)
        value = loss(net(x), [1, 3])
    value.backward()
    assert found.loss == value.item()
    for name in ("spikes", "potential", "surrogate", "spikes_error", "potential_error", "weighted_error"):
        expected = getattr(seen[layer], name)[(slice(None), 1, *where)]
        np.testing.assert_allclose(getattr(found, name), expected, atol=1e-5 * (1 + abs(expected).max()))


def test_the_loss_that_fits_the_target():
    srm, net, x = case()
    trains = np.random.default_rng(0).random((60, 2, 5)) < 0.1
    given = cs.reassignment(net, x, trains, 3, 0, loss=cs.SpikeTimeLoss(srm))
    assert cs.reassignment(net, x, trains, 3, 0).loss == given.loss
    one_hot = np.eye(5)[[1, 3]]
    counted = cs.reassignment(net, x, one_hot, 3, 0, loss=cs.SpikeCountLoss(srm))
    assert cs.reassignment(net, x, one_hot, 3, 0).loss == counted.loss != given.loss
    assert cs.reassignment(net, x, cs.Tensor(trains), 3, 0).loss == given.loss


def test_the_plot():
    _, net, x = case()
    found = cs.reassignment(net, x, [1, 3], 3, (1, 2, 1))
    axes = found.plot()
    assert found.plot(axes[0].figure.subplots(6, 1))[0] is not axes[0]
    spikes, potential, surrogate, *errors = axes
    drawn = [segment[0][0] for segment in spikes.collections[0].get_segments()]
    assert drawn == found.time[found.spikes].tolist()
    assert len(drawn) > 0
    lines = {ax: {line.get_label(): line for line in ax.get_lines()} for ax in axes}
    assert (lines[potential]["potential"].get_ydata() == found.potential).all()
    assert lines[potential]["threshold"].get_ydata() == [10.0, 10.0]
    assert (lines[surrogate]["surrogate"].get_ydata() == found.surrogate).all()
    names = ("spikes_error", "potential_error", "weighted_error")
    for ax, name in zip(errors, names, strict=True):
        assert (lines[ax][name].get_ydata() == getattr(found, name)).all()
        assert (lines[ax][name].get_xdata() == found.time).all()
    pieces = [line.get_ydata() for line in errors[-1].get_lines() if line.get_label() == "_piece"]
    assert (pieces[0] == found.spread[:, abs(found.potential_error).argmax()]).all()
    assert len({ax.get_xlim() for ax in axes}) == 1
    axes[0].figure.canvas.draw()
    with pytest.raises(ValueError, match=r"^plot: axes must be six, got 2$"):
        found.plot(axes[:2])


def test_errors():
    _, net, x = case()
    with pytest.raises(TypeError, match=r"^reassignment: net must be a Network or Sequential, got int$"):
        cs.reassignment(3, x, [1, 3], 1, 0)
    with pytest.raises(TypeError, match=r"^reassignment: loss must be a function of spikes and target, got int$"):
        cs.reassignment(net, x, [1, 3], 1, 0, loss=3)
    with pytest.raises(IndexError, match=r"^reassignment: layer must be under 6, got 6; its layers are 0 "):
        cs.reassignment(net, x, [1, 3], 6, 0)
    with pytest.raises(IndexError, match=r"^record: neuron 5 lies outside a layer of shape \(5,\)$"):
        cs.reassignment(net, x, [1, 3], 5, 5)
    with pytest.raises(ValueError, match=r"^SpikeCountLoss: labels have shape \(1,\)"):
        cs.reassignment(net, x, [1], 5, 0)
    alone = cs.Sequential(cs.Dense(4, 3))
    with pytest.raises(TypeError, match=r"^reassignment: layer 0 \(Dense\(4, 3\)\) has no SRM neurons$"):
        cs.reassignment(alone, np.ones((5, 1, 4), bool), [1], 0, 0)


@pytest.mark.parametrize("shape", [(5, 2, 3), (0, 1), ()])
def test_on_gradient_is_the_identity_and_reports_the_gradient(shape):
    x = np.random.default_rng(0).standard_normal(shape)
    assert cs.gradcheck(lambda x: functions.on_gradient(x, callback=lambda g: None) * x, x) < 1e-6
    shown = []
    t = cs.Tensor(x, requires_grad=True)
    y = functions.on_gradient(t, callback=shown.append)
    assert y.data is t.data
    (y * 3.0).sum().backward()
    assert (shown[0] == 3.0).all()
    assert (t.grad == 3.0).all()
    assert not functions.on_gradient(x, callback=shown.append).requires_grad


def test_observers_of_a_network():
    net, other = object(), object()
    calls = []

    def stage(x):
        calls.append("run")
        return x

    def watch(name):
        def runs(run, step, x):
            calls.append(name)
            return run(step, x)

        return runs

    def run():
        observed(net)(Step(0, (stage,)), cs.Tensor(1.0))
        found = list(calls)
        calls.clear()
        return found

    assert run() == ["run"]
    with observe(net, watch("a")), observe(other, watch("b")), observe(net, watch("c")):
        assert run() == ["c", "a", "run"]
        elsewhere = []
        thread = threading.Thread(target=lambda: elsewhere.append(run()))
        thread.start()
        thread.join()
        assert elsewhere == [["run"]]
    with pytest.raises(KeyError), observe(net, watch("a")):
        raise KeyError
    assert run() == ["run"]
