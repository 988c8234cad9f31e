"""The dense layer: spikes against the matrix product, gradients, adjoints, empty and single sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions

RNG = np.random.default_rng(5)


@settings(max_examples=60)
@given(
    steps=st.integers(0, 12),
    batch=st.integers(0, 3),
    inputs=st.integers(1, 40),
    outputs=st.integers(1, 20),
    rate=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    dtype=st.sampled_from([np.float32, np.float64]),
    seed=st.integers(0, 99),
)
def test_spikes_by_events_equal_the_matrix(steps, batch, inputs, outputs, rate, dtype, seed):
    generator = np.random.default_rng(seed)
    s = generator.random((steps, batch, inputs)) < rate
    w = generator.standard_normal((inputs, outputs)).astype(dtype)
    g = generator.standard_normal((steps, batch, outputs)).astype(dtype)
    tensors = [(cs.Tensor(x, requires_grad=True), cs.Tensor(w, requires_grad=True)) for x in (s, s.astype(dtype))]
    by_event, by_matrix = (functions.dense(*pair) for pair in tensors)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    assert by_event.dtype == dtype
    np.testing.assert_allclose(by_event.data, by_matrix.data, rtol=0, atol=tolerance * inputs)
    by_event.backward(g)
    by_matrix.backward(g)
    for a, b in zip(*tensors, strict=True):
        np.testing.assert_allclose(a.grad, b.grad, rtol=0, atol=tolerance * max(1, steps * batch, outputs))


def test_images_are_flattened_in_their_order():
    w = RNG.standard_normal((12, 2))
    x = RNG.standard_normal((4, 1, 2, 3, 2))
    np.testing.assert_allclose(functions.dense(x, w).data, x.reshape(4, 1, 12) @ w)
    s = x > 0.5
    np.testing.assert_allclose(functions.dense(s, w).data, s.reshape(4, 1, 12) @ w)
    t = cs.Tensor(x, requires_grad=True)
    functions.dense(t, w).backward(np.ones((4, 1, 2)))
    assert t.grad.shape == x.shape


@pytest.mark.parametrize("rate", [0.01, 0.9])
def test_the_array_of_spikes_may_change_before_backward(rate):
    x, w, g = RNG.random((40, 3, 200)) < rate, RNG.standard_normal((200, 20)), RNG.standard_normal((40, 3, 20))

    def gradient(change):
        spikes, weight = x.copy(), cs.Tensor(w, requires_grad=True)
        y = functions.dense(spikes, weight)
        if change:
            spikes[:] = ~spikes
        y.backward(g)
        return weight.grad

    assert np.array_equal(gradient(True), gradient(False))


@pytest.mark.parametrize("recurrent", [False, True])
def test_a_gradient_passes_weights_of_another_type(recurrent):
    """The product with a weight in float64 is no product for neurons in float32."""
    grads = []
    for dtype in ("float32", "float64"):
        cs.seed(1)
        neuron = cs.Recurrent(cs.Dense(5, 5), cs.LIF()) if recurrent else cs.LIF()
        net = cs.Sequential(cs.Dense(6, 5), neuron, cs.Dense(5, 3))
        net[2].weight.data = net[2].weight.data.astype(dtype)
        net(np.random.default_rng(0).random((9, 2, 6)) < 0.5).backward(np.ones((9, 2, 3), np.float32))
        grads.append(net[0].weight.grad)
    np.testing.assert_allclose(*grads, rtol=1e-4, atol=1e-6)
