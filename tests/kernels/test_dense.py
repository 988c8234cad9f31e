"""Dense layers of busy spikes on the CPU: sums of subsets of rows, and when they are chosen."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.kernels import cpu
from cuslayer.kernels.constants import WIDEST_ON_GPU, Product
from cuslayer.kernels.fused import cpu as fused
from cuslayer.kernels.spikes.cpu import _LONG, by_column, find_spikes
from cuslayer.kernels.synapse.dense import cpu as dense

pytestmark = pytest.mark.cpu_only
RNG = np.random.default_rng(15)
# Rows, inputs and outputs: none, one, those that fill a word of codes or a vector, and several parts of lines.
SIZES = [
    (0, 5, 3),
    (4, 0, 3),
    (4, 5, 0),
    (1, 1, 1),
    (36, 72, 16),
    (7, 37, 17),
    (41, 6, 8),
    (70, 44, 33),
    (300, 45, 9),
    (9000, 9, 3),
    (5, 900, 20),
]


def exact(x, w):
    return x.astype(np.float64) @ w.astype(np.float64)


def by_six(x, w):
    """Return x w in the order of both ways: the rows of each six neighbours first."""
    sums = np.zeros((len(x), w.shape[1]), w.dtype)
    for low in range(0, len(w), 6):
        some = np.zeros_like(sums)
        for i in range(low, min(low + 6, len(w))):
            some[x[:, i]] += w[i]
        sums += some
    return sums


@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("rate", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_both_ways_add_in_one_order(sizes, rate, dtype):
    rows, inputs, outputs = sizes
    x = RNG.random((rows, inputs)) < rate
    w, g = RNG.standard_normal((inputs, outputs)).astype(dtype), RNG.standard_normal((rows, outputs)).astype(dtype)
    w[RNG.random(inputs) < 0.2], g[RNG.random(rows) < 0.2] = -0.0, np.inf
    found = cpu.spikes.find_spikes(x)
    for ways, expected in (
        ((dense.look_up(found, w), dense.sum_rows(found, w), dense.forward(found, w)), by_six(x, w)),
        ((dense.look_up_back(found, g), dense.sum_rows_back(found, g), dense.weight_adjoint(found, g)), by_six(x.T, g)),
    ):
        for y in ways:
            assert (y.dtype, y.shape) == (np.dtype(dtype), expected.shape)
            assert y.tobytes() == expected.tobytes()


def with_threads(threads, work):
    cs.threads(threads)
    return work()


@pytest.mark.parametrize("rate", [0.03, 0.5])
@pytest.mark.parametrize(("rows", "inputs", "outputs"), [(2500, 77, 19), (700, 300, 130)])
def test_the_same_bits_on_any_number_of_threads(rows, inputs, outputs, rate):
    x = RNG.random((rows, inputs)) < rate
    w, g = RNG.standard_normal((inputs, outputs), np.float32), RNG.standard_normal((rows, outputs), np.float32)

    def work():
        found = cpu.spikes.find_spikes(x)
        return cpu.dense.forward(found, w).tobytes(), cpu.dense.weight_adjoint(found, g).tobytes()

    assert len({with_threads(threads, work) for threads in (1, 2, 3)}) == 1


def test_tables_are_chosen_by_the_activity(monkeypatch):
    ways = []
    monkeypatch.setattr(dense, "look_up", lambda x, w: ways.append("forward"))
    monkeypatch.setattr(dense, "look_up_back", lambda x, g: ways.append("back"))
    w, g = np.ones((100, 64), np.float32), np.ones((2000, 64), np.float32)
    for rate, chosen in ((0.0, []), (0.04, []), (1.0, ["forward", "back"])):
        found = find_spikes(RNG.random((2000, 100)) < rate)
        ways.clear()
        dense.forward(found, w)
        dense.weight_adjoint(found, g)
        assert ways == chosen
    few = find_spikes(np.ones((1, 100), bool))
    ways.clear()
    dense.forward(few, w)
    assert ways == []


@pytest.mark.parametrize("samples", [1, 40])
@pytest.mark.parametrize("rate", [0.02, 0.12, 0.6])
def test_a_stream_of_busy_spikes_has_those_of_the_whole_pass(samples, rate):
    cs.seed(3)
    net = cs.Sequential(cs.Dense(300, 70), cs.SRM(), cs.Dense(70, 9), cs.SRM())
    x = RNG.random((60, samples, 300)) < rate * RNG.random((60, samples, 1)) * 2
    with cs.no_grad():
        whole = net(x).data
        stream, chunks = net.stream(), net.stream()
        assert whole.any() == (rate > 0.1)
        assert (np.concatenate([stream(x[t : t + 1]).data for t in range(60)]) == whole).all()
        assert (np.concatenate([chunks(x[t : t + 25]).data for t in range(0, 60, 25)]) == whole).all()
    assert (net(x).data == whole).all()


# Backward: errors that are added in parts, and gradients of spikes that are products


def count_parts(monkeypatch):
    """Return a list of what `sum_rows_back` adds, and the parts in which it does."""
    added, run = [], dense.parallel_for

    def counted(kernel, size, *arguments, **options):
        if kernel is dense._add_rows_before:
            added.append(arguments[0])
        run(kernel, size, *arguments, **options)

    monkeypatch.setattr(dense, "parallel_for", counted)
    return added


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    ("lines", "inputs", "outputs", "rate"),
    [(300, 40, 9, 0.1), (301, 33, 130, 0.02), (64, 5, 1, 0.9), (1000, 7, 19, 0.004), (50, 3, 4, 0.0)],
)
def test_errors_in_parts_have_the_bits_of_all_at_once(monkeypatch, lines, inputs, outputs, rate, dtype):
    g, x = RNG.standard_normal((lines, outputs)).astype(dtype), RNG.random((lines, inputs)) < rate
    x[:, 0], x[::2, 1] = False, True
    found = cpu.spikes.find_spikes(x)
    whole = dense.sum_rows_back(found, g)
    added = count_parts(monkeypatch)
    monkeypatch.setattr(dense, "_SPIKES_PER_SUM", 0)
    for together in (1, 5, 32):
        monkeypatch.setattr(dense, "_BLOCK_BYTES", together * outputs * g.itemsize)
        for threads in (1, 3):
            cs.threads(threads)
            added.clear()
            assert dense.sum_rows_back(found, g).tobytes() == whole.tobytes()
            # No part ends between neighbours.
            part = -(-together // 6) * 6
            assert added == ([*range(part, lines, part), lines] if lines > 2 * part else [])


def adjoint_of(product, u, steps, srm):
    """Return the gradient of a product, and that of the same product as an array."""
    constants = np.empty((0, 1), u.dtype), srm.spiking
    one = fused.dense_neuron_adjoint(product, u.copy(), steps, *constants)
    other = fused.dense_neuron_adjoint(product.errors @ product.weight.T, u.copy(), steps, *constants)
    return one, other


@pytest.mark.parametrize("gradient", ["slayer", "exact"])
@pytest.mark.parametrize("following", [0, 1, 3, WIDEST_ON_GPU, WIDEST_ON_GPU + 1, 300])
@pytest.mark.parametrize(
    ("steps", "samples", "outputs"),
    [(0, 2, 3), (5, 0, 3), (1, 1, 1), (31, 3, 7), (32, 1, 300), (33, 2, 513), (100, 5, 130), (64, 70, 9), (40, 2, 0)],
)
def test_a_gradient_that_is_a_product(steps, samples, outputs, following, gradient):
    srm, rows = cs.SRM(tau_sr=3.0, cutoff=0.2, gradient=gradient), steps * samples
    for dtype, tolerance in ((np.float32, 1e-5), (np.float64, 1e-12)):
        u = (RNG.standard_normal((rows, outputs)) * 9).astype(dtype)
        errors, weight = (RNG.standard_normal((size, following)).astype(dtype) for size in (rows, outputs))
        found = set()
        for threads in (1, 3):
            cs.threads(threads)
            one, other = adjoint_of(Product(errors, weight), u, steps, srm)
            assert (one.dtype, one.shape) == (u.dtype, u.shape)
            assert np.abs(one - other).max(initial=0) <= tolerance * max(1, np.abs(other).max(initial=0))
            found.add(one.tobytes())
        assert len(found) == 1


# The spikes of a layer's input: their number, and their bits and the list of positions


# Lines of less than a word of 64 bits, of one, of several and of parts of them.
SHAPES = [(5, 16), (70, 7), (3, 2, 4, 2), (0, 8), (4, 0), (1, 1), (0, 2, 2, 1), (200, 33), (3, 64), (5, 128), (40, 131)]


def booleans(words, shape):
    """Return bits as the boolean array."""
    split = len(shape) // 2
    lines, places = math.prod(shape[:split]), math.prod(shape[split:])
    bits = words[:, :, None] >> np.arange(64, dtype=np.uint64) & np.uint64(1)
    flat = bits.reshape(lines, 64 * words.shape[1]).astype(bool)
    assert not flat[:, places:].any()
    return flat[:, :places].reshape(shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_bits_and_list_are_built_from_each_other(shape, rate):
    x = RNG.random(shape) < rate
    found = find_spikes(x)
    assert found.shape == shape
    assert found.count == x.sum()
    assert found.activity == (x.mean() if x.size else 0)
    words = found.words
    assert words is found.words
    assert words.dtype == np.uint64
    assert np.array_equal(booleans(words, shape), x)
    index = found.index
    assert index is found.index
    lines = len(found.start) - 1
    assert index.tolist() == np.nonzero(x.reshape(lines, -1) if x.size else np.zeros((1, 0)))[1].tolist()
    assert found.words is not words, "the bits were released with the list built"
    assert np.array_equal(found.words, words)
    assert np.array_equal(found.index, index)
    assert found.index is not index, "the list was released with the bits built"


def test_spikes_in_another_order_of_memory():
    x = RNG.random((16, 12)) < 0.5
    found = find_spikes(x.T)
    assert np.array_equal(booleans(found.words, (12, 16)), x.T)
    assert found.index.tolist() == np.nonzero(x.T)[1].tolist()


def test_the_array_is_the_callers():
    x = RNG.random((40, 90)) < 0.5
    for name in ("words", "index"):
        found, expected = find_spikes(x), getattr(find_spikes(x.copy()), name)
        before = x.copy()
        x[:] = ~x
        assert np.array_equal(getattr(found, name), expected)
        x[:] = before


def test_threads_that_ask_at_once_get_the_same():
    x = RNG.random((400, 64)) < 0.2
    expected = np.nonzero(x)[1]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(20):
            found = find_spikes(x)
            asked = [pool.submit(lambda f=found, i=i: f.words if i % 2 else f.index) for i in range(16)]
            for i, answer in enumerate(asked):
                got = answer.result()
                assert np.array_equal(booleans(got, x.shape) if i % 2 else got, x if i % 2 else expected)


def test_a_long_list_is_sorted_in_parts():
    x = RNG.random((3001, 41)) < 0.5
    found = find_spikes(x)
    assert found.count > _LONG
    begin, rows = by_column(found.start, found.index, 41)
    columns, expected = np.nonzero(x.T)
    assert rows.tolist() == expected.tolist()
    assert np.diff(begin).tolist() == np.bincount(columns, minlength=41).tolist()
