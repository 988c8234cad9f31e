"""Large arrays on every core: functions of NumPy, copies, sums, products of many matrices, gradients of parts."""

import warnings

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import _tape
from cuslayer.kernels import cpu
from cuslayer.kernels.host.elementwise import computed, in_order, sum_of_first

RNG = np.random.default_rng(46)
SPIKES = RNG.random((7, 160, 90)) < 0.5
NUMBERS = RNG.standard_normal((7, 160, 90)).astype(np.float32)


@pytest.mark.parametrize("function", [np.add, np.subtract, np.multiply])
@pytest.mark.parametrize(
    ("a", "b"),
    [
        (NUMBERS, SPIKES),
        (SPIKES, SPIKES),
        (NUMBERS, np.float32(3.0)),
        (NUMBERS, NUMBERS[:1, :, :1]),
        (NUMBERS.transpose(2, 0, 1), SPIKES.transpose(2, 0, 1)),
        (NUMBERS[:, :3], NUMBERS[:, 3:6].astype(np.float64)),
        (NUMBERS[:0], SPIKES[:0]),
    ],
)
def test_a_function_of_parts_is_the_function(function, a, b):
    y = computed(function, a, b)
    widest = np.float64 if np.float64 in (a.dtype, b.dtype) else np.float32
    np.testing.assert_array_equal(y, function(a.astype(widest), b.astype(widest)))
    assert y.dtype == widest
    assert y.flags.c_contiguous


@pytest.mark.parametrize("x", [SPIKES.transpose(2, 1, 0), NUMBERS[::-1], NUMBERS[:, ::2], NUMBERS])
def test_copies_and_sums(x):
    assert in_order(x).flags.c_contiguous
    np.testing.assert_array_equal(in_order(x), x)
    total = sum_of_first(in_order(x).astype(np.float64))
    np.testing.assert_allclose(total, x.sum(axis=0, dtype=np.float64), rtol=1e-12, atol=1e-12)


def test_every_thread_has_the_callers_warnings():
    huge = np.full(1 << 20, 1e38, np.float32)
    with np.errstate(over="raise"), pytest.raises(FloatingPointError):
        computed(np.multiply, huge, huge)
    with np.errstate(over="ignore"), warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isinf(computed(np.multiply, huge, huge)).all()


@pytest.mark.parametrize(
    ("a", "b"),
    [
        ((3, 5, 4, 6, 2), (3, 5, 4, 2, 7)),
        ((3, 5, 6, 2), (5, 2, 7)),
        ((1, 6, 2), (4, 2, 7)),
        ((70, 20, 3, 2), (70, 20, 2, 1)),
        ((300, 6), (6, 5)),
        ((3, 90, 6), (6, 5)),
        ((3, 0, 6, 2), (3, 0, 2, 7)),
        ((2, 6, 0), (2, 0, 7)),
    ],
)
def test_products_of_many_matrices(a, b):
    x = RNG.standard_normal(a)
    y = RNG.standard_normal(b)
    np.testing.assert_allclose(cpu.dense.matrices(x, y), x @ y, rtol=1e-12, atol=1e-12)
    spikes = x > 0
    product = cpu.dense.matrices(spikes, y.astype(np.float32))
    assert product.dtype == np.float32
    np.testing.assert_allclose(product, spikes.astype(float) @ y, rtol=1e-5, atol=1e-5)
    assert cpu.dense.matrices(spikes, y > 0).dtype == np.float32
    threads = cs.threads()
    try:
        cs.threads(1)
        alone = cpu.dense.matrices(x, y)
    finally:
        cs.threads(threads)
    np.testing.assert_array_equal(alone, cpu.dense.matrices(x, y))


def test_steps_of_an_array_share_one_gradient(monkeypatch):
    """A loop over the steps makes one array for the gradient of all, whatever else uses the array."""
    made = []
    whole = _tape.PartGradient.materialize
    monkeypatch.setattr(_tape.PartGradient, "materialize", lambda part: made.append(part) or whole(part))
    for also in (False, True):
        x = cs.Tensor(RNG.standard_normal((6, 3)), requires_grad=True)
        y = x * 2.0
        total = (y * y).sum() if also else 0.0
        for t in range(6):
            total = total + (t + 1) * y[t].sum() + y[t, 1:].sum()
        total.backward()
        expected = np.arange(1.0, 7)[:, None] * 2 + np.array([0.0, 2, 2]) + (8 * x.data if also else 0)
        np.testing.assert_allclose(x.grad, expected)
        assert len(made) == 1
        made.clear()


def test_a_gradient_that_others_share_is_not_changed():
    x = cs.Tensor(np.ones((2, 3)), requires_grad=True)
    y = x * 1.0
    first = y[0]
    seen = []
    z = cs.functions.on_gradient(cs.functions.join(y, x * 3.0, how="add"), callback=seen.append)
    (z * np.ones((2, 3)) + first).backward(np.ones((2, 3)))
    np.testing.assert_array_equal(seen[0], np.ones((2, 3)))
    np.testing.assert_array_equal(x.grad, [[6.0] * 3, [4.0] * 3])
