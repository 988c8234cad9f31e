"""A convolution and its neurons as one operation: the bits of the two, whatever is fused, and their gradients."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from cuslayer.kernels import cpu
from cuslayer.kernels.cpu import conv_neuron as fused
from cuslayer.kernels.geometry import Window

geometries = st.fixed_dictionaries(
    {
        "stride": st.sampled_from([1, 1, 2]),
        "padding": st.tuples(st.integers(0, 3), st.integers(0, 2)),
        "dilation": st.sampled_from([1, 1, 2]),
        "groups": st.sampled_from([1, 1, 2]),
    }
)


def run(one_pass, srm, x, w, g, geometry):
    t = x if x.dtype == bool else cs.Tensor(x, requires_grad=True)
    weight = cs.Tensor(w, requires_grad=True)
    if one_pass:
        options = {"response": srm.filter, "spiking": srm.spiking, "exact": srm.gradient == "exact"}
        s = functions.conv_neuron(t, weight, **options, **geometry)
    else:
        s = srm(functions.conv(t, weight, **geometry))
    s.backward(g(s.shape))
    return s.data, weight.grad, None if x.dtype == bool else t.grad


@settings(deadline=None, max_examples=100)
@given(
    geometry=geometries,
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 3)),
    image=st.tuples(st.integers(1, 9), st.integers(1, 8)),
    channels=st.tuples(st.integers(1, 2), st.integers(1, 3)),
    sizes=st.tuples(st.integers(0, 30), st.integers(0, 3)),
    together=st.sampled_from([1, 5, 512]),
    numbers=st.booleans(),
    gradient=st.sampled_from(["slayer", "exact"]),
    dtype=st.sampled_from(["float32", "float64"]),
)
def test_one_pass_is_two(geometry, kernel, image, channels, sizes, together, numbers, gradient, dtype):
    for axis in (0, 1):
        assume(image[axis] + 2 * geometry["padding"][axis] > geometry["dilation"] * (kernel[axis] - 1))
    generator, groups = np.random.default_rng(0), geometry["groups"]
    x = generator.random((*sizes, *image, channels[0] * groups)) < 0.2
    x = x.astype(dtype) if numbers else x
    w = (generator.standard_normal((*kernel, channels[0], channels[1] * groups)) * 6).astype(dtype)
    srm = cs.SRM(tau_sr=3.0, cutoff=0.2, gradient=gradient)

    def g(shape):
        return np.random.default_rng(1).standard_normal(shape).astype(dtype)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fused, "_TOGETHER", together)
        s, of_weight, of_x = run(True, srm, x, w, g, geometry)
    two = run(False, srm, x, w, g, geometry)
    assert (s == two[0]).all()
    assert of_weight.dtype == dtype
    scale = np.abs(two[1]).max(initial=0)
    np.testing.assert_allclose(of_weight, two[1], rtol=0, atol=100 * np.finfo(dtype).eps * scale)
    if numbers:
        np.testing.assert_array_equal(of_x, two[2])


def test_spikes_that_want_a_gradient():
    """Where the gradient goes further down, the weighted input's exists, and the weights take theirs from it."""
    x = np.random.default_rng(0).random((40, 2, 6, 6, 2)) < 0.2
    w = np.random.default_rng(1).standard_normal((3, 3, 2, 4)) * 6
    srm, grads = cs.SRM(), []
    for op in (functions.conv_neuron, None):
        t, weight = cs.Tensor(x, requires_grad=True), cs.Tensor(w, requires_grad=True)
        if op:
            s = op(t, weight, response=srm.filter, spiking=srm.spiking, padding=1)
        else:
            s = srm(functions.conv(t, weight, padding=1))
        s.backward(np.random.default_rng(2).standard_normal(s.shape))
        grads.append((t.grad, weight.grad))
    np.testing.assert_array_equal(grads[0][0], grads[1][0])
    np.testing.assert_array_equal(grads[0][1], grads[1][1])


def test_what_is_fused():
    plain, strided = Window.of("conv", 3, 1, 1, 1), Window.of("conv", 3, 2, 1, 1)
    spikes = cpu.synapse_input(np.zeros((2, 4, 4, 2), bool))
    assert cpu.fused_conv(spikes, plain, 1) is fused
    assert cpu.fused_conv(spikes, plain, 2) is None
    assert cpu.fused_conv(spikes, strided, 1) is None
    assert cpu.fused_conv(np.zeros((2, 4, 4, 2)), plain, 1) is None


def test_a_network_fires_layers_in_one_pass_and_honours_what_differs():
    cs.seed(3)
    srm = cs.SRM()
    net = cs.Network("8x8x2-4c3-2a-6c3-3", srm)
    x = np.random.default_rng(0).random((30, 2, 8, 8, 2)) < 0.2
    apart = cs.Tensor(x)
    for layer in net.layers:
        apart = layer(apart)
    assert apart.data.any()
    assert (net(x).data == apart.data).all()

    class Silent(cs.Conv):
        def __call__(self, x):
            return super().__call__(x) * 0.0

    class Deaf(cs.SRM):
        def __call__(self, x):
            return super().__call__(x * 0.0)

    assert not cs.Sequential(Silent(2, 4, 3), srm)(x).data.any()
    assert not cs.Sequential(cs.Conv(2, 4, 3), Deaf())(x).data.any()
    assert cs.Sequential(cs.Conv(2, 4, 3), srm)(x).data.any()


def test_errors():
    srm = cs.SRM()
    options = {"response": srm.filter, "spiking": srm.spiking}
    x, w = np.zeros((3, 1, 4, 4, 2), bool), np.zeros((3, 3, 2, 4))
    with pytest.raises(ValueError, match=r"^conv_neuron: x has 2 channels, weight expects 3$"):
        functions.conv_neuron(x, np.zeros((3, 3, 3, 4)), **options)
    with pytest.raises(ValueError, match=r"^conv_neuron: x must be \(T, N, H, W, C\), got shape \(3, 1, 4\)$"):
        functions.conv_neuron(x[..., 0, 0], w, **options)
    with pytest.raises(TypeError, match=r"^conv_neuron: weight must be float32 or float64, got bool$"):
        functions.conv_neuron(x, w.astype(bool), **options)
