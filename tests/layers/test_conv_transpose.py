"""Transposed convolution: by spikes, by matrices and by the formula; the adjoint of convolution; odd sizes, errors."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from tests.support import reference

RNG = np.random.default_rng(8)
SRM = cs.SRM()
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def geometries(draw):
    stride, dilation = draw(pairs), draw(pairs)
    extra = tuple(draw(st.integers(0, max(steps) - 1)) for steps in zip(stride, dilation, strict=True))
    padding, groups = draw(st.tuples(st.integers(0, 3), st.integers(0, 2))), draw(st.sampled_from([1, 2, 3]))
    return {"stride": stride, "padding": padding, "dilation": dilation, "groups": groups, "output_padding": extra}


@settings(deadline=None, max_examples=80)
@given(
    geometry=geometries(),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 3)),
    image=st.tuples(st.integers(1, 6), st.integers(1, 5)),
    inputs=st.integers(1, 2),
    outputs=st.integers(1, 3),
    rate=st.sampled_from([0.0, 0.2, 1.0]),
    seed=st.integers(0, 99),
)
def test_spikes_and_numbers_equal_the_formula(geometry, kernel, image, inputs, outputs, rate, seed):
    generator, groups = np.random.default_rng(seed), geometry["groups"]
    s = generator.random((3, 2, *image, inputs * groups)) < rate
    w = generator.standard_normal((*kernel, outputs, inputs * groups))
    expected = reference.conv_transpose(s.reshape(6, *s.shape[2:]), w, **geometry)
    assume(min(expected.shape[1:3]) > 0)
    runs = []
    for x in (s, s.astype(float)):
        t, weight = cs.Tensor(x, requires_grad=True), cs.Tensor(w, requires_grad=True)
        y = functions.conv_transpose(t, weight, **geometry)
        np.testing.assert_allclose(y.data.reshape(expected.shape), expected, atol=1e-12)
        g = np.random.default_rng(seed).standard_normal(y.shape)
        y.backward(g)
        runs.append((t.grad, weight.grad))
    for by_event, by_matrix in zip(*runs, strict=True):
        np.testing.assert_allclose(by_event, by_matrix, atol=1e-11)


CASES = [
    ((1, 1), {}),
    ((3, 3), {"padding": 1}),
    ((4, 3), {"padding": (1, 0), "stride": (2, 3), "output_padding": (1, 2)}),
    ((2, 3), {"dilation": (3, 2), "padding": 1, "output_padding": (2, 1)}),
    ((3, 2), {"groups": 2, "stride": 2, "padding": (0, 1), "dilation": (1, 2)}),
]


@pytest.mark.parametrize(("kernel", "options"), CASES)
def test_windows_that_are_cut_at_every_side(kernel, options):
    s, w = RNG.random((3, 2, 5, 6, 4)) < 0.5, RNG.standard_normal((*kernel, 6 // options.get("groups", 1), 4))
    weights = [cs.Tensor(w, requires_grad=True) for _ in range(2)]
    maps = [functions.conv_transpose(x, v, **options) for x, v in zip((s, s.astype(float)), weights, strict=True)]
    np.testing.assert_allclose(maps[0].data, maps[1].data, atol=1e-12)
    for y in maps:
        y.backward(np.random.default_rng(0).standard_normal(y.shape))
    np.testing.assert_allclose(weights[0].grad, weights[1].grad, atol=1e-11)


@pytest.mark.parametrize(("kernel", "options"), CASES)
def test_gradient(kernel, options):
    x = RNG.standard_normal((2, 2, 5, 6, 4))
    w = RNG.standard_normal((*kernel, 6 // options.get("groups", 1), 4))
    assert cs.gradcheck(lambda x, w: functions.conv_transpose(x, w, **options), x, w) < 1e-6
    s = RNG.random(x.shape) < 0.3
    assert cs.gradcheck(lambda w: functions.conv_transpose(s, w, **options), w) < 1e-6


@pytest.mark.parametrize(("kernel", "options"), CASES)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_it_is_the_adjoint_of_convolution(kernel, options, dtype, tolerance):
    """<conv(a), b> = <a, conv_transpose(b)>, and the gradient is the convolution."""
    w = RNG.standard_normal((*kernel, 6 // options.get("groups", 1), 4)).astype(dtype)
    b = RNG.standard_normal((3, 2, 5, 6, 4)).astype(dtype)
    t = cs.Tensor(b, requires_grad=True)
    y = functions.conv_transpose(t, w, **options)
    a = RNG.standard_normal(y.shape).astype(dtype)
    y.backward(a)
    assert t.grad.dtype == y.dtype == dtype
    convolved = functions.conv(a, w, **{name: o for name, o in options.items() if name != "output_padding"}).data
    np.testing.assert_array_equal(convolved[:, :, :5, :6], t.grad)
    right = np.vdot(a, y.data.astype(float))
    for left in (np.vdot(convolved[:, :, :5, :6].astype(float), b), np.vdot(t.grad.astype(float), b)):
        assert abs(left - right) < tolerance * np.linalg.norm(y.data) * np.linalg.norm(a)


def test_many_frames_equal_one_by_one():
    """Frames are processed in parts and blocks; the result is that of single frames."""
    x, w = RNG.standard_normal((67, 3, 9, 9, 8)), RNG.standard_normal((3, 3, 16, 8))
    for given_x in (x, x > 1.2):
        weight = cs.Tensor(w, requires_grad=True)
        y = functions.conv_transpose(given_x, weight, stride=2)
        g = RNG.standard_normal(y.shape)
        y.backward(g)
        total = np.zeros_like(w)
        for k in range(67):
            pw = cs.Tensor(w, requires_grad=True)
            part = functions.conv_transpose(given_x[k : k + 1], pw, stride=2)
            np.testing.assert_allclose(part.data, y.data[k : k + 1], atol=1e-12)
            part.backward(g[k : k + 1])
            total += pw.grad
        np.testing.assert_allclose(weight.grad, total, atol=1e-10)


def test_what_lies_beyond_the_windows_leaves_no_gap_in_the_gradient():
    """The gradient is contiguous, as the kernels of an earlier operation require."""
    seen = []

    @cs.differentiable
    def below(x, /):
        return x, lambda g: seen.append(g) or g

    x = cs.Tensor(RNG.standard_normal((2, 2, 4, 4, 3)), requires_grad=True)
    y = functions.conv_transpose(below(x), np.ones((2, 2, 2, 3)), dilation=3, output_padding=2)
    y.backward(RNG.standard_normal(y.shape))
    assert seen[0].shape == x.shape
    assert seen[0].flags.c_contiguous


def test_the_weights_type_is_the_results():
    x = RNG.standard_normal((3, 1, 4, 4, 2))
    for given_x in (x, x.astype(np.float32), x > 0):
        for dtype in (np.float32, np.float64):
            t = cs.Tensor(given_x, requires_grad=True)
            w = cs.Tensor(np.ones((2, 2, 3, 2), dtype), requires_grad=True)
            y = functions.conv_transpose(t, w)
            y.sum().backward()
            assert y.dtype == w.grad.dtype == dtype
            assert t.grad.dtype == (dtype if t.dtype == bool else t.dtype)


@pytest.mark.parametrize("shape", [(0, 2, 3, 3, 2), (3, 0, 3, 3, 2), (1, 1, 1, 1, 2), (2, 1, 1, 4, 2)])
@pytest.mark.parametrize("dtype", [bool, np.float32])
def test_shapes(shape, dtype):
    x, w = cs.Tensor(np.ones(shape, dtype), requires_grad=True), cs.Tensor(np.ones((3, 3, 4, 2)), requires_grad=True)
    y = functions.conv_transpose(x, w)
    assert y.shape == (*shape[:2], shape[2] + 2, shape[3] + 2, 4)
    y.backward(np.ones(y.shape))
    assert (x.grad.shape, w.grad.shape) == (shape, (3, 3, 4, 2))
    assert (w.grad == shape[0] * shape[1] * shape[2] * shape[3]).all()


def test_a_layer_is_its_function_and_fires():
    x = RNG.random((30, 2, 4, 5, 4)) < 0.3
    options = {"stride": 2, "padding": (1, 0), "dilation": (1, 2), "groups": 2, "output_padding": (1, 0)}
    layer = cs.ConvTranspose(4, 6, (3, 2), **options)
    assert layer.weight.shape == (3, 2, 3, 4)
    expected = functions.conv_transpose(x, layer.weight, **options)
    assert (layer(x).data == expected.data).all()
    assert (cs.Sequential(layer, SRM)(x).data == SRM(expected).data).all()
    assert SRM(expected).data.any()
    text = (
        "ConvTranspose(4, 6, (3, 2), stride=(2, 2), padding=(1, 0), dilation=(1, 2), groups=2, output_padding=(1, 0))"
    )
    assert repr(layer) == text
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


def test_errors():
    x, w = np.ones((2, 1, 5, 5, 3)), np.ones((3, 3, 4, 3))
    with pytest.raises(
        ValueError, match=r"^conv_transpose: x must be \(T, N, H, W, C\), got shape \(2, 5, 5, 3\); one sample"
    ):
        functions.conv_transpose(x[:, 0], w)
    with pytest.raises(
        ValueError,
        match=r"^conv_transpose: weight must be \(kh, kw, outputs / groups, channels\), got shape \(3, 4, 3\)$",
    ):
        functions.conv_transpose(x, w[0])
    with pytest.raises(TypeError, match=r"^conv_transpose: weight must be float32 or float64, got bool$"):
        functions.conv_transpose(x, w > 0)
    with pytest.raises(ValueError, match=r"^conv_transpose: x has 3 channels, weight expects 2$"):
        functions.conv_transpose(x, w[..., :2])
    with pytest.raises(ValueError, match=r"^conv_transpose: x has 3 channels, not a multiple of 2 groups$"):
        functions.conv_transpose(x, w, groups=2)
    for name, least in (("stride", 1), ("dilation", 1), ("padding", 0), ("groups", 1), ("output_padding", 0)):
        with pytest.raises(ValueError, match=rf"^conv_transpose: {name} must be at least {least}, got -1$"):
            functions.conv_transpose(x, w, **{name: -1})
        with pytest.raises(TypeError, match=rf"^conv_transpose: {name} must be an integer, got float$"):
            functions.conv_transpose(x, w, **{name: 1.5})
    rule = r"output_padding must be smaller than stride \(2, 1\) or dilation \(1, 3\), got"
    with pytest.raises(ValueError, match=rf"^conv_transpose: {rule} \(2, 0\)$"):
        functions.conv_transpose(x, w, stride=(2, 1), dilation=(1, 3), output_padding=(2, 0))
    with pytest.raises(ValueError, match=rf"^ConvTranspose: {rule} \(0, 3\)$"):
        cs.ConvTranspose(1, 1, 3, stride=(2, 1), dilation=(1, 3), output_padding=(0, 3))
    with pytest.raises(ValueError, match=r"^conv_transpose: x must have rows, got 0$"):
        functions.conv_transpose(x[:, :, :0], w)
    with pytest.raises(ValueError, match=r"^conv_transpose: the result must have columns, got -1$"):
        functions.conv_transpose(x, w, padding=(0, 4))
    with pytest.raises(ValueError, match=r"^ConvTranspose: in_channels must be a multiple of 2 groups, got 3$"):
        cs.ConvTranspose(3, 2, 3, groups=2)
    with pytest.raises(TypeError, match=r"^ConvTranspose: weight_hook must be callable, got int$"):
        cs.ConvTranspose(2, 2, 3, weight_hook=1)
    with pytest.raises(ValueError, match=r"^conv_transpose: x has 3 channels, weight expects 2$"):
        cs.ConvTranspose(2, 2, 3)(x)
