"""Convolution and its transpose: by spikes, by matrices and by the formula; gradients, adjoints, odd sizes."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from tests.support import reference

pytestmark = pytest.mark.all

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))

geometries = st.fixed_dictionaries(
    {
        "stride": pairs,
        "padding": st.tuples(st.integers(0, 3), st.integers(0, 2)),
        "dilation": pairs,
        "groups": st.sampled_from([1, 2, 3]),
    }
)


DRAWN = {
    "kernel": st.tuples(st.integers(1, 4), st.integers(1, 3)),
    "inputs": st.integers(1, 2),
    "outputs": st.integers(1, 3),
    "rate": st.sampled_from([0.0, 0.2, 1.0]),
    "seed": st.integers(0, 99),
}


def check(fn, s, w, expected, geometry, seed):
    """Hold spikes and numbers against the formula, and their gradients against each other."""
    runs = []
    for x in (s, s.astype(float)):
        t, weight = cs.Tensor(x, requires_grad=True), cs.Tensor(w, requires_grad=True)
        y = fn(t, weight, **geometry)
        np.testing.assert_allclose(y.data.reshape(expected.shape), expected, atol=1e-12)
        y.backward(np.random.default_rng(seed).standard_normal(y.shape))
        runs.append((t.grad, weight.grad))
    for by_event, by_matrix in zip(*runs, strict=True):
        np.testing.assert_allclose(by_event, by_matrix, atol=1e-11)


@settings(max_examples=60)
@given(geometry=geometries, image=st.tuples(st.integers(1, 9), st.integers(1, 8)), **DRAWN)
def test_spikes_and_numbers_equal_the_formula(geometry, kernel, image, inputs, outputs, rate, seed):
    for axis in (0, 1):
        reach = geometry["dilation"][axis] * (kernel[axis] - 1) + 1
        assume(image[axis] + 2 * geometry["padding"][axis] >= reach)
    generator, groups = np.random.default_rng(seed), geometry["groups"]
    s = generator.random((3, 2, *image, inputs * groups)) < rate
    w = generator.standard_normal((*kernel, inputs, outputs * groups))
    expected = reference.conv(s.reshape(6, *s.shape[2:]), w, **geometry)
    check(functions.conv, s, w, expected, geometry, seed)


SRM = cs.SRM()


@st.composite
def transposed(draw):
    stride, dilation = draw(pairs), draw(pairs)
    extra = tuple(draw(st.integers(0, max(steps) - 1)) for steps in zip(stride, dilation, strict=True))
    padding, groups = draw(st.tuples(st.integers(0, 3), st.integers(0, 2))), draw(st.sampled_from([1, 2, 3]))
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "output_padding": extra}


@settings(max_examples=80)
@given(geometry=transposed(), image=st.tuples(st.integers(1, 6), st.integers(1, 5)), **DRAWN)
def test_transposed_spikes_and_numbers_equal_the_formula(geometry, kernel, image, inputs, outputs, rate, seed):
    generator, groups = np.random.default_rng(seed), geometry["groups"]
    s = generator.random((3, 2, *image, inputs * groups)) < rate
    w = generator.standard_normal((*kernel, outputs, inputs * groups))
    expected = reference.conv_transpose(s.reshape(6, *s.shape[2:]), w, **geometry)
    assume(min(expected.shape[1:3]) > 0)
    check(functions.conv_transpose, s, w, expected, geometry, seed)


def test_what_lies_beyond_the_windows_leaves_no_gap_in_the_gradient():
    """The gradient is contiguous, as the kernels of an earlier operation require."""
    seen = []

    @cs.differentiable
    def below(x, /):
        return x, lambda g: seen.append(g) or g

    x = cs.Tensor(np.random.default_rng(8).standard_normal((2, 2, 4, 4, 3)), requires_grad=True)
    y = functions.conv_transpose(below(x), np.ones((2, 2, 2, 3)), dilation=3, output_padding=2)
    y.backward(np.random.default_rng(8).standard_normal(y.shape))
    assert seen[0].shape == x.shape
    assert seen[0].flags.c_contiguous


def test_the_weights_type_is_the_results():
    x = np.random.default_rng(8).standard_normal((3, 1, 4, 4, 2))
    for given_x in (x, x.astype(np.float32), x > 0):
        for dtype in (np.float32, np.float64):
            t = cs.Tensor(given_x, requires_grad=True)
            w = cs.Tensor(np.ones((2, 2, 3, 2), dtype), requires_grad=True)
            y = functions.conv_transpose(t, w)
            y.sum().backward()
            assert y.dtype == w.grad.dtype == dtype
            assert t.grad.dtype == (dtype if t.dtype == bool else t.dtype)


def test_a_layer_is_its_function_and_fires():
    x = np.random.default_rng(8).random((30, 2, 4, 5, 4)) < 0.3
    options = {"stride": 2, "padding": (1, 0), "dilation": (1, 2), "groups": 2, "output_padding": (1, 0)}
    layer = cs.ConvTranspose(4, 6, (3, 2), **options)
    assert layer.weight.shape == (3, 2, 3, 4)
    expected = functions.conv_transpose(x, layer.weight, **options)
    assert (layer(x).data == expected.data).all()
    assert (cs.Sequential(layer, SRM)(x).data == SRM(expected).data).all()
    assert SRM(expected).data.any()
    text = "stride=(2, 2), padding=(1, 0), dilation=(1, 2), groups=2, output_padding=(1, 0)"
    assert repr(layer) == f"ConvTranspose(4, 6, (3, 2), {text})"
    assert repr(cs.ConvTranspose(1, 2, 3)) == "ConvTranspose(1, 2, (3, 3))"


@pytest.mark.parametrize(
    ("options", "fan_in"),
    [({}, 4 * 9), ({"stride": 2}, 4 * 4), ({"stride": (3, 4)}, 4), ({"stride": 2, "dilation": 2}, 4 * 9)],
)
def test_weights_start_by_the_inputs_of_an_output(options, fan_in):
    """The largest number of inputs of an output, counted with inputs and weights of one."""
    layer = cs.ConvTranspose(8, 60, 3, groups=2, **options)
    largest = np.abs(layer.weight.data).max()
    assert 0.98 * 100 / np.sqrt(fan_in) < largest <= np.float32(100 / np.sqrt(fan_in))
    layer.weight.data[:] = 1
    assert layer(np.ones((1, 1, 7, 7, 8), bool)).data.max() == fan_in
