"""Convolution of numbers on the CPU: by lines, by Winograd's tiles, in groups, against plain sums."""

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer import kernels
from cuslayer.kernels.constants import Product, Window
from cuslayer.kernels.fused import cpu as fused_cpu
from cuslayer.kernels.synapse import matrix
from cuslayer.kernels.synapse.conv import cpu, lines, planes, winograd
from cuslayer.kernels.synapse.conv.cpu import merge, merged, split
from cuslayer.layers import fused
from tests.support import reference

pytestmark = pytest.mark.cpu_only


def normal(seed, shape, dtype="float64"):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def arrays(window, image, sizes, dtype):
    """Return an input, a weight and errors for frames, groups, channels and outputs of a group."""
    frames, groups, inputs, outputs = sizes
    maps = (frames, *window.outputs(image, ceil=False), outputs * groups)
    x, w = (frames, *image, inputs * groups), (*window.kernel, inputs, outputs * groups)
    return normal(0, x, dtype), normal(1, w, dtype), normal(2, maps, dtype)


def held(ours, theirs, size, roundings):
    """Compare a sum to the rounding of its terms, of which little may be left where they cancel."""
    assert ours.shape == theirs.shape
    size = max(size, float(np.linalg.norm(theirs)))
    assert np.linalg.norm(ours - theirs) <= roundings * np.finfo(ours.dtype).eps * size


def size_of(g, w, outputs):
    """Return the norm of a gradient whose terms neither cancel nor lie outside the image."""
    return float(np.linalg.norm(g) * np.linalg.norm(w) / np.sqrt(outputs))


@settings(max_examples=60)
@given(
    frames=st.integers(0, 7),
    kernel=st.sampled_from([3, 5]),
    image=st.tuples(st.integers(0, 9), st.integers(0, 9)),
    padding=st.tuples(st.integers(0, 5), st.integers(0, 5)),
    channels=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    gaps=st.sampled_from([(1, 1), (1, 1), (2, 2), (3, 1), (2, 4)]),
    dtype=st.sampled_from(["float32", "float64"]),
)
@example(1, 3, (1, 1), (1, 1), (1, 1), (1, 1), "float32")
@example(7, 3, (4, 4), (0, 2), (16, 1), (1, 1), "float32")
@example(7, 3, (5, 7), (3, 3), (17, 10), (1, 1), "float32")
@example(7, 3, (17, 17), (1, 1), (16, 64), (1, 1), "float32")
@example(3, 3, (17, 17), (0, 1), (17, 16), (1, 1), "float64")
@example(3, 5, (17, 17), (2, 2), (16, 10), (1, 1), "float32")
@example(3, 3, (17, 19), (2, 3), (16, 10), (2, 3), "float32")
def test_tiles_equal_the_sum(frames, kernel, image, padding, channels, gaps, dtype):
    sides = zip(image, padding, gaps, strict=True)
    assume(all(n + 2 * pad > (kernel - 1) * gap for n, pad, gap in sides))
    window = Window.of(kernel, 1, padding, gaps)
    _, w, g = arrays(window, image, (frames, 1, *channels), dtype)
    x = winograd.by_tiles(g, w, image, window)
    assert x.dtype == g.dtype
    held(x, reference.conv_input_adjoint(g, w, image, window, 1), size_of(g, w, channels[1]), 20)


def test_only_square_windows_of_many_channels_have_tiles():
    def has_tiles(kernel, inputs=16, outputs=16, stride=1, groups=1):
        w = np.zeros((*np.broadcast_to(kernel, 2), inputs, outputs))
        return winograd.has_tiles(w, Window.of(kernel, stride, 1, 1), groups)

    assert has_tiles(3)
    assert has_tiles(5)
    assert not any([has_tiles(4), has_tiles((3, 5)), has_tiles(3, inputs=15), has_tiles(3, outputs=15)])
    assert not any([has_tiles(3, stride=2), has_tiles(3, groups=2)])


