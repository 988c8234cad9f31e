"""Steps of an optimizer for several weights in one launch: emulated CUDA against the CPU, to the bit."""

import math
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.cuda.compile import ARRAYS
from tests.kernels.test_twins import dtypes, same_bits, seeds
from tests.kernels.test_twins_conv import emulator as emulator

# A tile has 1,024 elements.
sizes = st.lists(st.sampled_from([0, 1, 5, 255, 256, 1023, 1024, 1025, 2050]), min_size=1, max_size=10)


WATCH = np.zeros((2, 2), np.int64)
# Arrays of two launches.
COUNT = ARRAYS + 2


def drawn(rng, shapes, dtype):
    return [rng.standard_normal(size).astype(dtype) for size in shapes]


def bounds(rng, count):
    """Return the bounds of each array, some of them none."""
    found = np.sort(rng.standard_normal((count, 2)), axis=1)
    found[rng.random(count) < 0.5] = -math.inf, math.inf
    return found


def copies(arrays):
    return [None if a is None else a.copy() for a in arrays]


def on_cpu(name, w, g, v, *state, constants, rates, step, watch):
    """Take the step of a kernel on the CPU, with its numbers, bounds, counter and notes."""
    now, own = rates[min(step[0], len(rates) - 1)], constants[:, :-2]
    if name == "sgd_all":
        cpu.optim.sgd_each(w, g, v, np.concatenate([now, own], axis=1))
    else:
        cpu.optim.adam_each(w, g, v, *state, np.concatenate([own[:, :2], now, own[:, 2:]], axis=1))
    for i, (least, most) in enumerate(constants[:, -2:]):
        w[i].clip(least, most, out=w[i])
        watched = [w[i], v[i], *(arrays[i] for arrays in state[:1])]
        for place, arrays in enumerate(([g[i]], watched)):
            if not watch[i, place] and not all(np.isfinite(a).all() for a in arrays):
                watch[i, place] = step.sum() + 1
    step[0] += 1


def on_gpu(name, *arrays, **numbers):
    getattr(gpu.optim, name)(*arrays, **numbers)


def both(name, arrays, constants, rates, steps, row):
    """Take steps on both devices, one more than the table has rows, and compare every array, the counter too."""
    found = []
    for take in (on_cpu, on_gpu):
        given, step = {key: copies(value) for key, value in arrays.items()}, np.array([row, 40])
        watch = np.zeros((len(given["w"]), 2), np.int64)
        for _ in range(steps):
            take(name, *given.values(), constants=constants, rates=rates, step=step, watch=watch)
        assert step.tolist() == [row + steps, 40]
        found.append({**given, "watch": [watch]})
    for key in found[0]:
        for ours, theirs in zip(found[1][key], found[0][key], strict=True):
            if theirs is not None:
                same_bits(ours, theirs)


@settings(max_examples=20)
@given(sizes, dtypes, seeds)
def test_sgd_all(shapes, dtype, seed):
    rng, count = np.random.default_rng(seed), len(shapes)
    arrays = {key: drawn(rng, shapes, dtype) for key in "wgv"}
    constants = np.concatenate([rng.random((count, 2)), bounds(rng, count)], axis=1).astype(dtype)
    both("sgd_all", arrays, constants, rng.random((3, count, 1)).astype(dtype), 3, 1)


@settings(max_examples=20)
@given(sizes, dtypes, seeds)
def test_adam_all(shapes, dtype, seed):
    rng, count = np.random.default_rng(seed), len(shapes)
    arrays = {key: drawn(rng, shapes, dtype) for key in ("w", "g", "m", "v", "peak")}
    arrays["v"] = [abs(v) for v in arrays["v"]]
    arrays["peak"] = [abs(peak) if rng.random() < 0.5 else None for peak in arrays["peak"]]
    constants = np.concatenate([rng.random((count, 4)), bounds(rng, count)], axis=1).astype(dtype)
    rates = rng.random((3, count, 3)).astype(dtype)
    both("adam_all", arrays, constants, rates, 3, 1)


def test_clipping_is_numpys():
    w = np.array([-0.0, 0.0, -1.0, 1.0, math.nan], np.float32)
    zeros = np.zeros_like(w)
    for least, most in ((0.0, 0.5), (-0.5, -0.0), (-math.inf, math.inf)):
        given, step = w.copy(), np.zeros(2, np.int64)
        constants = np.array([[0, 0, least, most]], np.float32)
        gpu.optim.sgd_all([given], [zeros], [zeros.copy()], constants, np.zeros((1, 1, 1), np.float32), step, WATCH[:1])
        np.testing.assert_array_equal(given, w.clip(least, most))


