"""Sum pooling against the formula, with every size, stride, padding and dilation; its gradient is its transpose."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from tests.support import reference

RNG = np.random.default_rng(7)
pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


@settings(deadline=None, max_examples=80)
@given(
    kernel=pairs,
    stride=pairs,
    padding=st.tuples(st.integers(0, 2), st.integers(0, 2)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    room=st.tuples(st.integers(0, 6), st.integers(0, 6)),
    channels=st.integers(1, 5),
    seed=st.integers(0, 99),
)
def test_equals_the_formula(kernel, stride, padding, dilation, room, channels, seed):
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, kernel, strict=True)]
    stride = tuple(map(min, stride, reach))
    image = [max(1, r - 2 * p + more) for r, p, more in zip(reach, padding, room, strict=True)]
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((2, 3, *image, channels))
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation, "gain": 1.7}
    for given_x in (x, x > 0.5):
        expected = reference.pool(given_x.reshape(6, *x.shape[2:]), kernel, stride, padding, dilation, 1.7)
        y = functions.pool(given_x, **options)
        np.testing.assert_allclose(
            y.data.reshape(expected.shape), expected, atol=1e-5 if y.dtype == np.float32 else 1e-12
        )
    t = cs.Tensor(x, requires_grad=True)
    ax = functions.pool(t, **options)
    g = generator.standard_normal(ax.shape)
    ax.backward(g)
    assert np.vdot(ax.data, g) == pytest.approx(np.vdot(x, t.grad), rel=1e-9, abs=1e-9)


def test_channels_never_mix():
    x = np.zeros((1, 1, 9, 9, 4))
    x[..., 2] = 1
    for options in (
        {"kernel_size": 3},
        {"kernel_size": 2, "stride": 3},
        {"kernel_size": 2, "padding": 1, "dilation": 3},
    ):
        y = functions.pool(x, gain=1.0, **options).data
        assert y[..., 2].any()
        assert not y[..., [0, 1, 3]].any()


def test_sizes_that_do_not_divide_are_padded_at_the_end():
    x = np.ones((1, 1, 5, 7, 1), bool)
    y = functions.pool(x, kernel_size=2, gain=1.0).data
    assert y[0, 0, :, :, 0].tolist() == [[4, 4, 4, 2], [4, 4, 4, 2], [2, 2, 2, 1]]
    assert functions.pool(x, kernel_size=9, gain=1.0).data.ravel().tolist() == [35]


def test_no_window_begins_outside_the_frame():
    x = np.arange(4.0).reshape(1, 1, 4, 1, 1)
    assert functions.pool(x, kernel_size=1, stride=3, gain=1.0).data.ravel().tolist() == [0, 3]
    assert functions.pool(x[:, :, :3], kernel_size=1, stride=3, gain=1.0).data.ravel().tolist() == [0]


SRM = cs.SRM()


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
def test_unpooling_equals_the_formula(kernel, stride, padding, dilation, image, channels, seed):
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


def test_scaling_the_output_scales_the_gain():
    for layer in (cs.Pool(2, gain=3.0), cs.Unpool(2, gain=3.0)):
        layer.scale_output(0.5)
        layer.scale_output(0.5)
        assert layer.gain == 0.75


def test_each_input_becomes_a_block():
    x = np.zeros((1, 1, 2, 2, 3), bool)
    x[0, 0, 0, 1, 2] = True
    y = functions.unpool(x, kernel_size=(2, 3), gain=11.0).data
    assert y.shape == (1, 1, 4, 6, 3)
    assert not y[..., :2].any()
    assert y[0, 0, :, :, 2].tolist() == [[0, 0, 0, 11, 11, 11]] * 2 + [[0] * 6] * 2


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
