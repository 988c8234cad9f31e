"""Tests of the response filter: recurrence and direct sum against the formula, adjoints, edge shapes."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from cuslayer.kernels.step.filters import Alpha
from tests.support import reference

RNG = np.random.default_rng(2)
SHAPES = [(1, 1, 1), (1, 3, 5), (7, 1, 1), (40, 2, 3), (100, 1, 257), (90, 2, 2, 3, 2), (20, 0, 4), (0, 2, 3), (5, 2)]


def by_samples(samples):
    """Return a response by its samples as a case of --all: it compiles filters of every length in float64."""
    return pytest.param(np.array(samples), marks=pytest.mark.all)


filters = st.builds(
    Alpha,
    amplitude=st.sampled_from([1.0, -20.0]),
    tau=st.floats(0.3, 30.0),
    dt=st.sampled_from([0.1, 0.5, 1.0, 2.0]),
    cutoff=st.sampled_from([0.0, 1e-4, 0.01, 0.5]),
)


@settings(deadline=None, max_examples=60)
@given(filters, st.integers(1, 60), st.integers(1, 20), st.integers(0, 10))
def test_recurrence_is_the_cut_sum(alpha, steps, columns, seed):
    x = np.random.default_rng(seed).standard_normal((steps, 1, columns))
    eps = reference.alpha(alpha.amplitude, alpha.tau, alpha.dt, alpha.cutoff, steps)
    # The truncation subtracts from the full recurrence: the rounding error is that of the full filter.
    scale = (np.abs(eps).sum() + abs(alpha.amplitude)) * np.abs(x).max()
    assert np.abs(functions.psp(x, response=alpha).data - reference.psp(x, eps)).max() < 1e-12 * scale
    adjoint = cs.Tensor(x, requires_grad=True)
    functions.psp(adjoint, response=alpha).backward(x)
    assert np.abs(adjoint.grad - reference.psp_adjoint(x, eps)).max() < 1e-12 * scale


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("response", [Alpha(1.0, 3.0, 1.0, 0.01), Alpha(1.0, 3.0, 1.0, 0.0), by_samples([0.5, 0, -1])])
def test_shapes(shape, response):
    x = RNG.standard_normal(shape)
    samples = response if isinstance(response, np.ndarray) else reference.alpha(1.0, 3.0, 1.0, response.cutoff, 200)
    y = functions.psp(x, response=response)
    assert y.shape == shape
    np.testing.assert_allclose(y.data, reference.psp(x, samples), atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, pytest.param(np.float64, marks=pytest.mark.all)])
def test_types(dtype):
    x = RNG.standard_normal((20, 1, 3)).astype(dtype)
    for response in (Alpha(1.0, 3.0, 1.0, 0.01), np.ones(4)):
        t = cs.Tensor(x, requires_grad=True)
        y = functions.psp(t, response=response)
        y.backward(np.ones_like(x))
        assert y.dtype == t.grad.dtype == dtype


def test_spikes_are_filtered_as_ones():
    s = RNG.random((30, 2, 5)) < 0.2
    srm = cs.SRM()
    y = srm.psp(s)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.data, reference.psp(s, srm.response), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("tau", [1.0, 10.0, 100.0])
@pytest.mark.parametrize("cutoff", [0.0, 0.01])
def test_float32_recurrence_over_10000_steps(tau, cutoff):
    """The rounding error of the recurrence decays: 10,000 steps are as accurate as 10."""
    generator = np.random.default_rng(3)
    x = (generator.random((10_000, 1, 4)) < 0.02) * generator.uniform(-10, 30, (1, 1, 4))
    srm = cs.SRM(tau_sr=tau, cutoff=cutoff)
    x32 = x.astype(np.float32)
    exact = np.apply_along_axis(lambda column: np.convolve(column, srm.response)[: len(x)], 0, x32.astype(float))
    error = np.linalg.norm(srm.psp(x32).data - exact) / np.linalg.norm(exact)
    assert error < 1e-5
    # Spikes differ only where the potential is within float32 rounding of the threshold.
    u64, s64 = reference.spike(exact, srm.refractory, srm.theta)
    differ = srm(x32).data != s64
    first = np.argmax(differ, axis=0)
    for column in np.flatnonzero(differ.any(axis=0)):
        assert abs(u64[first[0, column], 0, column] - srm.theta) < 1e-4
