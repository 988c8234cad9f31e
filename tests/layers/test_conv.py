"""Convolution: by spikes, by matrices and by the formula; gradients, adjoints, odd sizes."""

from __future__ import annotations

import numpy as np
import pytest
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


CASES = [
    ((1, 1), {}),
    ((3, 3), {"padding": 1}),
    ((5, 3), {"padding": (2, 0), "stride": (2, 3)}),
    ((2, 3), {"dilation": (3, 2), "padding": 2}),
    ((3, 2), {"groups": 2, "stride": 2, "padding": (0, 1), "dilation": (1, 2)}),
]


@pytest.mark.parametrize(("kernel", "options"), CASES)
def test_gradient(kernel, options):
    channels = 4 // options.get("groups", 1)
    x, w = RNG.standard_normal((2, 2, 7, 8, 4)), RNG.standard_normal((*kernel, channels, 6))
    assert cs.gradcheck(lambda x, w: functions.conv(x, w, **options), x, w) < 1e-6
    s = RNG.random(x.shape) < 0.3
    assert cs.gradcheck(lambda w: functions.conv(s, w, **options), w) < 1e-6


@pytest.mark.parametrize(("kernel", "options"), CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_adjoint(kernel, options, dtype, tolerance):
    x = RNG.standard_normal((3, 2, 9, 8, 4)).astype(dtype)
    w = RNG.standard_normal((*kernel, 4 // options.get("groups", 1), 6)).astype(dtype)
    t = cs.Tensor(x, requires_grad=True)
    ax = functions.conv(t, w, **options)
    y = RNG.standard_normal(ax.shape).astype(dtype)
    ax.backward(y)
    assert t.grad.dtype == ax.dtype == dtype
    left, right = np.vdot(ax.data.astype(float), y), np.vdot(x, t.grad.astype(float))
    assert abs(left - right) < tolerance * np.linalg.norm(ax.data) * np.linalg.norm(y)


def test_many_frames_equal_one_by_one():
    """Frames are processed in blocks, the last one smaller; the result is that of single frames."""
    x, w = RNG.standard_normal((67, 3, 12, 12, 8)), RNG.standard_normal((3, 3, 8, 16))
    s = RNG.random(x.shape) < 0.1
    for given_x in (x, s):
        t, weight = cs.Tensor(given_x, requires_grad=True), cs.Tensor(w, requires_grad=True)
        y = functions.conv(t, weight, padding=1)
        g = RNG.standard_normal(y.shape)
        y.backward(g)
        total = np.zeros_like(w)
        for k in range(0, 67, 33):
            part, pw = cs.Tensor(given_x[k : k + 1], requires_grad=True), cs.Tensor(w, requires_grad=True)
            py = functions.conv(part, pw, padding=1)
            py.backward(g[k : k + 1])
            np.testing.assert_allclose(py.data, y.data[k : k + 1], atol=1e-12)
            np.testing.assert_allclose(part.grad, t.grad[k : k + 1], atol=1e-12)
        for k in range(67):
            pw = cs.Tensor(w, requires_grad=True)
            functions.conv(given_x[k : k + 1], pw, padding=1).backward(g[k : k + 1])
            total += pw.grad
        np.testing.assert_allclose(weight.grad, total, atol=1e-10)


@pytest.mark.parametrize("shape", [(0, 2, 5, 5, 2), (3, 0, 5, 5, 2), (1, 1, 3, 3, 2)])
@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_shapes(shape, dtype):
    x, w = cs.Tensor(np.ones(shape, dtype), requires_grad=True), cs.Tensor(np.ones((3, 3, 2, 4)), requires_grad=True)
    y = functions.conv(x, w)
    assert y.shape == (*shape[:2], shape[2] - 2, shape[3] - 2, 4)
    y.backward(np.ones(y.shape))
    assert (x.grad.shape, w.grad.shape) == (shape, (3, 3, 2, 4))
    assert (w.grad == shape[0] * shape[1] * (shape[2] - 2) ** 2).all()


def test_errors():
    x, w = np.ones((2, 1, 5, 5, 3)), np.ones((3, 3, 3, 4))
    with pytest.raises(ValueError, match="conv: x has 3 channels, weight expects 2"):
        functions.conv(x, np.ones((3, 3, 2, 4)))
    with pytest.raises(ValueError, match=r"conv: x must be \(T, N, H, W, C\), got shape \(2, 5, 5, 3\)"):
        functions.conv(x[:, 0], w)
    with pytest.raises(ValueError, match=r"conv: weight must be \(kh, kw, channels / groups, outputs\), got"):
        functions.conv(x, w[0])
    with pytest.raises(TypeError, match="conv: weight must be float32 or float64, got bool"):
        functions.conv(x, w > 0)
    with pytest.raises(ValueError, match="conv: weight has 4 outputs, not a multiple of 3 groups"):
        functions.conv(x, np.ones((3, 3, 1, 4)), groups=3)
    with pytest.raises(ValueError, match="conv: the window spans 6 rows, the padded image has 5"):
        functions.conv(x, np.ones((6, 1, 3, 4)))
    with pytest.raises(ValueError, match="conv: the window spans 7 columns, the padded image has 5"):
        functions.conv(x, w, dilation=(1, 3))
    for name, least in (("stride", 1), ("dilation", 1), ("padding", 0), ("groups", 1)):
        with pytest.raises(ValueError, match=f"conv: {name} must be at least {least}, got -1"):
            functions.conv(x, w, **{name: -1})
        with pytest.raises(TypeError, match=f"conv: {name} must be an integer, got float"):
            functions.conv(x, w, **{name: 1.5})
    with pytest.raises(ValueError, match="conv: stride must be one integer or two, got 3"):
        functions.conv(x, w, stride=(1, 1, 1))
