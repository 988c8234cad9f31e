"""Spikes of a convolution that are walked: rows in registers, runs of any length, every kind of window, threads."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import functions
from cuslayer._base import jit
from cuslayer.kernels.constants import Window
from cuslayer.kernels.host import vectors
from cuslayer.kernels.spikes.cpu import find_spikes
from cuslayer.kernels.synapse import matrix
from cuslayer.kernels.synapse.conv import spikes as conv_spikes
from cuslayer.kernels.synapse.conv import weight_sums
from tests.support import reference

pytestmark = pytest.mark.cpu_only

WINDOWS = {
    "plain": {"padding": 1},
    "stride": {"padding": 2, "stride": (2, 3)},
    "dilation": {"padding": 1, "dilation": (2, 2)},
    "stride and dilation": {"padding": 2, "stride": 2, "dilation": (1, 2)},
    "two groups": {"padding": 1, "groups": 2},
    "a group each": {"padding": 1, "groups": 4, "stride": (1, 2)},
}


@jit.compiled
def _rows(total, table, index, begin, end, runs, width, apart, table_apart):
    stride, flat = table.shape[1], table.reshape(table.size)
    vectors.add_rows(total, 3, apart, flat, 4, table_apart, stride, index, begin, end, runs, width)


def _sizes(itemsize):
    """Return pieces and their numbers that fit in the registers."""
    lanes = vectors.REGISTER_BYTES // itemsize
    most = vectors.KEPT_BYTES // itemsize
    sizes = [(1, width) for width in range(1, most + 1)]
    for pieces in range(2, most // lanes + 1):
        sizes += [(pieces, width) for width in range(1, most // lanes // pieces * lanes + 1, 3)]
    return sizes


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_of_every_width(dtype):
    """Rows of one number to six vectors, and pieces of them; the bits are those of a loop, and nothing else changes."""
    generator = np.random.default_rng(0)
    index = np.array([0, 1, 2, 4, 5, 6, 7], np.int32)
    itemsize = np.dtype(dtype).itemsize
    for pieces, width in _sizes(itemsize):
        for begin, end in ((0, 6), (1, 4), (2, 2), (3, 7)):
            apart, table_apart = width + 2, width + 3
            total = generator.standard_normal(pieces * apart + 6).astype(dtype)
            table = generator.standard_normal((8, pieces * table_apart + 8)).astype(dtype)
            sums = total.copy()
            for row in index[begin:end]:
                for piece in range(pieces):
                    to, at = 3 + piece * apart, 4 + piece * table_apart
                    sums[to : to + width] += table[row, at : at + width]
            _rows(total, table, index, begin, end, pieces, width, apart, table_apart)
            assert total.tobytes() == sums.tobytes()


@pytest.mark.parametrize("rate", [0.05, 0.8])
@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize("outputs", [1, 3, 17, 40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_window_adds_taps_in_order(kind, outputs, dtype, rate):
    """The weighted input has the bits of sums by rows, columns and channels of the window; gradients, the products'."""
    generator, options = np.random.default_rng(1), WINDOWS[kind]
    groups = options.get("groups", 1)
    x = generator.random((5, 2, 6, 7, 16)) < rate
    w = generator.standard_normal((3, 2, 16 // groups, outputs * groups)).astype(dtype)
    weight = cs.Tensor(w, requires_grad=True)
    y = functions.conv(x, weight, **options)
    frames, share = x.reshape(10, 6, 7, 16), outputs
    window = Window.of((3, 2), *(options.get(n, d) for n, d in (("stride", 1), ("padding", 0), ("dilation", 1))))
    expected = np.zeros((10, *y.shape[2:]), dtype)
    top, left = window.padding
    canvas = np.zeros((10, 6 + 2 * top + 4, 7 + 2 * left + 4, 16), bool)
    canvas[:, top : top + 6, left : left + 7] = frames
    rows, columns = y.shape[2:4]
    for i in range(3):
        for j in range(2):
            for c in range(16):
                group, channel = divmod(c, 16 // groups)
                low, across = i * window.dilation[0], j * window.dilation[1]
                met = canvas[:, low:, across:][:, :: window.stride[0], :: window.stride[1], c][:, :rows, :columns]
                mine = slice(group * share, (group + 1) * share)
                expected[..., mine] += np.where(met[..., None], w[i, j, channel, mine], 0).astype(dtype)
    assert y.data.reshape(expected.shape).tobytes() == expected.tobytes()
    g = generator.standard_normal(y.shape).astype(dtype)
    y.backward(g)
    plain = matrix.conv_weight_adjoint(frames.astype(dtype), g.reshape(expected.shape), window, groups)
    bound = 1e-5 if dtype == np.float32 else 1e-12
    assert np.linalg.norm(weight.grad - plain) <= bound * np.linalg.norm(plain)


def test_runs_longer_than_the_registers():
    generator = np.random.default_rng(2)
    x = generator.random((3, 1, 5, 5, 2)) < 0.4
    w = generator.standard_normal((3, 3, 2, 70))
    assert vectors.KEPT_BYTES < 3 * 70 * 8
    for gap in (1, 2):
        y = functions.conv(x, w, padding=gap, dilation=gap)
        expected = reference.conv(x[:, 0], w, (1, 1), (gap, gap), (gap, gap), 1)
        np.testing.assert_allclose(y.data[:, 0], expected, atol=1e-12)


@pytest.mark.parametrize("kind", WINDOWS)
@pytest.mark.parametrize("rate", [0.02, 0.6])
def test_any_number_of_threads_has_the_same_bits(kind, rate):
    """Also in one pass with its neurons, where steps are no multiple of a chunk."""
    generator, options, srm = np.random.default_rng(3), WINDOWS[kind], cs.SRM(tau_sr=3.0)
    groups = options.get("groups", 1)
    x = generator.random((70, 3, 6, 7, 4)) < rate
    w = (generator.standard_normal((3, 2, 4 // groups, 6 * groups)) * 5).astype(np.float32)
    found = []
    for threads in (1, 2, 3):
        cs.threads(threads)
        weight = cs.Tensor(w, requires_grad=True)
        s = functions.conv_neuron(x, weight, spiking=srm.spiking, **options)
        s.backward(np.random.default_rng(4).standard_normal(s.shape).astype(np.float32))
        with cs.no_grad():
            silent = functions.conv_neuron(x, w, spiking=srm.spiking, **options)
        assert (silent.data == s.data).all()
        found.append((s.data.tobytes(), weight.grad.tobytes()))
    assert s.data.any()
    assert found[0] == found[1] == found[2]


# Busy frames: products in registers, of the bits of walks, and sums of weight gradients in order


SHAPES = {
    "plain": Window((3, 3), (1, 1), (1, 1), (1, 1)),
    "no padding": Window((5, 2), (1, 1), (0, 0), (1, 1)),
    "stride": Window((3, 4), (2, 3), (1, 2), (1, 1)),
    "gaps in columns of a window": Window((3, 3), (1, 2), (2, 3), (2, 1)),
    "more padding than image": Window((2, 3), (1, 1), (7, 9), (1, 1)),
}


@jit.compiled
def _multiply(out, a, b, sizes):
    rows, times, terms, width = sizes
    at = (3, b.shape[1] + 2, a, 0, terms * times, 1, terms, b.reshape(b.size), 1, b.shape[1], terms * b.shape[1])
    out_at, out_row, left, a_at, a_row, a_k, a_j, flat, b_at, b_k, b_j = at
    vectors.multiply(out, out_at, out_row, left, a_at, a_row, a_k, a_j, flat, b_at, b_k, b_j, terms, times, rows, width)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rows", [0, 1, 2, 3, 7, 8, 21])
@pytest.mark.parametrize("width", [0, 1, 15, 16, 33, 48, 49, 100])
def test_products_of_every_size(rows, width, dtype):
    """Sums of spikes and rows have the bits of a loop, sums of numbers its rounding; nothing beside is touched."""
    generator, (times, terms) = np.random.default_rng(rows * 100 + width), (2, 5)
    b = generator.standard_normal((times * terms, width + 3)).astype(dtype)
    for spikes in (True, False):
        a = generator.standard_normal((rows, times * terms)).astype(dtype)
        a = (a > 0).astype(dtype) if spikes else a
        out = generator.standard_normal(rows * (width + 5) + 3).astype(dtype)
        expected = out.copy()
        for row in range(rows):
            total = np.zeros(width, dtype)
            for k in range(times * terms):
                total += a[row, k] * b[k, 1 : 1 + width]
            expected[3 + row * (width + 5) : 3 + row * (width + 5) + width] = total
        _multiply(out, a.ravel(), b, (rows, times, terms, width))
        if spikes:
            assert out.tobytes() == expected.tobytes()
        assert np.allclose(out, expected, rtol=0, atol=40 * np.finfo(dtype).eps)


def _both(x, w, window, rows=None, groups=1):
    """Return whether a product is made, and the rows of all maps by the product and by the walk."""
    frames, outputs = len(x), w.shape[3]
    spikes = conv_spikes.where(find_spikes(x), window, outputs, w.dtype, groups)
    height, columns = window.outputs(x.shape[1:3], ceil=False)
    low, high = rows or (0, height)
    product, walk = np.full((2, frames, (high - low) * columns * outputs + 4), 7, w.dtype)
    given = (2, (1, 0), low, high, columns * outputs, spikes, conv_spikes.taps_in_runs(w, window, groups))
    made = conv_spikes._multiply_rows(0, frames, product, *given)
    conv_spikes._add_spikes(0, frames, walk, *given)
    return made, product, walk


@pytest.mark.parametrize("window", SHAPES.values(), ids=list(SHAPES))
@pytest.mark.parametrize("outputs", [1, 16, 50])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_product_has_the_bits_of_a_walk(window, outputs, dtype):
    """For windows of every kind, whole maps and some of their rows; what lies beside them is left as it was."""
    generator = np.random.default_rng(0)
    x = generator.random((6, 8, 9, 2)) < 0.9
    w = generator.standard_normal((*window.kernel, 2, outputs)).astype(dtype)
    for rows in (None, (1, 3), (0, 1)):
        made, product, walk = _both(x, w, window, rows)
        if not made:  # a map that is mostly padding has few spikes
            assert window == SHAPES["more padding than image"]
            continue
        assert product.tobytes() == walk.tobytes()


@pytest.mark.parametrize("window", [SHAPES[name] for name in ("plain", "no padding", "stride")])
@pytest.mark.parametrize(("groups", "inputs", "share"), [(2, 3, 12), (4, 1, 8), (16, 1, 2), (3, 2, 5), (2, 2, 1)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_product_of_all_groups_has_the_bits_of_a_walk(window, groups, inputs, share, dtype):
    """The pieces of a group hold outputs of others too, which its spikes do not change."""
    generator = np.random.default_rng(0)
    x = generator.random((6, 8, 9, groups * inputs)) < 0.9
    w = generator.standard_normal((*window.kernel, inputs, groups * share)).astype(dtype)
    for rows in (None, (1, 3)):
        made, product, walk = _both(x, w, window, rows, groups)
        assert made
        assert product.tobytes() == walk.tobytes()


def test_a_product_is_not_made_where_it_does_not_pay():
    """Of few spikes, of windows with gaps in a row, of nothing, and of weights that are not finite."""
    generator, window = np.random.default_rng(0), SHAPES["plain"]
    x = generator.random((6, 8, 9, 2))
    w = generator.standard_normal((3, 3, 2, 16)).astype(np.float32)
    assert _both(x < 0.9, w, window)[0]
    assert not _both(x < 0.02, w, window)[0]
    assert not _both(x < 0.9, w, window._replace(dilation=(1, 2)))[0]
    assert not _both(x[:0] < 0.9, w, window)[0]
    assert not _both(x < 0.9, w[..., :0], window)[0]
    w[1, 1, 0, 3] = np.inf
    assert not _both(x < 0.9, w, window)[0]


@pytest.mark.parametrize("rate", [0.1, 0.7])
@pytest.mark.parametrize("window", SHAPES.values(), ids=list(SHAPES))
def test_weight_gradients_are_summed_in_order(window, rate):
    """Chunks from the last to the first, eight steps at a time, then rows, steps and columns, to the bit."""
    generator, steps = np.random.default_rng(0), 41
    outputs = 1 if window == SHAPES["more padding than image"] else 3
    x = generator.random((steps, 5, 6, 2)) < rate
    found = find_spikes(x)
    m = conv_spikes.maps(found, steps, outputs, window)
    assert m.blocks == 1
    g = generator.standard_normal((steps, m.rows, m.columns, outputs)).astype(np.float32)
    (high, wide), (down, across), (top, left), (gap_y, gap_x) = window
    canvas = np.zeros((steps, 5 + 2 * top + 9, 6 + 2 * left + 9, 2), bool)
    canvas[:, top : top + 5, left : left + 6] = x
    expected = np.zeros((high, wide, 2, outputs), np.float32)
    chunks = [range(9, 41), range(9)]
    for chunk in chunks:
        for begin in range(chunk.start, chunk.stop, 8):
            for y in range(m.rows):
                for t in range(begin, min(begin + 8, chunk.stop)):
                    for z in range(m.columns):
                        patch = canvas[t, y * down :, z * across :][: high * gap_y : gap_y, : wide * gap_x : gap_x]
                        expected[patch] += g[t, y, z]
    ours = weight_sums.weight_adjoint(found, g, window, 1, steps)
    assert ours.tobytes() == expected.tobytes()
