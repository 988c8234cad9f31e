"""Convolution: by spikes, by matrices and by the formula; gradients, adjoints, odd sizes."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from tests.support import reference

RNG = np.random.default_rng(6)
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))

geometries = st.fixed_dictionaries(
    {
        "stride": pairs,
        "padding": st.tuples(st.integers(0, 3), st.integers(0, 2)),
        "dilation": pairs,
        "groups": st.sampled_from([1, 2, 3]),
    }
)


@settings(deadline=None, max_examples=60)
@given(
    geometry=geometries,
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    image=st.tuples(st.integers(1, 9), st.integers(1, 8)),
    inputs=st.integers(1, 2),
    outputs=st.integers(1, 3),
    rate=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 99),
)
def test_spikes_and_numbers_equal_the_formula(geometry, kernel, image, inputs, outputs, rate, seed):
    for axis in (0, 1):
        reach = geometry["dilation"][axis] * (kernel[axis] - 1) + 1
        assume(image[axis] + 2 * geometry["padding"][axis] >= reach)
    generator, groups = np.random.default_rng(seed), geometry["groups"]
    s = generator.random((3, 2, *image, inputs * groups)) < rate
    w = generator.standard_normal((*kernel, inputs, outputs * groups))
    expected = reference.conv(s.reshape(6, *s.shape[2:]), w, **geometry)
    runs = []
    for x in (s, s.astype(float)):
        t, weight = cs.Tensor(x, requires_grad=True), cs.Tensor(w, requires_grad=True)
        y = functions.conv(t, weight, **geometry)
        np.testing.assert_allclose(y.data.reshape(expected.shape), expected, atol=1e-12)
        y.backward(np.random.default_rng(seed).standard_normal(y.shape))
        runs.append((t.grad, weight.grad))
    for by_event, by_matrix in zip(*runs, strict=True):
        np.testing.assert_allclose(by_event, by_matrix, atol=1e-11)
