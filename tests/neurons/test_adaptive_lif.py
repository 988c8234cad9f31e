"""AdaptiveLIF: against a program of a step, and a plain reverse sweep through it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from tests.support import step_programs

pytestmark = pytest.mark.all

RNG = np.random.default_rng(13)


def neuron_of(taus=(2.0, 6.0, 20.0, 3.0), **options):
    return cs.AdaptiveLIF(*taus, **{"rise": 0.2, "scale_ref": 1.5} | options)


def keeps(neuron):
    return [np.exp(-neuron.dt / np.asarray(getattr(neuron, name))) for name in neuron.time_constants]


@settings(deadline=None, max_examples=100)
@given(
    st.sampled_from([(), (3,), (2, 3), (2, 1)]),
    st.integers(1, 60),
    st.floats(0.2, 3),
    st.floats(0.1, 2),
    st.integers(0, 999),
)
def test_spikes_are_those_of_a_program_to_the_bit(spread, steps, theta, dt, seed):
    """In float64; time constants are one number, one a channel, or one a neuron."""
    generator = np.random.default_rng(seed)
    neuron = neuron_of(generator.uniform(0.5, 20, (4, *spread)), theta=theta, dt=dt)
    x = generator.normal(0.5, 1, (steps, 2, 2, 3)) * theta
    u, s, *_ = step_programs.adaptive(x, keeps(neuron), neuron)
    found = neuron(x).data
    assert found.dtype == bool
    np.testing.assert_array_equal(found, s)
    carried = neuron_of([getattr(neuron, name) for name in neuron.time_constants], theta=theta, dt=dt, graded=True)
    np.testing.assert_array_equal(carried(x).data, np.where(s, u, 0.0))
    assert neuron(x[:0]).shape == (0, 2, 2, 3)


@settings(deadline=None, max_examples=80)
@given(
    st.sampled_from(["slayer", "exact"]),
    st.booleans(),
    st.sampled_from([(), (3,), (2, 3)]),
    st.integers(1, 40),
    st.integers(0, 999),
)
def test_gradients_are_those_of_a_plain_reverse_sweep(gradient, graded, spread, steps, seed):
    """Of the input and of the shares that a step keeps, to 1e-10."""
    generator = np.random.default_rng(seed)
    taus = generator.uniform(0.5, 12, (4, *spread))
    options = {"theta": 0.8, "gradient": gradient, "graded": graded, "dt": 0.5, "tau_rho": 0.6, "scale_rho": 0.4}
    neuron = neuron_of(taus, **options)
    x, g = generator.normal(0.4, 1, (steps, 2, 2, 3)), generator.standard_normal((steps, 2, 2, 3))
    shares = [np.broadcast_to(keep, spread).copy() for keep in keeps(neuron)]
    expected = step_programs.adaptive_reverse(x, g, shares, neuron, graded=graded)
    leaf = cs.Tensor(x, requires_grad=True)
    neuron(leaf).backward(g)
    np.testing.assert_allclose(leaf.grad, expected[0], rtol=0, atol=1e-10 * max(1.0, abs(expected[0]).max()))
    leaves = [cs.Tensor(each, requires_grad=True) for each in (x, *shares)]
    functions.simulate(*leaves, spiking=neuron.spiking, trained=True).backward(g)
    np.testing.assert_array_equal(leaves[0].grad, leaf.grad)
    for found, each in zip(leaves[1:], expected[1:], strict=True):
        total = each.sum(axis=0).sum(axis=tuple(range(2 - len(spread))))
        assert found.grad.shape == found.shape
        np.testing.assert_allclose(found.grad, total, rtol=0, atol=1e-10 * max(1.0, abs(total).max()))


def test_a_state_is_kept_between_calls_when_asked():
    whole, parts = neuron_of(trained=True), neuron_of(trained=True, stateful=True)
    x, g = RNG.normal(0.5, 1, (2, 30, 2, 4)).astype(np.float32)
    expected = whole(x).data
    np.testing.assert_array_equal(np.concatenate([parts(each).data for each in (x[:7], x[7:7], x[7:])]), expected)
    parts.forget()
    parts(x[:7])
    parts(x[7:]).backward(g[7:])
    # The whole run, with no gradient before step 7: only the path within the second call is left of it for the first
    # step, whose states are constants.
    later = step_programs.adaptive_reverse(
        x.astype(float), np.where(np.arange(30)[:, None, None] < 7, 0, g), keeps(neuron_of()), whole, since=7
    )
    for p, name, each in zip(parts.parameters(), whole.time_constants, later[1:], strict=True):
        tau = getattr(neuron_of(), name)
        np.testing.assert_allclose(p.grad, each.sum() * np.exp(-1 / tau) / tau**2, rtol=2e-3)


def test_the_part_of_a_spike():
    neuron = neuron_of((0.5, 4.0, 20.0, 6.0), theta=1.0)
    x = np.zeros((40, 1, 1))
    x[0] = 1.05
    u, s, *_ = step_programs.adaptive(x, keeps(neuron), neuron)
    assert s.sum() == 1
    without = 12 * step_programs.adaptive(x / 12, keeps(neuron), neuron)[0]
    found = (u - without)[:, 0, 0]
    np.testing.assert_allclose(neuron.refractory[:40], found[: len(neuron.refractory)], atol=1e-12)
    assert len(neuron.refractory) > 60
