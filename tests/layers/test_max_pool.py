"""Mean and maximum pooling by PyTorch's rules: windows within the frame, the gradient of the first largest pixel."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import functions
from tests.support import reference
from tests.support.refused import refuses

pairs = st.tuples(st.integers(1, 4), st.integers(1, 5))


def sizes(window, image):
    kernel, stride, padding, dilation = window
    parts = zip(image, kernel, stride, padding, dilation, strict=True)
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in parts)


@st.composite
def windows(draw):
    """A window and an image for `max_pool`: at least one window, each with a pixel."""
    kernel, stride, dilation = draw(pairs), draw(pairs), (draw(st.integers(1, 3)), draw(st.integers(1, 2)))
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    padding = tuple(draw(st.integers(0, r // 2)) for r in reach)
    least = [max(1, d if p else 1, r - 2 * p) for d, p, r in zip(dilation, padding, reach, strict=True)]
    return (kernel, stride, padding, dilation), tuple(n + draw(st.integers(0, 5)) for n in least)


@settings(max_examples=60)
@given(windows(), st.integers(1, 4), st.integers(0, 99))
def test_equals_the_formula(drawn, channels, seed):
    window, image = drawn
    options = dict(zip(("kernel_size", "stride", "padding", "dilation"), window, strict=True))
    rng, outputs = np.random.default_rng(seed), sizes(window, image)
    # Whole numbers, so that pixels of a window are often equal.
    x, g = rng.integers(-2, 3, (2, 1, *image, channels)).astype(np.float32), rng.random((2, 1, *outputs, channels))
    for given_x in (x, x > 0):
        t = cs.Tensor(given_x, requires_grad=True)
        y = cs.MaxPool(**options)(t)
        largest, gradient = reference.max_pool(given_x[:, 0], g[:, 0], *window)
        assert y.dtype == given_x.dtype
        assert (y.data[:, 0] == largest).all()
        y.backward(g.astype(np.float32))
        np.testing.assert_allclose(t.grad[:, 0], gradient, rtol=1e-6)
        mean = cs.AvgPool(**options)(t)
        taps = window[0][0] * window[0][1]
        expected = reference.pool(given_x[:, 0], *window, 1.0 / taps)[:, : outputs[0], : outputs[1]]
        assert mean.shape == (*given_x.shape[:2], *outputs, channels)
        np.testing.assert_allclose(mean.data[:, 0], expected, atol=1e-5)
        t.grad = None
        mean.backward(g.astype(np.float32))
        assert np.vdot(mean.data, g) == pytest.approx(np.vdot(given_x, t.grad), rel=1e-4, abs=1e-4)


@pytest.mark.all
def test_gradients():
    x = np.random.default_rng(1).standard_normal((2, 2, 7, 5, 3))
    for layer in (
        *(cs.MaxPool(2), cs.MaxPool(3, stride=2, padding=1, dilation=(1, 2)), cs.MaxPool(17, padding=8, stride=3)),
        *(cs.AvgPool(2), cs.AvgPool((3, 2), stride=(1, 4), padding=1), cs.GlobalAvgPool()),
    ):
        assert cs.gradcheck(layer, x) < 1e-6, layer


def test_the_mean_of_a_frame():
    x = np.random.default_rng(2).random((3, 2, 5, 4, 3)) < 0.4
    for given_x in (x, x.astype(np.float32) - 0.3):
        y = cs.GlobalAvgPool()(given_x)
        assert y.dtype == np.float32
        np.testing.assert_allclose(y.data, given_x.mean(axis=(2, 3)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("layer", [cs.AvgPool(2), cs.MaxPool(2), cs.GlobalAvgPool()], ids=repr)
def test_no_frames_and_one_pixel(layer):
    for steps, samples in ((0, 1), (2, 0)):
        x = np.zeros((steps, samples, 3, 3, 2), np.float32)
        assert layer(x).shape == (steps, samples, *layer.output_shape((3, 3, 2)))
    of_one = layer if isinstance(layer, cs.GlobalAvgPool) else type(layer)(1)
    x = np.array([0.5, -2.0], np.float32).reshape(1, 1, 1, 1, 2)
    assert of_one(x).data.ravel().tolist() == [0.5, -2.0]


def test_what_is_not_a_number_wins():
    x = np.array([1.0, np.nan, 3.0, -np.inf], np.float32).reshape(1, 1, 2, 2, 1)
    assert np.isnan(cs.MaxPool(2)(x).data).all()
    assert cs.MaxPool(1)(x).data.ravel()[3] == -np.inf


def test_errors():
    frames = np.zeros((1, 1, 1, 4, 1), np.float32)
    for message, action in (
        ("MaxPool: padding must be at most 1, half of what the window spans, got 2", lambda: cs.MaxPool(3, padding=2)),
        ("max_pool: padding must be at most 1", lambda: functions.max_pool(frames, kernel_size=2, padding=2)),
        ("max_pool: the window spans 2 rows, the padded image has 1", lambda: cs.MaxPool(2)(frames)),
        ("pool: the window spans 2 rows, the padded image has 1", lambda: cs.AvgPool(2)(frames)),
        (
            "max_pool: padding of 2 leaves a window without a pixel of the 1",
            lambda: cs.MaxPool((2, 1), padding=(2, 0), dilation=4)(frames),
        ),
        (
            "GlobalAvgPool: x must have pixels, got 0 rows and 4 columns",
            lambda: cs.GlobalAvgPool().output_shape((0, 4, 1)),
        ),
        ("GlobalAvgPool: x must be (T, N, H, W, C), got shape (4, 1)", lambda: cs.GlobalAvgPool()(frames[0, 0, 0])),
    ):
        with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
            action()


def test_a_layer_shows_its_options_and_has_no_scale():
    layer = cs.MaxPool((3, 2), stride=(2, 1), padding=1, dilation=(1, 2))
    assert repr(layer) == "MaxPool((3, 2), stride=(2, 1), padding=(1, 1), dilation=(1, 2))"
    assert repr(cs.AvgPool(2)) == "AvgPool((2, 2))"
    for each in (layer, cs.AvgPool(2), cs.GlobalAvgPool()):
        assert (each.scalable, each.parameters(), each.state_numbers) == (False, [], ())


def pooled():
    """A network with each of the layers, behind spikes and behind numbers."""
    neurons = cs.SRM(theta=1.0)
    return cs.Sequential(
        *(cs.Conv(2, 4, 3, padding=1), cs.MaxPool(3, stride=2, padding=1), neurons, cs.AvgPool(2, stride=1), neurons),
        *(cs.Conv(4, 4, 1), neurons, cs.MaxPool(2), cs.GlobalAvgPool(), cs.Dense(4, 3), neurons),
    )


@pytest.mark.all
def test_a_network(tmp_path):
    """It is inspected, saved, and runs as a stream like any other; spikes stay spikes."""
    net, x = pooled(), np.random.default_rng(3).random((30, 2, 7, 8, 2)) < 0.3
    cs.calibrate(net, [(x, [0, 1])])
    assert cs.diagnose(net, [(x, [0, 1])]).layers
    with cs.record(net) as seen:
        y = net(x).data
    assert net[7](seen[6].spikes).dtype == bool
    cs.save(net, tmp_path / "net.cs")
    again = cs.load(tmp_path / "net.cs")
    assert repr(again) == repr(net)
    assert (again(x).data == y).all()
    stream = net.stream()
    assert (np.concatenate([stream(x[:13]), stream(x[13:])]) == y).all()
    for at in (2, 4, 6, 10):
        time, sample, *index = map(int, np.argwhere(seen[at].spikes)[-1])
        why = cs.explain(net, x, at, tuple(index), time, sample=sample)
        assert why.contributions.sum() + why.refractory == pytest.approx(why.potential, rel=1e-4, abs=1e-3)
    names = [row.name.split("(")[1] for row in cs.inspection.count_operations(net, x).layers]
    assert names == ["Conv", "AvgPool", "Conv", "GlobalAvgPool", "Dense"]
    assert cs.write_report(net, x, tmp_path / "page.html", target=[0, 1]).exists()
    with refuses("write_demo: net must have a layer of weights or pooling, and whole delays, before each"):
        cs.write_demo(net, tmp_path / "demo.html", shape=(7, 8, 2), duration=30.0)
