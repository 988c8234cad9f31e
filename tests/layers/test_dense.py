"""The dense layer: spikes against the matrix product, gradients, adjoints, empty and single sizes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from tests.support.refused import refuses

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


LIF = cs.LIF(tau=5.0, dt=0.5)


def folded(op, x, outputs):
    """Return an operation of places (T, N, places..., features) by hand: as of more samples."""
    steps, samples, *places, features = x.shape
    return op(x.reshape(steps, samples * int(np.prod(places)), features)).reshape(steps, samples, *places, outputs)


@pytest.mark.parametrize("places", [(0,), (7,), (2, 1, 3)])
@pytest.mark.parametrize("spikes", [True, False])
def test_each_place_is_mapped_by_itself(places, spikes):
    x = RNG.standard_normal((12, 3, *places, 5)).astype(np.float32)
    delays = cs.SynapticDelays(3.0, dt=0.5)
    layers = cs.Dense(5, 4, bias=True), cs.Dense(5, 4, delays=delays), cs.ReadOut(5, 4, dt=0.5)
    for op in (*layers, cs.Sequential(layers[0], LIF), cs.Sequential(layers[1], LIF)):
        sides = [cs.Tensor(x > 0 if spikes else x, requires_grad=True) for _ in range(2)]
        ours, theirs = op(sides[0]), folded(op, sides[1], 4)
        assert ours.shape == theirs.shape == (12, 3, *places, 4)
        found = [[y.data] for y in (ours, theirs)]
        for y, kept, leaf in zip((ours, theirs), found, sides, strict=True):
            op.parameters()[0].grad = None
            y.backward(np.linspace(-1, 1, y.size, dtype=np.float32).reshape(y.shape))
            kept += [op.parameters()[0].grad, leaf.grad]
        for mine, other in zip(*found, strict=True):
            np.testing.assert_array_equal(mine, other)
        op.eval()
        with cs.no_grad():
            np.testing.assert_array_equal(op(sides[0]).data, folded(op, sides[0], 4).data)
        stream = cs.Sequential(op).stream()
        np.testing.assert_allclose(
            np.stack([stream.step(step) for step in sides[0].data]), op(sides[0]).data, atol=1e-5
        )
        op.train()


def test_one_place_is_flattened():
    """As is every input whose size is the weight's, whatever its last axis has."""
    w = RNG.standard_normal((5, 4))
    assert (
        functions.dense(np.ones((9, 2, 1, 5)), w).shape == functions.dense(np.ones((9, 2, 5, 1)), w).shape == (9, 2, 4)
    )
    assert functions.dense(np.ones((9, 2, 1, 2, 5)), w).shape == (9, 2, 1, 2, 4)
    assert cs.gradcheck(functions.dense, RNG.standard_normal((3, 2, 2, 5)), w) < 1e-6
    with refuses("dense: x has 12 features, 6 on the last axis, weight expects 5"):
        functions.dense(np.ones((9, 2, 2, 6)), w)


def test_neurons_of_places_may_have_constants_of_their_own():
    neuron = cs.LIF(tau=np.linspace(3.0, 20.0, 28).reshape(7, 4))
    x, net = RNG.random((40, 3, 7, 5)) < 0.3, cs.Sequential(cs.Dense(5, 4), neuron)
    s, stream = net(x).data, net.stream()
    assert 0 < s.mean() < 1
    np.testing.assert_array_equal(s, neuron(net[0](x)).data)
    np.testing.assert_array_equal(s, [stream.step(step) for step in x])
