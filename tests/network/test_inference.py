"""Tests of inference: the same spikes as in training, to the bit, and memory that does not grow with time."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from cuslayer.kernels import cpu
from cuslayer.kernels.fused import dense_neuron as fused
from cuslayer.kernels.host import memory


@settings(deadline=None, max_examples=80)
@given(
    sizes=st.tuples(st.sampled_from([0, 1, 20, 32, 33, 100]), st.integers(0, 5), st.integers(1, 9)),
    outputs=st.integers(0, 12),
    least=st.sampled_from([1, 5, 128]),
    most=st.sampled_from([1, 12, 512]),
    numbers=st.booleans(),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_one_pass_is_two(sizes, outputs, least, most, numbers, dtype):
    generator = np.random.default_rng(0)
    x = generator.random(sizes) < 0.3
    x = x.astype(dtype) if numbers else x
    w = (generator.standard_normal((sizes[2], outputs)) * 9).astype(dtype)
    srm = cs.SRM(tau_sr=3.0, cutoff=0.2)
    one_pass, shapes = fused.dense_neuron, []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "_LEAST", least)
        patch.setattr(fused, "_MOST", most)
        patch.setattr(fused, "dense_neuron", lambda x, *rest: shapes.append(x.shape) or one_pass(x, *rest))
        with cs.no_grad():
            s = functions.dense_neuron(x, w, response=srm.filter, spiking=srm.spiking)
        trained = [cs.Tensor(w, requires_grad=True) for _ in range(2)]
        in_training = functions.dense_neuron(x, trained[0], response=srm.filter, spiking=srm.spiking)
    assert shapes == ([] if numbers else 2 * [(sizes[0] * sizes[1], sizes[2])])
    two = srm(functions.dense(x, trained[1]))
    assert s.shape == in_training.shape == two.shape
    assert (s.data == two.data).all()
    assert (in_training.data == two.data).all()
    assert not s.requires_grad
    g = generator.standard_normal(two.shape).astype(dtype)
    in_training.backward(g)
    two.backward(g)
    assert trained[0].grad.tobytes() == trained[1].grad.tobytes()


def test_what_is_fused():
    assert cpu.fused.dense_kernels(cpu.spikes.synapse_input(np.zeros((2, 4), bool))) is fused
    assert cpu.fused.dense_kernels(np.zeros((2, 4))) is None


@pytest.mark.parametrize("notation", ["60-300-10", "16x16x2-8c3-2a-8c3-2a-30-4"])
def test_a_network_without_gradients_fires_the_same(notation):
    cs.seed(4)
    net = cs.Network(notation, cs.SRM())
    x = np.random.default_rng(0).random((90, 3, *net.input_shape)) < 0.2
    spikes = net(x)
    assert spikes.data.any()
    with cs.no_grad():
        assert (net(x).data == spikes.data).all()


def test_a_subclass_with_its_own_call_is_not_fused():
    class Silent(cs.Dense):
        def __call__(self, x):
            return super().__call__(x) * 0.0

    x = np.ones((30, 1, 4), bool)
    with cs.no_grad():
        assert not cs.Sequential(Silent(4, 3), cs.SRM())(x).data.any()
        assert cs.Sequential(cs.Dense(4, 30, weight_scale=100.0), cs.SRM())(x).data.any()


@pytest.mark.parametrize("notation", ["60-300-10", "16x16x2-8c3-2a-8c3-10"])
def test_memory_does_not_grow_with_time(notation, monkeypatch):
    """Besides input and output there are the spikes of hidden layers, one byte each."""
    monkeypatch.setattr(memory, "_LEAST_BYTES", 1 << 62)  # memory of the pool is allocated instead, and counted
    net = cs.Network(notation, cs.SRM())
    for layer in net.layers[::2]:
        if hasattr(layer, "weight"):
            layer.weight.data *= 0  # spikes would be listed, at a size that follows the rate
    peaks = []
    for steps in (200, 1000):
        x = np.zeros((steps, 2, *net.input_shape), bool)
        with cs.no_grad():
            net(x)
            tracemalloc.start()
            net(x)
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
    hidden = 2 * 300 if notation.startswith("60") else 2 * (8 * 8 * 8 + 8 * 8 * 8)
    lists = 2 * 8 * 64  # the starts of the rows of spikes
    assert peaks[1] - peaks[0] < 800 * (hidden + lists)
    with_gradients = []
    for steps in (200, 1000):
        x = np.zeros((steps, 2, *net.input_shape), bool)
        tracemalloc.start()
        net(x)
        with_gradients.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert with_gradients[1] - with_gradients[0] > 800 * 4 * hidden


def test_errors():
    options = {"response": cs.SRM().filter, "spiking": cs.SRM().spiking}
    with pytest.raises(ValueError, match=r"^dense_neuron: x has 3 features, weight expects 2$"):
        functions.dense_neuron(np.ones((2, 1, 3), bool), np.ones((2, 4)), **options)
    with pytest.raises(ValueError, match=r"^dense_neuron: x must be \(T, N, C\), got shape \(2, 3\); one sample"):
        functions.dense_neuron(np.ones((2, 3), bool), np.ones((3, 4)), **options)
    with pytest.raises(TypeError, match=r"^dense_neuron: weight must be float32 or float64, got bool$"):
        functions.dense_neuron(np.ones((2, 1, 3), bool), np.ones((3, 4), bool), **options)
