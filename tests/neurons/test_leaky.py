"""LIF, CUBA and AdaptiveLIF: against a program of a step, and a plain reverse sweep through it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from cuslayer._parameter import Bounded
from tests.support import step_programs

RNG = np.random.default_rng(11)
RESETS = ["zero", "subtract", None]
# The kinds, and how many time constants they have.
KINDS = {"LIF": 1, "CUBA": 2, "AdaptiveLIF": 4}


def of_kind(kind, taus=(3.0, 8.0), *, reset="zero", **options):
    if kind == "AdaptiveLIF":
        return cs.AdaptiveLIF(*taus, **{"rise": 0.2, "scale_ref": 1.5} | options)
    return getattr(cs, kind)(*taus[-KINDS[kind] :], reset=reset, **options)


def keeps(neuron):
    """Return the shares that a step keeps, by the formula."""
    return [np.exp(-neuron.dt / np.asarray(getattr(neuron, name))) for name in neuron.time_constants]


def of_program(x, neuron):
    """Return potential and spikes of a program of a step."""
    if isinstance(neuron, cs.AdaptiveLIF):
        return step_programs.adaptive(x, keeps(neuron), neuron)[:2]
    return step_programs.leaky(x, *[0.0, *keeps(neuron)][-2:], neuron.theta, neuron.reset)[1:3]


@settings(deadline=None, max_examples=160)
@given(
    st.sampled_from([*KINDS]),
    st.sampled_from(RESETS),
    st.sampled_from([(), (3,), (2, 3), (2, 1)]),
    st.integers(0, 60),
    st.floats(0.2, 3),
    st.floats(0.1, 2),
    st.integers(0, 999),
)
def test_spikes_are_those_of_a_program_to_the_bit(kind, reset, spread, steps, theta, dt, seed):
    """In float64; time constants are one number, one a channel, or one a neuron."""
    generator = np.random.default_rng(seed)
    taus = generator.uniform(0.5, 20, (4, *spread))
    options = {"theta": theta, "reset": reset, "dt": dt}
    neuron = of_kind(kind, taus if spread else [*map(float, taus)], **options)
    x = generator.normal(0.3, 1, (steps, 2, 2, 3)) * theta
    u, s = of_program(x, neuron) if steps else (x, x > x)
    found = neuron(x).data
    assert found.dtype == bool
    np.testing.assert_array_equal(found, s)
    np.testing.assert_array_equal(of_kind(kind, taus, graded=True, **options)(x).data, np.where(s, u, 0.0))


@settings(deadline=None, max_examples=120)
@given(
    st.sampled_from([*KINDS]),
    st.sampled_from(RESETS),
    st.sampled_from(["slayer", "exact"]),
    st.booleans(),
    st.sampled_from([(), (3,), (2, 3)]),
    st.integers(1, 40),
    st.integers(0, 999),
)
def test_gradients_are_those_of_a_plain_reverse_sweep(kind, reset, gradient, graded, spread, steps, seed):
    """Of the input and of the shares that a step keeps, to 1e-10."""
    generator = np.random.default_rng(seed)
    options = {"theta": 0.8, "reset": reset, "gradient": gradient, "graded": graded, "dt": 0.5, "tau_rho": 0.6}
    neuron = of_kind(kind, generator.uniform(0.5, 12, (4, *spread)), **options, scale_rho=0.4)
    x, g = generator.normal(0.3, 1, (steps, 2, 2, 3)), generator.standard_normal((steps, 2, 2, 3))
    shares = [np.broadcast_to(keep, spread).copy() for keep in keeps(neuron)]
    leaves = [cs.Tensor(each, requires_grad=True) for each in (x, *shares)]
    functions.simulate(*leaves, spiking=neuron.spiking, trained=True).backward(g)
    if kind == "AdaptiveLIF":
        of_x, *of_shares = step_programs.adaptive_reverse(x, g, shares, neuron, graded=graded)
    else:
        of_x, *of_shares = step_programs.leaky_reverse(x, g, *[0.0, *shares][-2:], neuron, graded=graded)
    totals = [each.sum(axis=0).sum(axis=tuple(range(2 - len(spread)))) for each in of_shares[-KINDS[kind] :]]
    for leaf, expected in zip(leaves, [of_x, *totals], strict=True):
        assert leaf.grad.shape == leaf.shape
        np.testing.assert_allclose(leaf.grad, expected, rtol=0, atol=1e-10 * max(1.0, abs(expected).max()))
    leaf = cs.Tensor(x, requires_grad=True)
    neuron(leaf).backward(g)
    np.testing.assert_array_equal(leaf.grad, leaves[0].grad)


@pytest.mark.parametrize("kind", ["LIF", "CUBA"])
@pytest.mark.parametrize("reset", RESETS)
def test_a_graded_spike_has_a_gradient(kind, reset):
    """Away from the threshold it is differentiable: with a surrogate of 0 there, backward is its derivative."""
    options = {"theta": 1.0, "reset": reset, "gradient": "exact", "graded": True, "tau_rho": 1e-4}
    neuron = of_kind(kind, **options, surrogate="triangle")
    x = RNG.normal(0.3, 1, (30, 2, 4))
    u, s = of_program(x, neuron)
    assert abs(u - 1).min() > 1e-3
    assert 0.1 < s.mean() < 0.9

    def run(*given):
        return functions.simulate(*given, spiking=neuron.spiking, trained=True)

    assert cs.gradcheck(run, x, *(np.full(1, each) for each in keeps(neuron)), step=1e-6) < 1e-6

    def of_tau(tau):
        return of_kind(kind, (tau, tau), **options, surrogate="triangle")(x)

    assert cs.gradcheck(of_tau, np.full(4, 6.0), step=1e-6) < 1e-6


def test_a_bounded_time_constant_is_used_as_it_is():
    tau = Bounded(np.array([3.0, 5.0]), least=1.0, most=9.0)
    neuron = cs.LIF(tau)
    assert neuron.tau is tau
    assert neuron.with_gradient("exact").tau is tau
    assert neuron.parameters() == [tau]
    assert repr(neuron) == "LIF(tau=array (2,), theta=1)"
    with pytest.raises(ValueError, match="read-only"):
        cs.LIF(np.ones(3)).tau[0] = 2


def test_the_refractory_response_is_that_of_a_subtract_reset():
    neuron = cs.LIF(tau=10.0, theta=2.0, dt=0.5, reset="subtract")
    decay = np.exp(-0.05 * np.arange(1, 5))
    np.testing.assert_allclose(neuron.refractory[:5], [0.0, *(-2.0 * decay)])
    assert cs.LIF(reset="zero").refractory.tolist() == [0.0]
