"""Every linear operation: gradients, adjoints, types, and arrays without steps or samples."""

import itertools
import re

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from tests.support.refused import refuses

RNG = np.random.default_rng(6)
FRAMES = (2, 2, 7, 8, 4)
SLIDING = ({}, {"stride": 2, "padding": 1, "dilation": 2}, {"stride": (1, 3)})
CONVOLUTIONS = (
    ((1, 1), {}),
    ((3, 3), {"padding": 1}),
    ((4, 3), {"padding": (1, 0), "stride": (2, 3)}),
    ((2, 3), {"dilation": (3, 2), "padding": 1}),
    ((3, 2), {"groups": 2, "stride": 2, "padding": (0, 1), "dilation": (1, 2)}),
)

# The operation, the shapes of its arrays, and its options. All are linear in the first array, and in the second.
CASES = [
    ("dense", ((9, 2, 2, 3, 2), (12, 7)), {}),
    *(("conv", (FRAMES, (*k, 4 // o.get("groups", 1), 6)), o) for k, o in CONVOLUTIONS),
    *(("conv_transpose", (FRAMES, (*k, 6 // o.get("groups", 1), 4)), o) for k, o in CONVOLUTIONS),
    ("conv_transpose", (FRAMES, (4, 3, 6, 4)), {"stride": (2, 3), "output_padding": (1, 2)}),
    ("conv_transpose", (FRAMES, (2, 3, 6, 4)), {"dilation": (3, 2), "output_padding": (2, 1)}),
    *((name, (FRAMES,), {"kernel_size": (3, 2), "gain": 11.0} | o) for name in ("pool", "unpool") for o in SLIDING),
    *((f"weighted_{name}", (FRAMES, (3, 2, 1, 1)), o) for name in ("pool", "unpool") for o in SLIDING),
    ("fir", ((12, 2, 3), (5,)), {}),
    ("filter_bank", ((9, 2, 3, 2, 2), (2, 5)), {}),
    *(("shift", ((9, 2, 3),), {"delay": delay}) for delay in (0.0, 3.0, -2.0, 100.0, np.array([0.0, 2.0, -3.0]))),
    ("shift", ((12, 2, 3),), {"delay": np.array([0.3, 4.5, -1.25]), "mode": "linear"}),
    *(("decimate", ((7, 2, 3),), {"factor": 3, "how": how}) for how in ("sum", "mean", "last")),
]
# Filters compile longest.
CASES = [pytest.param(*case, marks=[pytest.mark.all] * (case[0] in ("fir", "filter_bank"))) for case in CASES]


@pytest.mark.parametrize(("name", "shapes", "options"), CASES)
def test_the_gradient_is_the_adjoint(name, shapes, options):
    """The operations are linear: a vector says of an adjoint what finite differences would."""
    arrays = [RNG.standard_normal(shape).astype(np.float32) for shape in shapes]
    for x in (arrays[0], arrays[0] > 0.5):
        tensors = [cs.Tensor(a, requires_grad=True) for a in (x, *arrays[1:])]
        y = getattr(functions, name)(*tensors, **options)
        assert y.dtype == np.float32 or len(arrays) == 1
        g = RNG.standard_normal(y.shape).astype(np.float32)
        y.backward(g)
        scale = 1e-5 * np.linalg.norm(y.data) * np.linalg.norm(g)
        for t in tensors:
            assert t.grad.dtype == np.float32
            assert abs(np.vdot(y.data.astype(float), g) - np.vdot(t.data.astype(float), t.grad)) <= scale
    numbers = getattr(functions, name)(x.astype(np.float32), *arrays[1:], **options).data
    np.testing.assert_allclose(y.data, numbers, rtol=1e-5, atol=1e-5)


@pytest.mark.all
@pytest.mark.parametrize(("name", "shapes", "options"), CASES)
def test_the_gradient_in_float64(name, shapes, options):
    def fn(*arrays):
        return getattr(functions, name)(*arrays, **options)

    arrays = [RNG.standard_normal(shape) for shape in shapes]
    assert cs.gradcheck(fn, *arrays) < 1e-6
    if len(arrays) > 1:
        assert cs.gradcheck(lambda w: fn(arrays[0] > 0.5, w), arrays[1]) < 1e-6
    spikes = fn(arrays[0] > 0.5, *arrays[1:])
    assert spikes.dtype == (np.float64 if len(arrays) > 1 else spikes.dtype)
    np.testing.assert_allclose(
        spikes.data, fn((arrays[0] > 0.5).astype(float), *arrays[1:]).data, atol=1e-5 if len(arrays) == 1 else 1e-12
    )


@pytest.mark.parametrize(
    ("name", "shapes", "options"), [c for c in CASES if not isinstance(c.values[2].get("delay"), float)]
)
def test_without_steps_or_samples(name, shapes, options):
    ones = [np.ones(shape, np.float32) for shape in shapes]
    rest = getattr(functions, name)(*ones, **options).shape[2:]
    for sizes, dtype in itertools.product(((0, 2), (3, 0), (1, 1)), (np.float32, bool)):
        x = cs.Tensor(np.ones((*sizes, *shapes[0][2:]), dtype), requires_grad=True)
        weights = [cs.Tensor(weight, requires_grad=True) for weight in ones[1:]]
        y = getattr(functions, name)(x, *weights, **options)
        assert y.shape == (-(-sizes[0] // options.get("factor", 1)), sizes[1], *rest)
        y.backward(np.ones(y.shape, np.float32))
        assert x.grad.shape == x.shape
        for w in weights:
            assert w.grad.shape == w.shape
            assert w.grad.any() == (y.size > 0)


def length(operation, size, kernel, stride, padding, dilation):
    """Return the rows of an output by the formula of the operation's docstring."""
    reach = dilation * (kernel - 1) + 1
    if operation == "pool":
        return max(0, -((max(reach, stride) - size - 2 * padding) // stride)) + 1
    if operation == "conv":
        return (size + 2 * padding - reach) // stride + 1
    return stride * (size - 1) - 2 * padding + reach


@pytest.mark.parametrize("operation", ["pool", "unpool", "conv", "conv_transpose"])
def test_the_size_of_an_output(operation):
    """For every window, also where the last one would begin beyond the padded image; layers agree."""
    kinds = {"pool": cs.SumPool, "unpool": cs.layers.Unpool, "conv": cs.Conv, "conv_transpose": cs.ConvTranspose}
    seen = 0
    for size, kernel, stride, padding, dilation in itertools.product((1, 2, 5, 8), (1, 4), (1, 2, 5), (0, 2), (1, 2)):
        options = {"stride": (stride, 1), "padding": (padding, 0), "dilation": (dilation, 1)}
        pooling, expected = "pool" in operation, length(operation, size, kernel, stride, padding, dilation)
        x, weight = np.ones((1, 1, size, 3, 1), bool), np.ones((kernel, 1, 1, 1), np.float32)
        fn = getattr(functions, f"weighted_{operation}" if pooling else operation)
        layer = (
            kinds[operation]((kernel, 1), 1.0, **options) if pooling else kinds[operation](1, 1, (kernel, 1), **options)
        )
        if expected < 1:
            with pytest.raises(ValueError, match=r"the window spans|the result must have rows"):
                fn(x, weight, **options)
            continue
        seen += 1
        assert fn(x, weight, **options).shape == (1, 1, expected, 3, 1), options
        assert layer.output_shape((size, 3, 1)) == layer(x).shape[2:] == (expected, 3, 1), options
    assert seen > 20


IMAGES = [(7, 9, 4), (8, 5, 4), (1, 6, 4), (2, 2, 4)]
LAYERS = [
    cs.layers.Average(2),
    cs.Conv(4, 3, 3),
    cs.Conv(4, 6, (3, 2), stride=(2, 3), padding=(1, 0), groups=2),
    cs.ConvTranspose(4, 6, (3, 5), stride=(3, 2), padding=(0, 3), groups=2, output_padding=(2, 1)),
    cs.Dense((7, 9, 4), 5),
    cs.Dense(100, 5),
    cs.Delay(4, dt=1.0),
    cs.Dropout(0.5),
    pytest.param(cs.layers.FilterBank(3, 6), marks=pytest.mark.all),
    pytest.param(cs.layers.TemporalFilter(cs.SRM()), marks=pytest.mark.all),
    cs.SumPool(3, stride=2, padding=1, gain=1.0),
    cs.AvgPool(3, stride=2, padding=1),
    cs.GlobalAvgPool(),
    cs.MaxPool((3, 2), stride=2, padding=1, dilation=(1, 2)),
    cs.layers.Shift(2.0),
    cs.layers.Unpool((3, 2), stride=(2, 4), padding=(3, 0), dilation=(1, 2), gain=1.0),
]


@pytest.mark.parametrize("layer", LAYERS, ids=repr)
def test_the_shape_is_that_of_the_output_and_so_is_the_error(layer):
    for shape in IMAGES:
        try:
            real = layer(np.zeros((2, 3, *shape), bool)).shape
        except ValueError as problem:
            with pytest.raises(ValueError, match=f"^{re.escape(str(problem))}$"):
                layer.output_shape(shape)
        else:
            assert (2, 3, *layer.output_shape(shape)) == real
    assert layer.output_shape(None) == {cs.layers.Average: (2,), cs.Dense: (5,)}.get(type(layer))


def test_a_window_needs_frames_and_the_channels_of_its_weight():
    layers = cs.Conv(4, 3, 1), cs.ConvTranspose(4, 3, 2), cs.SumPool(2, gain=1.0), cs.layers.Unpool(2, gain=1.0)
    for name, layer in zip(("conv", "conv_transpose", "pool", "unpool"), layers, strict=True):
        with pytest.raises(ValueError, match=rf"^{name}: x must be \(T, N, H, W, C\), got shape \(T, N, 8\)$"):
            layer.output_shape((8,))
    with refuses("conv: x has 3 channels, weight expects 4"):
        cs.Conv(4, 3, 1).output_shape((5, 5, 3))
    with refuses("conv_transpose: x has 3 channels, weight expects 4"):
        cs.ConvTranspose(4, 3, 1).output_shape((5, 5, 3))