def test_arrays_of_a_launch(emulator):
    for count, launches in ((1, 1), (ARRAYS, 1), (ARRAYS + 1, 2)):
        w, g, v = ([np.full(3, 1.0 + i, np.float32) for i in range(count)] for _ in range(3))
        emulator.launches.clear()
        step, constants = np.zeros(2, np.int64), np.zeros((count, 4), np.float32)
        constants[:, 1], constants[:, 2:] = np.arange(count), (-math.inf, math.inf)
        rates, watch = np.arange(count, dtype=np.float32).reshape(1, count, 1), np.zeros((count, 2), np.int64)
        gpu.optim.sgd_all(w, g, v, constants, rates, step, watch)
        assert [x.tolist() for x in w] == [[1 + i - i * (1.0 + i) ** 2] * 3 for i in range(count)]
        assert emulator.launches == ["sgd_all"] * launches
        assert step.tolist() == [1, 0]


def test_an_array_that_does_not_fit_is_refused_by_its_name(emulator):
    w, g, v = ([np.ones(3, np.float32), np.ones(4, np.float32)] for _ in range(3))
    constants, rates, step = np.zeros((2, 4), np.float32), np.ones((1, 2, 1), np.float32), np.zeros(2, np.int64)
    emulator.launches.clear()
    with pytest.raises(TypeError, match=r"^sgd_all: g1 is float64, the kernel wants float32$"):
        gpu.optim.sgd_all(w, [g[0], g[1].astype(float)], v, constants, rates, step, WATCH[:2])
    with pytest.raises(ValueError, match=r"^sgd_all: w1 must be C-contiguous"):
        gpu.optim.sgd_all([w[0], np.ones(8, np.float32)[::2]], g, v, constants, rates, step, WATCH[:2])
    assert emulator.launches == []
    assert step.tolist() == [0, 0]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["sgd_all", "adam_all"])
def test_the_first_step_that_is_not_finite_is_noted(name, dtype):
    """Of arrays in two launches: in the last element of a gradient, in a velocity or mean, and in a weight."""
    keys = ("w", "g", "v") if name == "sgd_all" else ("w", "g", "m", "v", "peak")
    for on_device in (on_cpu, on_gpu):
        arrays = {key: [np.ones(1030, dtype) for _ in range(COUNT)] for key in keys}
        momenta = arrays["v" if name == "sgd_all" else "m"]
        constants = np.zeros((COUNT, 4 if name == "sgd_all" else 6), dtype)
        constants[:, -2:] = -math.inf, math.inf
        rates, step = np.ones((4, COUNT, 1 if name == "sgd_all" else 3), dtype), np.array([0, 300])
        watch = np.zeros((COUNT, 2), np.int64)
        if name == "adam_all":
            arrays["peak"] = [None] * COUNT
            constants[:, :3] = 0.5, 0.5, 1.0

        numbers = {"constants": constants, "rates": rates, "step": step, "watch": watch}
        take = partial(on_device, name, *arrays.values(), **numbers)
        take()
        assert not watch.any()
        arrays["g"][COUNT - 1][-1], momenta[3][1000], arrays["w"][4][7] = math.nan, math.inf, math.inf
        expected = [[0, 0]] * COUNT
        expected[COUNT - 1], expected[4] = [302, 302], [0, 302]
        expected[3] = [0, 302]
        if name == "adam_all":
            arrays["v"][5][2], expected[5] = math.inf, [0, 302]
        with np.errstate(all="ignore"):
            take()
        assert watch.tolist() == expected
        arrays["g"][2][0] = -math.inf
        expected[2] = [303, 303]
        with np.errstate(all="ignore"):
            take()
        assert watch.tolist() == expected, "later steps do not change what was noted"


# Clipping of gradients


clipped = st.lists(st.sampled_from([0, 1, 255, 257, 1024, 1025, 17000]), min_size=1, max_size=10)
limits = st.sampled_from([0.01, 0.7, 30.0, 1e4])
types = st.sampled_from([("float32",), ("float64",), ("float32", "float64")])


def expected(name, gradients, limit):
    found = [g.astype(np.float64) for g in gradients]
    if name == "clip_values":
        return [g.clip(-limit, limit) for g in found]
    size = math.sqrt(sum(float((g**2).sum()) for g in found))
    return found if size <= limit else [g * (limit / size) for g in found]


