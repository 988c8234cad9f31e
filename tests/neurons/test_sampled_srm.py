"""Spike response neurons with responses of one's own: plain loops, `SRM`, gradients, networks and inspection."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from tests.support import reference

pytestmark = pytest.mark.all

RNG = np.random.default_rng(41)
RESPONSE = np.array([1.0, 0.9, 0.7, -0.2, 0.4, 0.1])
REFRACTORY = np.array([0.0, -6.0, -9.0, 2.0, -1.0])


def own(**options):
    return cs.neurons.SampledSRM(RESPONSE, REFRACTORY, **({"theta": 4.0} | options))


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
    neuron = cs.neurons.SampledSRM(srm.response, srm.refractory, **constants)
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


def test_without_refraction_and_without_a_filter():
    x = signal((20, 1, 4))
    assert (cs.neurons.SampledSRM(theta=2.0)(x).data == (x >= 2.0)).all()
    assert cs.neurons.SampledSRM(theta=2.0).refractory.tolist() == [0.0]
    assert cs.neurons.SampledSRM([0, 1]).response.tolist() == [0.0, 1.0]
    assert cs.neurons.SampledSRM([0.0, 2.0], theta=4.0).pool_gain == pytest.approx(2.2)


def test_samples_are_copied_and_cannot_be_written():
    samples = RESPONSE.copy()
    neuron = cs.neurons.SampledSRM(samples)
    samples[:] = 0
    assert (neuron.response == RESPONSE).all()
    with pytest.raises(ValueError, match="read-only"):
        neuron.response[0] = 3
    assert repr(own(gradient="exact", dt=0.5)) == (
        "SampledSRM(response: 6 samples, refractory: 5 samples, theta=4.0, dt=0.5, gradient=exact)"
    )
    assert cs.neurons.SampledSRM(cs.Tensor([1.0, 0.5])).response.tolist() == [1.0, 0.5]
