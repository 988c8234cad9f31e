"""AdaptiveLIF: against a program of a step; `test_step.py` has its gradient."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import jit
from tests.support import step_programs


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


def test_a_block_of_columns_does_not_know_its_neighbours(monkeypatch):
    monkeypatch.setattr(jit, "cores", lambda: 1)
    generator = np.random.default_rng(4)
    x, g = generator.normal(0.4, 1, (2, 40, 1, 2500)).astype(np.float32)
    taus = generator.uniform(1, 9, (4, 2500))
    leaf, trained = cs.Tensor(x, requires_grad=True), neuron_of(taus, gradient="exact", trained=True)
    trained(leaf).backward(g)
    for part in (slice(0, 1), slice(2040, 2060), slice(2499, 2500)):
        few, own = cs.Tensor(x[..., part], requires_grad=True), neuron_of(taus[:, part], gradient="exact", trained=True)
        own(few).backward(g[..., part])
        np.testing.assert_array_equal(few.grad, leaf.grad[..., part])
        for mine, other in zip(own.parameters(), trained.parameters(), strict=True):
            np.testing.assert_array_equal(mine.grad, other.grad[part])


def test_its_response_and_the_part_of_a_spike():
    neuron = neuron_of((0.5, 4.0, 20.0, 6.0), theta=1.0)
    x = np.zeros((40, 1, 1))
    x[0] = 0.1
    u, s, *_ = step_programs.adaptive(x, keeps(neuron), neuron)
    assert not s.any()
    np.testing.assert_allclose(neuron.response, u[: len(neuron.response), 0, 0] / 0.1, rtol=1e-12)
    x[0] = 1.05
    u, s, *_ = step_programs.adaptive(x, keeps(neuron), neuron)
    assert s.sum() == 1
    without = 12 * step_programs.adaptive(x / 12, keeps(neuron), neuron)[0]
    found = (u - without)[:, 0, 0]
    np.testing.assert_allclose(neuron.refractory[:40], found[: len(neuron.refractory)], atol=1e-12)
    assert len(neuron.refractory) > 60