def test_a_gradient_by_planes_keeps_zeros():
    window, image = Window.of(3, 1, 1, 1), (5, 5)
    _, w, g = arrays(window, image, (1, 1, 16, 16), "float32")
    g[:, 1:] = 0
    assert np.any(winograd.input_adjoint(g, w, image, window, 1)[:, 2:])
    with winograd.exact_zeros():
        assert not np.any(winograd.input_adjoint(g, w, image, window, 1)[:, 2:])


WINDOWS = [
    Window.of(1, 1, 0, 1),
    Window.of(1, 2, 1, 1),
    Window.of(3, 2, 1, 1),
    Window.of((5, 3), (2, 3), (2, 4), 1),
    Window.of(3, 1, 2, 2),
    Window.of((2, 3), (3, 1), (0, 3), (1, 2)),
    Window.of(7, 1, 3, 1),
    Window.of(3, 1, 1, 1),
]
SIZES = [(1, 1, 1, 1), (7, 1, 3, 10), (5, 2, 16, 17), (2, 4, 1, 1), (3, 6, 3, 5), (0, 1, 2, 2)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("window", WINDOWS)
def test_all_three_passes_equal_the_formula(window, sizes, dtype):
    for image in [(7, 5), (4, 9)]:
        if any(n + 2 * pad < (k - 1) * gap + 1 for n, k, _, pad, gap in zip(image, *window, strict=True)):
            continue
        (x, w, g), groups = arrays(window, image, sizes, dtype), sizes[1]
        y = cpu.forward(x, w, window, groups)
        held(y, reference.conv(x, w.astype(np.float64), *window[1:], groups), 1e-3, 4)
        gradient = cpu.input_adjoint(g, w, image, window, groups)
        held(gradient, reference.conv_input_adjoint(g, w, image, window, groups), size_of(g, w, sizes[3]), 20)
        of_w = cpu.weight_adjoint(x, g, window, groups)
        assert {a.dtype for a in (y, gradient, of_w)} == {np.dtype(dtype)}
        # Both gradients are adjoints: <conv(x, w), g> = <x, gradient> = <w, of_w>.
        terms = np.linalg.norm(y) * np.linalg.norm(g) + 1e-3
        for a, b in [(x, gradient), (w, of_w)]:
            assert abs(np.vdot(y, g) - np.vdot(a, b)) <= 40 * np.finfo(dtype).eps * terms
        # As on a GPU.
        held(y, matrix.conv(x, w, window, groups), 1e-3, 8)
        held(of_w, matrix.conv_weight_adjoint(x, g, window, groups), np.linalg.norm(g), 8)


@pytest.mark.parametrize("sizes", [(0, 4), (2, 0)])
def test_no_channels_and_no_outputs(sizes):
    x, w, g = arrays(Window.of(3, 1, 1, 1), (4, 4), (2, 1, *sizes), "float32")
    y = cpu.forward(x, w, Window.of(3, 1, 1, 1), 1)
    assert y.shape == g.shape
    assert not y.any()
    assert cpu.weight_adjoint(x, g, Window.of(3, 1, 1, 1), 1).shape == w.shape


def every_pass(window, groups):
    x, w, g = arrays(window, (7, 6), (23, groups, 4, 6), "float32")
    of_w = lines.weight_gradient(x, g, window, groups)
    passes = [lines.convolve(x, w, window, groups), of_w, planes.by_planes(g, w, (7, 6), window, groups)]
    tiled = groups == 1 and window.kernel == (3, 3)
    return [*passes, winograd.by_tiles(g, w, (7, 6), window)] if tiled else passes


@pytest.fixture(params=[1, 2], ids=["one group", "two groups"])
def groups(request):
    return request.param


@pytest.mark.parametrize("window", [Window.of(3, 1, 1, 1), Window.of((3, 2), 2, 1, 1), Window.of(1, 1, 0, 1)])
def test_blocks_leave_no_seam(window, groups, monkeypatch):
    """Several frames at once, two, one, and parts of one; memory that is NaN until it is written."""
    for module in (lines, planes, winograd):
        monkeypatch.setattr(module, "empty", lambda shape, dtype: np.full(shape, np.nan, dtype))
    whole = every_pass(window, groups)
    of_a_row = 8 * 4 * groups * 4
    for rows in (14, 7, 3, 1, 0):
        monkeypatch.setattr(lines, "_BLOCK_BYTES", rows * of_a_row)
        monkeypatch.setattr(winograd, "_BLOCK_BYTES", rows * 6 * 6 * 2 * 10 * 4)
        monkeypatch.setattr(planes, "_BLOCK_BYTES", rows * 12 * 10 * groups * 4)
        for ours, theirs in zip(every_pass(window, groups), whole, strict=True):
            held(ours, theirs, 0, 8)


@pytest.mark.parametrize("window", [Window.of(3, 1, 1, 1), Window.of(3, 2, 1, 1)])
def test_the_same_bits_on_any_number_of_cores(window, groups, monkeypatch):
    runs = []
    for module in (lines, planes, winograd):
        monkeypatch.setattr(module, "_BLOCK_BYTES", 20_000)
    for cores in (1, 2, 3):
        cs.threads(cores)
        runs.append([array.tobytes() for array in every_pass(window, groups)])
    assert runs[0] == runs[1] == runs[2]


def test_groups_of_few_channels_are_computed_as_one():
    sizes = (4, 8, 4), (1, 1, 64), (1, 1, 6), (16, 16, 3), (5, 9, 8), (2, 2, 1), (4, 4, 6), (5, 5, 9)
    assert [merged(*each) for each in sizes] == [4, 16, 6, 1, 4, 1, 6, 9]
    w = normal(0, (2, 3, 2, 12))
    whole = merge(w, 4, 2)
    assert whole.shape == (2, 3, 4, 12)
    x = normal(1, (2, 5, 5, 8))
    window = Window.of((2, 3), 1, 0, 1)
    np.testing.assert_allclose(matrix.conv(x, whole, window, 2), matrix.conv(x, w, window, 4), atol=1e-12)
    np.testing.assert_array_equal(split(whole, 4, 2), w)


def test_nothing_is_computed_for_an_input_without_gradient(monkeypatch):
    """The first layer's input: no kernel of an input gradient is called, in layers or passes of several stages."""
    calls = []

    def counted(name, kernel):
        return lambda *given: calls.append(name) or kernel(*given)

    # The input gradient of a transposed convolution is a convolution.
    names = {"conv": ["forward", "input_adjoint"], "dense": ["input_adjoint"], "pool": ["adjoint"]}
    for topic in names:
        module = getattr(kernels.cpu, topic)
        for name in names[topic]:
            monkeypatch.setattr(module, name, counted(f"{topic}.{name}", getattr(module, name)))
    monkeypatch.setattr(fused_cpu, "input_adjoint", counted("conv.input_adjoint", fused_cpu.input_adjoint))
    monkeypatch.setattr(fused, "Product", counted("product", Product))
    srm, s = cs.SRM(tau_sr=2.0), np.random.default_rng(0).random((12, 2, 6, 6, 2)) < 0.3
    networks = {
        "6x6x2-4c3": [],
        "6x6x2-4c3-2a-3": ["product"],
        "6x6x2-2a-4c3-3": ["product"],
        "72-5-3": ["product"],
        "6x6x2-4c3-4c3-3": ["product", "conv.input_adjoint"],
    }
    for notation, expected in networks.items():
        net = cs.Network(notation, srm)
        x = s.reshape(12, 2, -1) if notation.startswith("72") else s
        out = net(x)
        calls.clear()
        out.backward(np.ones(out.shape, np.float32))
        # A product that is computed calls the kernel.
        assert [name for name in calls if name != "dense.input_adjoint"] == expected, notation
    for numbers in (s, s.astype(np.float32)):
        for layer in (cs.Conv(2, 3, 3), cs.ConvTranspose(2, 3, 3), cs.Dense((6, 6, 2), 3)):
            y = layer(numbers)
            calls.clear()
            y.backward(np.ones(y.shape, np.float32))
            assert calls == []
            assert np.abs(layer.weight.grad).sum() > 0
