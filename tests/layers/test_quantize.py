"""Quantization: the nearest multiples, halves to even, and a straight-through gradient."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs

numbers = st.lists(st.floats(-1e4, 1e4, width=32), max_size=20)


@settings(deadline=None, max_examples=100)
@given(values=numbers, step=st.sampled_from([1, 2, 0.25, 0.1, 8]), dtype=st.sampled_from([np.float32, np.float64]))
def test_the_nearest_multiple(values, step, dtype):
    w = np.array(values, dtype)
    before = w.copy()
    q = cs.quantize(w, step=step)
    assert (q.dtype, q.shape) == (dtype, w.shape)
    assert (w == before).all()
    if step == 0.1:  # no binary fraction: near a half the quotient decides
        rounding = 2 * np.finfo(dtype).eps * abs(w)
        assert (abs(q.data - w) <= 0.05 + rounding).all()
        assert (abs(q.data / 0.1 - np.rint(q.data / 0.1)) <= 20 * rounding).all()
    else:
        assert q.data.tolist() == [round(Fraction(float(x)) / Fraction(step)) * step for x in w]


def test_halves_go_to_even():
    w = np.array([-5.0, -3.0, -1.0, 1.0, 3.0, 5.0, 7.0, 2.9999, 3.0001])
    assert cs.quantize(w, 2).data.tolist() == [-4, -4, 0, 0, 4, 4, 8, 2, 4]
    assert cs.quantize(w, step=2.0).data.tolist() == [-4, -4, 0, 0, 4, 4, 8, 2, 4]


def test_limits_hold_and_the_gradient_passes_straight():
    w = cs.Tensor(np.array([-300.0, -257.0, -256.0, 0.4, 254.0, 255.0, 256.0, 1e9]), requires_grad=True)
    q = cs.quantize(w, step=2, limits=(-256, 254))
    assert q.data.tolist() == [-256, -256, -256, 0, 254, 254, 254, 254]
    g = np.arange(8.0) - 3
    q.backward(g)
    np.testing.assert_array_equal(w.grad, g)
    g[0] = 99
    assert w.grad[0] == -3
    assert cs.quantize(np.array([0.34]), 0.1, limits=[-0.3, 0.3]).data.tolist() == [0.3]
