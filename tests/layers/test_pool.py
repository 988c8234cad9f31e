"""Sum pooling against the formula, with every size, stride, padding and dilation; its gradient is its transpose."""

from __future__ import annotations

import itertools
import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
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


@pytest.mark.parametrize(
    "options", [{"kernel_size": 2}, {"kernel_size": (3, 2), "stride": 2, "padding": 1, "dilation": 2}]
)
@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float32, 1e-5), (np.float64, 1e-12)])
def test_adjoint_and_gradient(options, dtype, tolerance):
    x = RNG.standard_normal((3, 2, 7, 9, 3)).astype(dtype)
    t = cs.Tensor(x, requires_grad=True)
    ax = functions.pool(t, gain=11.0, **options)
    y = RNG.standard_normal(ax.shape).astype(dtype)
    ax.backward(y)
    assert ax.dtype == t.grad.dtype == dtype
    left, right = np.vdot(ax.data.astype(float), y), np.vdot(x, t.grad.astype(float))
    assert abs(left - right) < tolerance * np.linalg.norm(ax.data) * np.linalg.norm(y)
    assert cs.gradcheck(lambda x: functions.pool(x, gain=11.0, **options), x) < 1e-6


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


@pytest.mark.parametrize("shape", [(0, 1, 4, 4, 2), (1, 0, 4, 4, 2), (1, 1, 1, 1, 1), (1, 1, 4, 4, 0)])
def test_shapes(shape):
    t = cs.Tensor(np.ones(shape), requires_grad=True)
    y = functions.pool(t, kernel_size=2, gain=1.0)
    assert y.shape == (*shape[:2], -(-shape[2] // 2), -(-shape[3] // 2), shape[4])
    y.backward(np.ones(y.shape))
    assert t.grad.shape == shape


def test_errors():
    x = np.ones((2, 1, 5, 5, 3))
    with pytest.raises(ValueError, match=r"pool: x must be \(T, N, H, W, C\), got shape \(2, 5, 5, 3\)"):
        functions.pool(x[:, 0], kernel_size=2, gain=1.0)
    with pytest.raises(TypeError, match="pool: gain must be a number, got str"):
        functions.pool(x, kernel_size=2, gain="1")
    with pytest.raises(ValueError, match="pool: kernel_size must be at least 1, got 0"):
        functions.pool(x, kernel_size=0, gain=1.0)
    with pytest.raises(ValueError, match="pool: stride must be at least 1, got 0"):
        functions.pool(x, kernel_size=2, stride=0, gain=1.0)
    with pytest.raises(ValueError, match="pool: the window spans 1 rows, the padded image has 0"):
        functions.pool(x[:, :, :0], kernel_size=1, gain=1.0)


def formula_of(operation):
    """Return the size of an output by the formula in a docstring, as a function of the constants."""
    text = " ".join(operation.__doc__.split("Returns:")[1].split("Raises:")[0].split())
    found = {name: formula for name, formula in re.findall(r"``(H'|reach) = ([^`]+)``", text)}
    code = {name: re.sub(r"\bkh\b", "kernel", formula) for name, formula in found.items()}
    code = {name: re.sub(r"(2|dilation|stride) (?=[\w(])", r"\1 * ", formula) for name, formula in code.items()}

    def size(**constants):
        space = constants | {"ceil": math.ceil, "max": max}
        if "reach" in code:
            space["reach"] = eval(code["reach"], space)
        return eval(code["H'"], space)

    return size


SIZES = list(itertools.product((1, 2, 5, 8), (1, 2, 4), (1, 2, 5), (0, 2), (1, 2)))


@pytest.mark.parametrize(
    ("operation", "layer", "of_weight"),
    [
        ("pool", cs.Pool, "weighted_pool"),
        ("unpool", cs.Unpool, "weighted_unpool"),
        ("conv", cs.Conv, "conv"),
        ("conv_transpose", cs.ConvTranspose, "conv_transpose"),
    ],
)
def test_the_size_of_the_output_is_that_of_the_docstring(operation, layer, of_weight):
    """For every window, also where the last one would begin beyond the padded image; layers and networks agree."""
    size, seen = formula_of(getattr(functions, operation)), 0
    for height, kernel, stride, padding, dilation in SIZES:
        constants = {"stride": stride, "padding": padding, "dilation": dilation}
        expected = size(H=height, kernel=kernel, output_padding=0, **constants)
        x, weight = np.ones((1, 1, height, 3, 1), bool), np.ones((kernel, 1, 1, 1))
        options = {"stride": (stride, 1), "padding": (padding, 0), "dilation": (dilation, 1)}
        if expected < 1:
            with pytest.raises(ValueError, match=r"the window spans|the result must have rows"):
                getattr(functions, of_weight)(x, weight, **options)
            continue
        seen += 1
        assert getattr(functions, of_weight)(x, weight, **options).shape == (1, 1, expected, 3, 1), constants
        made = layer((kernel, 1), 1.0, **options) if "pool" in operation else layer(1, 1, (kernel, 1), **options)
        assert made.output_shape((height, 3, 1)) == made(x).shape[2:] == (expected, 3, 1), constants
    assert seen > 40


@pytest.mark.parametrize(("word", "operation"), [("4a", "pool"), ("1c4", "conv")])
def test_the_shapes_of_the_notation_are_those_of_the_docstring(word, operation):
    size = formula_of(getattr(functions, operation))
    for height, stride, padding, dilation in itertools.product((5, 8, 9), (1, 3, 6), (0, 2), (1, 2)):
        constants = {"stride": stride, "padding": padding, "dilation": dilation}
        expected = size(H=height, kernel=4, **constants)
        if expected < 1:
            continue
        words = cs.Word(f"{height}x{height}x1"), cs.Word(word, **constants), cs.Word("2")
        net = cs.Network(words, cs.SRM())
        assert net.layers[2].in_features == (expected, expected, 1)
