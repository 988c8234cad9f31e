"""Unpooling against the formula and the transpose of pooling, with every size, stride, padding and dilation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from tests.support import reference

RNG = np.random.default_rng(9)
SRM = cs.SRM()
pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(deadline=None, max_examples=80)
@given(
    kernel=pairs,
    stride=pairs,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    image=st.tuples(st.integers(1, 6), st.integers(1, 6)),
    channels=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_equals_the_formula(kernel, stride, padding, dilation, image, channels, seed):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((2, 3, *image, channels))
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation, "gain": 1.7}
    for given_x in (x, x > 0.5):
        expected = reference.unpool(given_x.reshape(6, *x.shape[2:]), kernel, stride, padding, dilation, 1.7)
        assume(min(expected.shape[1:3]) > 0)
        y = functions.unpool(given_x, **options)
        np.testing.assert_allclose(
            y.data.reshape(expected.shape), expected, atol=1e-5 if y.dtype == np.float32 else 1e-12
        )


CASES = [{"kernel_size": 2}, {"kernel_size": (3, 2), "stride": 2, "padding": 1, "dilation": 2}]


@pytest.mark.parametrize("options", CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_it_is_the_adjoint_of_pooling(options, dtype, tolerance):
    """<pool(a), b> = <a, unpool(b)>, and the gradient is the pooling."""
    b = RNG.standard_normal((3, 2, 5, 6, 3)).astype(dtype)
    t = cs.Tensor(b, requires_grad=True)
    y = functions.unpool(t, gain=11.0, **options)
    a = RNG.standard_normal(y.shape).astype(dtype)
    y.backward(a)
    assert y.dtype == t.grad.dtype == dtype
    pooled = functions.pool(a, gain=11.0, **options).data
    np.testing.assert_array_equal(pooled, t.grad)
    left, right = np.vdot(pooled.astype(float), b), np.vdot(a, y.data.astype(float))
    assert abs(left - right) < tolerance * np.linalg.norm(y.data) * np.linalg.norm(a)
    assert cs.gradcheck(lambda x: functions.unpool(x, gain=11.0, **options), b) < 1e-6


def test_each_input_becomes_a_block():
    x = np.zeros((1, 1, 2, 2, 3), bool)
    x[0, 0, 0, 1, 2] = True
    y = functions.unpool(x, kernel_size=(2, 3), gain=11.0).data
    assert y.shape == (1, 1, 4, 6, 3)
    assert not y[..., :2].any()
    assert y[0, 0, :, :, 2].tolist() == [[0, 0, 0, 11, 11, 11]] * 2 + [[0] * 6] * 2


@pytest.mark.parametrize("shape", [(0, 1, 2, 2, 2), (1, 0, 2, 2, 2), (1, 1, 1, 1, 1), (1, 1, 3, 1, 0)])
def test_shapes(shape):
    t = cs.Tensor(np.ones(shape), requires_grad=True)
    y = functions.unpool(t, kernel_size=2, gain=1.0)
    assert y.shape == (*shape[:2], 2 * shape[2], 2 * shape[3], shape[4])
    y.backward(np.ones(y.shape))
    assert t.grad.shape == shape
    assert (t.grad == 4).all()


def test_a_layer_is_its_function_and_fires():
    x = RNG.random((30, 2, 4, 5, 3)) < 0.3
    options = {"stride": (2, 1), "padding": 1, "dilation": (1, 2), "gain": 11.0}
    layer = cs.Unpool((3, 2), **options)
    expected = functions.unpool(x, kernel_size=(3, 2), **options)
    assert (layer(x).data == expected.data).all()
    assert layer.parameters() == []
    assert repr(layer) == "Unpool((3, 2), stride=(2, 1), padding=(1, 1), dilation=(1, 2), gain=11)"
    net = cs.Sequential(cs.Conv(3, 4, 3), SRM, cs.Unpool(2, gain=11.0), SRM)
    by_hand = SRM(functions.unpool(SRM(net[0](x)), kernel_size=2, gain=11.0))
    assert (net(x).data == by_hand.data).all()
    assert by_hand.data.any()


def test_errors():
    x = np.ones((2, 1, 5, 5, 3))
    with pytest.raises(ValueError, match=r"^unpool: x must be \(T, N, H, W, C\), got shape \(2, 5, 5, 3\); one sample"):
        functions.unpool(x[:, 0], kernel_size=2, gain=1.0)
    with pytest.raises(TypeError, match=r"^unpool: gain must be a number, got str$"):
        functions.unpool(x, kernel_size=2, gain="1")
    with pytest.raises(TypeError, match=r"^Unpool: gain must be a number, got NoneType$"):
        cs.Unpool(2, gain=None)
    with pytest.raises(ValueError, match=r"^Unpool: padding must be at least 0, got -1$"):
        cs.Unpool(2, padding=-1, gain=1.0)
    with pytest.raises(ValueError, match=r"^unpool: kernel_size must be at least 1, got 0$"):
        functions.unpool(x, kernel_size=0, gain=1.0)
    with pytest.raises(TypeError, match=r"^unpool: stride must be an integer, got float$"):
        functions.unpool(x, kernel_size=2, stride=1.5, gain=1.0)
    with pytest.raises(ValueError, match=r"^unpool: x must have columns, got 0$"):
        functions.unpool(x[:, :, :, :0], kernel_size=2, gain=1.0)
    with pytest.raises(ValueError, match=r"^unpool: the result must have rows, got -2$"):
        functions.unpool(x, kernel_size=2, padding=(6, 0), gain=1.0)
