"""Trained delays: their two gradients, the linear mode, the layer, and its place in a network."""

from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer.kernels.time.delay.steps import whole_steps
from tests.support import reference

pytestmark = pytest.mark.all

RNG = np.random.default_rng(41)


def delayed(x, delay, g, **options):
    """Return the delayed signal, and the gradients of the signal and of the delay."""
    x, delay = (cs.Tensor(a, requires_grad=True) for a in (x, delay))
    y = cs.functions.shift(x, delay=delay, **options)
    y.backward(g)
    return y.data, x.grad, delay.grad


@settings(max_examples=40)
@given(
    shape=st.sampled_from([(1, 1, 1), (7, 2, 3), (20, 3, 2), (9, 2, 2, 3, 2)]),
    dt=st.sampled_from([0.5, 1.0, 2.0]),
    spikes=st.booleans(),
    seed=st.integers(0, 999),
)
def test_the_gradient_of_a_floored_delay_is_the_formula(shape, dt, spikes, seed):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal(shape)
    x = x > 0.5 if spikes else x
    g, delay = generator.standard_normal(shape), generator.uniform(-6, 12, shape[2:])
    y, _, g_delay = delayed(x, delay, g, dt=dt)
    assert y.dtype == x.dtype
    assert (y == cs.functions.shift(x, delay=delay, dt=dt).data).all()
    expected = reference.delay_adjoint(g, y, dt)
    np.testing.assert_allclose(g_delay, expected, atol=1e-12)
    # A delay that neurons share gets the sum of their gradients.
    for shared in ((), shape[-1:]):
        one = np.full(shared, 1.25)
        y, _, g_delay = delayed(x, one, g, dt=dt)
        assert g_delay.shape == shared
        per_neuron = reference.delay_adjoint(g, y, dt)
        axes = tuple(range(per_neuron.ndim - len(shared)))
        np.testing.assert_allclose(g_delay, per_neuron.sum(axis=axes), atol=1e-12)


@settings(max_examples=40)
@given(
    shape=st.sampled_from([(1, 1, 1), (7, 2, 3), (9, 2, 2, 3, 2)]),
    dt=st.sampled_from([0.5, 1.0, 2.0]),
    seed=st.integers(0, 999),
)
def test_linear_interpolates_between_two_steps(shape, dt, seed):
    generator = np.random.default_rng(seed)
    x, delay = generator.standard_normal(shape), generator.uniform(-12, 12, shape[2:])
    y = cs.functions.shift(x, delay=delay, dt=dt, mode="linear").data
    np.testing.assert_allclose(y, reference.shift_linear(x, delay, dt), atol=1e-12)


def linear(x, delay):
    return cs.functions.shift(x, delay=delay, dt=0.7, mode="linear")


@pytest.mark.parametrize("shape", [(12, 2, 3), (9, 2, 2, 2, 3), (6, 4)])
@pytest.mark.parametrize(("low", "high"), [(0, 6), (-6, 0), (20, 30)])
def test_linear_gradient_is_exact(shape, low, high):
    x = RNG.standard_normal(shape)
    s = cs.Tensor(x > 0)
    for kind in {(), shape[2:][-1:], shape[2:]}:
        delay = RNG.uniform(low, high, kind)
        assert cs.gradcheck(linear, x, delay) < 1e-6
        assert cs.gradcheck(partial(linear, s), delay) < 1e-6
        assert cs.gradcheck(partial(linear, delay=delay), x) < 1e-6


def test_linear_makes_numbers_of_spikes():
    s = RNG.random((10, 1, 4)) < 0.5
    assert cs.functions.shift(s, delay=0.25, mode="linear").dtype == np.float32
    assert cs.functions.shift(s, delay=cs.Tensor(np.array(0.25)), mode="linear").dtype == np.float64


def test_a_multiple_of_the_step_counts_as_one_in_either_type():
    for n in range(400):
        for delay in (n * 0.1, np.float32(n * 0.1)):
            steps, share = whole_steps(delay, 0.1)
            assert (steps, share) == (n, 0)
    # Other delays are not rounded to a multiple.
    for near in (np.float32(12.9999), 13 - 1e-6):
        assert whole_steps(near, 1.0)[0] == 12


def test_no_gradient_is_computed_without_need():
    x = RNG.standard_normal((5, 1, 2))
    fixed = cs.Tensor(np.ones(2))
    t = cs.Tensor(x, requires_grad=True)
    cs.functions.shift(t, delay=fixed).sum().backward()
    assert fixed.grad is None
    trained = cs.Tensor(np.ones(2), requires_grad=True)
    with cs.no_grad():
        assert not cs.functions.shift(t, delay=trained).requires_grad
    cs.functions.shift(x, delay=trained).sum().backward()
    assert trained.grad.shape == (2,)


def test_a_layer_starts_within_a_millisecond():
    cs.seed(6)
    values = cs.Delay(1000, dt=1.0).delay.data
    assert values.dtype == np.float32
    assert 0 <= values.min() < 0.01
    assert 0.99 < values.max() <= 1
    assert values.mean() == pytest.approx(0.5, abs=0.03)
    cs.seed(6)
    assert (cs.Delay(1000, dt=0.1, max_delay=62.0).delay.data == values).all()
    assert cs.Delay(1000, dt=1.0, max_delay=0.25).delay.data.max() <= 0.25
    assert not cs.Delay(3, dt=1.0, max_delay=0.0).delay.data.any()


def test_a_layer_is_its_function():
    for features, shape in ((5, (9, 2, 5)), (4, (9, 2, 3, 2, 4)), ((3, 2, 4), (9, 2, 3, 2, 4))):
        for mode in ("floor", "linear"):
            layer = cs.Delay(features, dt=0.3, mode=mode)
            assert layer.parameters() == [layer.delay]
            assert layer.delay.shape == (features if isinstance(features, tuple) else (features,))
            s = RNG.random(shape) < 0.3
            y = layer(s)
            assert y.dtype == (bool if mode == "floor" else np.float32)
            assert (y.data == cs.functions.shift(s, delay=layer.delay.data, dt=0.3, mode=mode).data).all()
    for features, shape in ((3, (2, 4)), ((2, 4), (4,)), ((3, 2, 4), (3, 3, 4)), ((3, 2, 4), (4,))):
        with pytest.raises(ValueError, match=r"^shift: delay has shape "):
            cs.Delay(features, dt=1.0).output_shape(shape)
    assert repr(cs.Delay(5, dt=1.0)) == "Delay(5, dt=1)"
    linear = cs.Delay((3, 2, 4), dt=0.5, max_delay=62, mode="linear")
    assert repr(linear) == "Delay((3, 2, 4), dt=0.5, max_delay=62.0, mode='linear')"


@settings(max_examples=40)
@given(st.integers(1, 12), st.lists(st.integers(-14, 14), min_size=3, max_size=3), st.booleans())
def test_each_neuron_has_its_delay(steps, delays, spikes):
    x = np.random.default_rng(steps).standard_normal((steps, 2, 3))
    x = x > 0 if spikes else x
    y = cs.functions.shift(x, delay=np.array(delays) * 0.5, dt=0.5)
    assert y.dtype == x.dtype
    np.testing.assert_array_equal(y.data, reference.shift_linear(x, np.array(delays) * 0.5, 0.5))