def compare(name, shapes, types, limit, seed):
    rng = np.random.default_rng(seed)
    gradients = [rng.standard_normal(size).astype(rng.choice(types)) for size in shapes]
    before = [g.copy() for g in gradients]
    found = [getattr(kernels.optim, name)(gradients, limit) for kernels in (cpu, gpu)]
    for ours, theirs, wanted, g, old in zip(*found, expected(name, gradients, limit), gradients, before, strict=True):
        assert ours.dtype == theirs.dtype == g.dtype
        tolerance = 1e-6 if g.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(theirs, ours, rtol=tolerance)
        np.testing.assert_allclose(ours, wanted, rtol=tolerance)
        np.testing.assert_array_equal(g, old)


@settings(max_examples=10)
@given(clipped, types, limits, seeds)
def test_clipped_gradients(shapes, types, limit, seed):
    for name in ("clip_values", "clip_norm"):
        compare(name, shapes, types, limit, seed)


@pytest.mark.parametrize("kernels", [cpu, gpu])
def test_gradients_within_the_limits_keep_their_bits(kernels):
    g = [np.array([3.0, -0.0], np.float32), np.array([[4.0]], np.float32)]
    for ours, theirs in zip(kernels.optim.clip_norm(kernels.optim.clip_values(g, 4.0), 5.0), g, strict=True):
        np.testing.assert_array_equal(ours.view(np.uint32), theirs.view(np.uint32))
        assert ours.shape == theirs.shape


@pytest.mark.parametrize("kernels", [cpu, gpu])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_only_a_gradient_that_is_not_finite_stays_so(kernels, dtype):
    for wrong in (math.nan, math.inf, -math.inf):
        g = [np.full(3, 2.0, dtype) for _ in range(COUNT)]
        g[ARRAYS][1] = wrong
        by_value = kernels.optim.clip_values(g, 1.0)
        assert [np.isfinite(x).all() for x in by_value] == [True] * ARRAYS + [False, True]
        assert by_value[ARRAYS][[0, 2]].tolist() == [1.0, 1.0]
        by_norm = kernels.optim.clip_norm(g, 1.0)
        assert not np.isfinite(by_norm[ARRAYS]).any()
        assert all((x == 2.0).all() for i, x in enumerate(by_norm) if i != ARRAYS)


def test_the_norm_of_large_numbers(emulator):
    """The squares of 1e30 overflow in float32, those of 1e200 in float64, too."""
    g = [np.array([3e30, 4e30], np.float32)]
    for kernels in (cpu, gpu):
        np.testing.assert_allclose(kernels.optim.clip_norm(g, 1.0)[0], [0.6, 0.8], rtol=1e-6)
        assert np.isnan(kernels.optim.clip_norm([np.array([1e200])], 1.0)[0]).all()
    g = np.array([30.0, 40.0])
    for kernels in (cpu, gpu):
        for x in kernels.optim.clip_norm([g, g], math.sqrt(2.0)):
            np.testing.assert_allclose(x, [0.6, 0.8])
        assert g.tolist() == [30.0, 40.0]


# Sums of squares


squared = st.lists(st.sampled_from([None, 0, 1, 255, 257, 4096, 4097, 9000]), min_size=1, max_size=10)


@settings(max_examples=10)
@given(squared, dtypes, st.booleans(), seeds)
def test_add_squares(shapes, dtype, mixed, seed):
    rng = np.random.default_rng(seed)
    types = [rng.choice(["float32", "float64"]) if mixed else dtype for _ in shapes]
    gradients = [None if n is None else rng.standard_normal(n).astype(t) for n, t in zip(shapes, types, strict=True)]
    ours, theirs = (np.full(len(shapes), 0.5) for _ in range(2))
    for _ in range(2):
        gpu.optim.add_squares(ours, gradients)
        cpu.optim.add_squares(theirs, gradients)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_squares_of_many_gradients(emulator):
    for count, launches in ((1, 1), (ARRAYS, 1), (ARRAYS + 2, 2)):
        emulator.launches.clear()
        totals = np.zeros(count)
        gpu.optim.add_squares(totals, [np.full((2, 3), i, np.float32) for i in range(count)])
        assert totals.tolist() == [6 * i * i for i in range(count)]
        assert emulator.launches == ["add_squares"] * launches
    emulator.launches.clear()
    gpu.optim.add_squares(np.zeros(2), [None, None])
    assert emulator.launches == []
