"""Tests of SRM: threshold, refraction and their backward against the formulas as plain loops."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer.kernels import cpu
from tests.support import reference

neurons = st.builds(
    cs.SRM,
    theta=st.floats(0.5, 20.0),
    tau_sr=st.floats(0.5, 20.0),
    tau_ref=st.floats(0.5, 8.0),
    scale_ref=st.floats(0.0, 4.0),
    tau_rho=st.floats(0.1, 2.0),
    scale_rho=st.floats(0.1, 2.0),
    dt=st.sampled_from([0.5, 1.0, 2.0]),
    cutoff=st.sampled_from([0.0, 0.01, 0.2]),
    ref_cutoff=st.sampled_from([0.0, 1e-4, 0.01, 1.0]),
    gradient=st.sampled_from(["slayer", "exact"]),
)


def by_the_formula(srm, x):
    steps = len(x)
    eps = reference.alpha(1.0, srm.tau_sr, srm.dt, srm.cutoff, steps)
    nu = reference.alpha(-srm.scale_ref * srm.theta, srm.tau_ref, srm.dt, srm.ref_cutoff, steps)
    u, s = reference.spike(reference.psp(x, eps), nu, srm.theta)
    return eps, nu, u, s


def back_by_the_formula(srm, g, u, nu):
    if srm.gradient == "exact":
        return reference.spike_adjoint_exact(g, u, srm, nu)
    return reference.spike_adjoint(g, u, srm)


def drive(srm, steps, columns, seed):
    return np.random.default_rng(seed).normal(0.2, 1.0, (steps, 1, columns)) * srm.theta


@settings(deadline=None, max_examples=80)
@given(neurons, st.integers(1, 50), st.integers(1, 12), st.integers(0, 99))
def test_neuron_is_what_the_formulas_say(srm, steps, columns, seed):
    x = drive(srm, steps, columns, seed)
    eps, nu, u, s = by_the_formula(srm, x)
    t = cs.Tensor(x, requires_grad=True)
    out = srm(t)
    assert out.dtype == bool
    assume(np.abs(u - srm.theta).min() > 1e-9 * srm.theta)
    assert (out.data == s).all()
    g = np.random.default_rng(seed + 1).standard_normal(x.shape)
    out.backward(g)
    expected = reference.psp_adjoint(back_by_the_formula(srm, g, u, nu), eps)
    np.testing.assert_allclose(t.grad, expected, rtol=0, atol=1e-10 * max(1.0, np.abs(expected).max()))


@settings(deadline=None, max_examples=60)
@given(neurons, st.integers(1, 50), st.integers(1, 12), st.integers(0, 99))
def test_spike_alone_is_what_the_formulas_say(srm, steps, columns, seed):
    a = drive(srm, steps, columns, seed)
    nu = reference.alpha(-srm.scale_ref * srm.theta, srm.tau_ref, srm.dt, srm.ref_cutoff, steps)
    u, s = reference.spike(a, nu, srm.theta)
    t = cs.Tensor(a, requires_grad=True)
    out = srm.spike(t)
    assume(np.abs(u - srm.theta).min() > 1e-9 * srm.theta)
    assert (out.data == s).all()
    g = np.random.default_rng(seed + 1).standard_normal(a.shape)
    out.backward(g)
    expected = back_by_the_formula(srm, g, u, nu)
    np.testing.assert_allclose(t.grad, expected, rtol=0, atol=1e-10 * max(1.0, np.abs(expected).max()))


def test_constants():
    srm = cs.SRM(theta=5.0, tau_sr=4.0, tau_ref=2.0, scale_ref=3.0, dt=0.5)
    assert srm.response.dtype == np.float64
    np.testing.assert_allclose(srm.response, reference.alpha(1.0, 4.0, 0.5, 0.01, 10_000), rtol=1e-12)
    np.testing.assert_allclose(srm.refractory, reference.alpha(-15.0, 2.0, 0.5, 0.01, 10_000), rtol=1e-12)
    assert srm.refractory[0] == 0
    assert srm.refractory[4] == -15.0
    assert cs.SRM(cutoff=0).response[-1] < 1e-12
    assert (cs.SRM(scale_ref=0, ref_cutoff=0).refractory == 0).all()


@pytest.mark.cpu_only
@pytest.mark.parametrize(
    ("dtype", "least", "error"), [(np.float32, -40.0, 2e-7), (np.float64, -700.0, 5e-16)], ids=["float32", "float64"]
)
def test_the_surrogate_is_exp_to_the_digits_of_its_type(dtype, least, error):
    """Over its whole range; it is 0 below, and for NaN."""
    from cuslayer._base.jit import compiled
    from cuslayer.kernels.host.numbers import exp_of_negative

    @compiled
    def fill(x, y):
        for j in range(x.size):
            y[j] = exp_of_negative(x[j])

    x = (np.linspace(0, 0.9999, 200_001) * least).astype(dtype)
    y = np.empty_like(x)
    fill(x, y)
    exact = np.exp(x.astype(np.longdouble))
    assert np.abs(y / exact - 1).max() < error
    assert y[0] == 1
    ends = np.array([1.001 * least, -1000.0, -np.inf, np.nan], dtype)
    out = np.ones_like(ends)
    fill(ends, out)
    assert (out == 0).all()


@pytest.mark.cpu_only
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("steps", "columns"), [(0, 3), (1, 1), (16, 5), (37, 2050), (32, 0)])
def test_the_gradient_may_take_the_place_of_the_potential(exact, steps, columns):
    generator = np.random.default_rng(steps)
    spiking = cs.SRM(tau_sr=4.0, gradient="exact" if exact else "slayer").spiking
    none = np.empty((0, 1), np.float32)
    u = (10 * generator.standard_normal((steps, columns))).astype(np.float32)
    g = generator.standard_normal(u.shape).astype(np.float32)
    before = u.copy()
    apart = spiking.fire_adjoint(cpu, g, u, none, overwrite=False)
    assert (u == before).all()
    assert not np.shares_memory(apart, u)
    together = spiking.fire_adjoint(cpu, g, u, none)
    assert np.shares_memory(together, u) or not u.size
    assert together.tobytes() == apart.tobytes()


@pytest.mark.cpu_only
@pytest.mark.parametrize(("steps", "columns"), [(0, 3), (1, 1), (40, 5), (90, 2050), (32, 0)])
@pytest.mark.parametrize("cutoff", [0.0, 0.01, 0.6])
def test_the_potential_may_take_the_place_of_the_input(steps, columns, cutoff):
    srm = cs.SRM(tau_sr=4.0, cutoff=cutoff)
    x = (8 * np.random.default_rng(steps).standard_normal((steps, columns))).astype(np.float32)
    x[: steps // 3, :2] = np.inf
    given = x.copy()
    none = np.empty((0, 1), np.float32)
    apart = cpu.scan.forward(x[None], none, srm.spiking)
    assert x.tobytes() == given.tobytes()
    u, s = srm.spiking.fire(cpu, x, none)
    assert np.shares_memory(u, x) or not x.size
    assert u.tobytes() == apart[0].tobytes()
    assert (s == apart[1]).all()
