"""Sum pooling against the formula, with every size, stride, padding and dilation; its gradient is its transpose."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from tests.support import reference

RNG = np.random.default_rng(7)
pairs = st.tuples(st.integers(1, 4), st.integers(1, 4))


DRAWN = {
    "kernel": pairs,
    "stride": pairs,
    "padding": st.tuples(st.integers(0, 2), st.integers(0, 2)),
    "dilation": st.tuples(st.integers(1, 2), st.integers(1, 3)),
    "channels": st.sampled_from([1, 2, 3, 5, 8]),
    "seed": st.integers(0, 99),
}


def held(y, expected):
    atol = 1e-5 if y.dtype == np.float32 else 1e-12
    np.testing.assert_allclose(y.data.reshape(expected.shape), expected, atol=atol)


@settings(max_examples=80)
@given(room=st.tuples(st.integers(0, 6), st.integers(0, 6)), **DRAWN)
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
        held(y, expected)
    t = cs.Tensor(x, requires_grad=True)
    ax = functions.pool(t, **options)
    g = generator.standard_normal(ax.shape)
    ax.backward(g)
    assert np.vdot(ax.data, g) == pytest.approx(np.vdot(x, t.grad), rel=1e-9, abs=1e-9)


SRM = cs.SRM()


@settings(max_examples=80)
@given(image=st.tuples(st.integers(1, 6), st.integers(1, 6)), **DRAWN)
def test_unpooling_equals_the_formula(kernel, stride, padding, dilation, image, channels, seed):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((2, 3, *image, channels))
    options = {"kernel_size": kernel, "stride": stride, "padding": padding, "dilation": dilation, "gain": 1.7}
    for given_x in (x, x > 0.5):
        expected = reference.unpool(given_x.reshape(6, *x.shape[2:]), kernel, stride, padding, dilation, 1.7)
        assume(min(expected.shape[1:3]) > 0)
        y = functions.unpool(given_x, **options)
        held(y, expected)


def test_scaling_the_output_scales_the_gain():
    for layer in (cs.SumPool(2, gain=3.0), cs.layers.Unpool(2, gain=3.0)):
        layer.scale_output(0.5)
        layer.scale_output(0.5)
        assert layer.gain == 0.75


def test_a_layer_is_its_function_and_fires():
    x = RNG.random((30, 2, 4, 5, 3)) < 0.3
    options = {"stride": (2, 1), "padding": 1, "dilation": (1, 2), "gain": 11.0}
    layer = cs.layers.Unpool((3, 2), **options)
    expected = functions.unpool(x, kernel_size=(3, 2), **options)
    assert (layer(x).data == expected.data).all()
    assert layer.parameters() == []
    assert repr(layer) == "Unpool((3, 2), stride=(2, 1), padding=(1, 1), dilation=(1, 2), gain=11)"
    net = cs.Sequential(cs.Conv(3, 4, 3), SRM, cs.layers.Unpool(2, gain=11.0), SRM)
    by_hand = SRM(functions.unpool(SRM(net[0](x)), kernel_size=2, gain=11.0))
    assert (net(x).data == by_hand.data).all()
    assert by_hand.data.any()
