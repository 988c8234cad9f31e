"""Spike response neurons with responses of one's own: plain loops, `SRM`, gradients, networks and inspection."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from cuslayer.inspection.compare import Relaxed
from cuslayer.neurons.names import neuron_constants
from tests.support import reference

RNG = np.random.default_rng(41)
RESPONSE = np.array([1.0, 0.9, 0.7, -0.2, 0.4, 0.1])
REFRACTORY = np.array([0.0, -6.0, -9.0, 2.0, -1.0])


def own(**options):
    return cs.SampledSRM(RESPONSE, REFRACTORY, **({"theta": 4.0} | options))


def signal(shape, size=3.0):
    return RNG.standard_normal(shape) * size


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(30, 2, 3), (1, 1, 1), (0, 2, 3), (30, 0, 3), (30, 2, 0), (12, 2, 3, 4, 2)])
def test_is_a_plain_loop(shape, dtype):
    x = signal(shape).astype(dtype)
    with cs.no_grad():
        s = own()(x)
    _, spikes = reference.spike(reference.psp(x, RESPONSE), REFRACTORY, 4.0)
    assert s.data.dtype == bool
    assert (s.data == spikes).all()
    assert shape != (30, 2, 3) or 0.05 < spikes.mean() < 0.6
    again = own().spike(own().psp(x))
    assert (again.data == spikes).all()


@pytest.mark.parametrize("gradient", ["slayer", "exact"])
@pytest.mark.parametrize(("dt", "tau"), [(1.0, 4.0), (0.5, 3.0), (0.1, 1.0)])
def test_the_samples_of_an_srm_make_the_srm(gradient, dt, tau):
    srm = cs.SRM(theta=5.0, tau_sr=tau, tau_ref=2.0, tau_rho=0.5, scale_rho=0.7, dt=dt, gradient=gradient)
    constants = {"theta": 5.0, "tau_rho": 0.5, "scale_rho": 0.7, "dt": dt, "gradient": gradient}
    neuron = cs.SampledSRM(srm.response, srm.refractory, **constants)
    assert neuron.pool_gain == pytest.approx(srm.pool_gain, rel=0.1)
    assert (neuron.relaxed, neuron.width, neuron.period) == (srm.relaxed, srm.width, srm.period)
    x, grad = signal((80, 2, 4), 6 * dt**0.5), RNG.standard_normal((80, 2, 4))
    for ours, theirs in ((neuron, srm), (neuron.spike, srm.spike)):
        a, b = cs.Tensor(x, requires_grad=True), cs.Tensor(x, requires_grad=True)
        s, t = ours(a), theirs(b)
        assert s.data.any()
        assert (s.data == t.data).all()
        s.backward(grad)
        t.backward(grad)
        np.testing.assert_allclose(a.grad, b.grad, rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(neuron.surrogate(x), srm.surrogate(x))
    np.testing.assert_allclose(neuron.psp(x).data, srm.psp(x).data, atol=1e-12)


@pytest.mark.parametrize("gradient", ["slayer", "exact"])
@pytest.mark.parametrize("dt", [1.0, 0.5])
def test_the_gradient_is_the_formula(gradient, dt):
    neuron = own(gradient=gradient, dt=dt, tau_rho=0.5, scale_rho=0.8)
    x, g = signal((30, 2, 3)), RNG.standard_normal((30, 2, 3))
    t = cs.Tensor(x, requires_grad=True)
    neuron(t).backward(g)
    u, _ = reference.spike(reference.psp(x, RESPONSE), REFRACTORY, 4.0)
    rho = dt * 0.8 / 2.0 * np.exp(-np.abs(u - 4.0) / 2.0)
    g_u = np.zeros(u.shape)
    for step in reversed(range(30)):
        through = g[step].copy()
        for k in range(1, min(5, 30 - step)) if gradient == "exact" else ():
            through += REFRACTORY[k] * g_u[step + k]
        g_u[step] = rho[step] * through
    np.testing.assert_allclose(t.grad, reference.psp_adjoint(g_u, RESPONSE), atol=1e-12)


def test_the_exact_gradient_is_the_derivative_of_relaxed_neurons():
    """A smooth threshold around the run, whose slope is the surrogate; central differences in float64."""
    neuron = own(gradient="exact")
    x, g = signal((16, 1, 2)), RNG.standard_normal((16, 1, 2))
    t = cs.Tensor(x, requires_grad=True)
    neuron(t).backward(g)
    u, _ = reference.spike(reference.psp(x, RESPONSE), REFRACTORY, 4.0)
    relaxed, step, found = Relaxed(neuron, u), 1e-5, np.zeros(x.shape)
    for at in np.ndindex(x.shape):
        values = []
        for sign in (1, -1):
            change = np.zeros(x.shape)
            change[at] = sign * step
            changes = relaxed.changes(reference.psp(change, RESPONSE)[:, None])[:, 0]
            values.append((g * changes).sum())
        found[at] = (values[0] - values[1]) / (2 * step)
    assert np.linalg.norm(found - t.grad) < 1e-6 * np.linalg.norm(found)


def test_gradients_of_losses():
    loss = cs.SpikeTimeLoss(own())
    target = RNG.random((20, 2, 3)) < 0.3
    assert cs.gradcheck(lambda s: loss(s, target), RNG.random((20, 2, 3))) < 1e-6
    assert cs.gradcheck(own().psp, RNG.random((20, 2, 3))) < 1e-6


def test_without_refraction_and_without_a_filter():
    x = signal((20, 1, 4))
    assert (cs.SampledSRM(theta=2.0)(x).data == (x >= 2.0)).all()
    assert cs.SampledSRM(theta=2.0).refractory.tolist() == [0.0]
    assert cs.SampledSRM([0, 1]).response.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("potentials", ["full", "float16"])
@pytest.mark.parametrize("gradient", ["slayer", "exact"])
def test_networks_of_words_learn_and_are_inspected(gradient, potentials):
    cs.seed(2)
    neuron = own(gradient=gradient)
    net = cs.Network("6x6x2-3c3-2a-8-3", neuron, potentials=potentials)
    for p in net.parameters():
        p.data = np.abs(p.data) * np.float32(0.1 if p.ndim == 4 else 1.0)
    x, labels = RNG.random((40, 4, 6, 6, 2)) < 0.3, np.array([0, 1, 2, 0])
    assert net[2].gain == pytest.approx(4.4)
    with cs.record(net) as seen:
        out = net(x)
        cs.SpikeCountLoss(neuron, true=12, false=2, region=(5, 40))(out, labels).backward()
    assert all(np.abs(p.grad).max() > 0 for p in net.parameters())
    for position in (1, 3, 5, 7):
        record = seen[position]
        assert record.spikes.any()
        np.testing.assert_allclose(record.filtered + record.refractory, record.potential, atol=1e-4)
        np.testing.assert_allclose(record.filtered, neuron.psp(record.weighted.values).data, rtol=1e-4, atol=1e-4)
        assert record.surrogate.shape == record.spikes_error.shape == record.weighted_error.shape
        time, _, *where = np.argwhere(record.spikes[:, :1])[-1].tolist()
        why = cs.explain(net, x, position, tuple(where), time)
        assert why.exact
        assert why.fired
        assert why.filtered + why.refractory == pytest.approx(why.potential, rel=1e-4)
    with cs.record(net, layers=5, neurons=[1, 2], window=(10, 30)) as part:
        net(x)
    for name in ("potential", "filtered", "refractory", "weighted"):
        whole = getattr(seen[5], name)[10:30][..., [1, 2]]
        np.testing.assert_allclose(getattr(part[5], name), whole, atol=1e-5)
    assert len(cs.health(net, [(x, labels)]).layers) == 4
    found = cs.compare_gradients(net, x, labels, perturbations=1)
    assert str(found)


def test_errors():
    for name in ("response", "refractory"):
        for given, message in (
            ([], rf"SampledSRM: {name} must be samples \(K,\), got shape \(0,\)"),
            (np.zeros((2, 2)), rf"SampledSRM: {name} must be samples \(K,\), got shape \(2, 2\)"),
            (3.0, rf"SampledSRM: {name} must be samples \(K,\), got shape \(\)"),
            ([0.0, np.nan], rf"SampledSRM: {name} must be finite, got nan"),
            ([0.0, -np.inf], rf"SampledSRM: {name} must be finite, got -inf"),
        ):
            with pytest.raises(ValueError, match=f"^{message}$"):
                cs.SampledSRM(**{name: given})
        with pytest.raises(TypeError, match=rf"^SampledSRM: {name} must hold numbers, got <U1$"):
            cs.SampledSRM(**{name: ["a"]})
    with pytest.raises(ValueError, match=r"^SampledSRM: refractory must begin with 0, at lag 0, got -1$"):
        cs.SampledSRM([1.0], [-1.0, 0.5])
    for name in ("theta", "tau_rho", "scale_rho", "dt"):
        with pytest.raises(ValueError, match=f"^SampledSRM: {name} must be positive, got 0$"):
            own(**{name: 0})
    with pytest.raises(ValueError, match=r"^SampledSRM: gradient must be one of slayer, exact, got 'both'"):
        own(gradient="both")
    with pytest.raises(TypeError, match="sampled_spike: a must be float32 or float64, got bool"):
        own().spike(np.ones((3, 1, 1), bool))
    with pytest.raises(TypeError, match=r"^SampledSRM: x must be the weighted input of a layer, .*got spikes \(bool\)"):
        own()(np.ones((3, 1, 1), bool))
    with pytest.raises(ValueError, match=r"^SampledSRM: x must be \(T, N, ...\), got shape \(3,\)$"):
        own()(np.ones(3))
    with pytest.warns(UserWarning, match=r"^SampledSRM: dt is in ms, and 0.0001 ms looks like seconds"):
        own(dt=1e-4)
    with pytest.raises(ValueError, match=r"sampled_spike: a must be \(T, N, ...\), got shape \(3,\)"):
        functions.sampled_spike(np.ones(3), spiking=own().spiking)


def test_samples_are_copied_and_cannot_be_written():
    samples = RESPONSE.copy()
    neuron = cs.SampledSRM(samples)
    samples[:] = 0
    assert (neuron.response == RESPONSE).all()
    with pytest.raises(ValueError, match="read-only"):
        neuron.response[0] = 3
    assert repr(own(gradient="exact", dt=0.5)) == (
        "SampledSRM(response: 6 samples, refractory: 5 samples, theta=4.0, dt=0.5, gradient=exact)"
    )
    assert cs.SampledSRM(cs.Tensor([1.0, 0.5])).response.tolist() == [1.0, 0.5]


def test_in_notebooks_pages_and_files(tmp_path):
    neuron = own()
    net = cs.Network("6-4-3", neuron)
    assert "SampledSRM(response=array (6,), refractory=array (5,), theta=4)" in net._repr_html_()
    assert "response=array (6,)" in neuron._repr_html_()
    again = pickle.loads(pickle.dumps(neuron))
    assert (again.response == RESPONSE).all()
    assert cs.plot.filters(neuron).get_lines()
    with pytest.raises(TypeError, match="SampledSRM"):
        neuron_constants(neuron)
    cs.report(net, RNG.random((20, 1, 6)) < 0.3, tmp_path / "page.html")
    assert (tmp_path / "page.html").stat().st_size > 1000
