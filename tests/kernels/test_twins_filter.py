"""Emulated CUDA kernels of filter banks against the CPU's: equal to the bit, except for the gradient of the taps."""

import math
from importlib import import_module

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuslayer.kernels import cpu
from tests.kernels import test_twins
from tests.kernels.test_twins import close, delays, dtypes, few, many, norm, normal, same_bits, seeds, shapes, train
from tests.kernels.test_twins import emulator as emulator

filters, taps = st.integers(1, 3), st.integers(1, 40)


@pytest.fixture(autouse=True)
def lanes():
    """Fewer parts of the taps' gradient than most of these arrays have columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("cuslayer.kernels.time.filter_bank.gpu"), "_MOST_LANES", 50)
        yield


@many
@given(shapes, dtypes, filters, taps, seeds)
def test_filter_bank(shape, dtype, filters, taps, seed):
    w = normal(seed, (filters, taps), dtype)
    for x in (normal(seed + 1, shape, dtype), train(seed, shape)):
        same_bits(test_twins.gpu.filter_bank.forward(x, w), cpu.filter_bank.forward(x, w))
    g = normal(seed + 1, (*shape[:-1], filters * shape[-1]), dtype)
    same_bits(test_twins.gpu.filter_bank.adjoint(g, w), cpu.filter_bank.adjoint(g, w))


@few
@given(shapes, dtypes, filters, taps, seeds)
def test_filter_bank_weight_adjoint(shape, dtype, filters, taps, seed):
    g = normal(seed, (*shape[:-1], filters * shape[-1]), dtype)
    for x in (normal(seed + 1, shape, dtype), train(seed, shape)):
        ours, theirs = (twin.filter_bank.weight_adjoint(x, g, (filters, taps)) for twin in (test_twins.gpu, cpu))
        # Sums of thousands of terms may cancel: their rounding goes by the terms.
        close(ours, theirs, least=norm(g))


# Trained delays


@many
@given(shapes, dtypes, seeds)
def test_shift_linear(shape, dtype, seed):
    x, delay = normal(seed, shape, dtype), delays(seed, shape)
    near, far = (normal(seed + i, delay.shape, dtype) for i in (1, 2))
    same_bits(test_twins.gpu.delay.shift_linear(x, delay, near, far), cpu.delay.shift_linear(x, delay, near, far))
    g = normal(seed + 3, shape, dtype)
    for each in (x, train(seed, shape)):
        ours = test_twins.gpu.delay.shift_delay_adjoint(g, each, delay)
        same_bits(ours, cpu.delay.shift_delay_adjoint(g, each, delay))


@many
@given(st.sampled_from([(), (3,), (4, 3), (2, 4, 3)]), dtypes, st.sampled_from([1.0, 0.1, 0.3, 2.0]), seeds)
def test_delay_steps(of, dtype, dt, seed):
    rng = np.random.default_rng(seed)
    # Half of the delays are multiples of dt, with the errors of their type.
    multiples = (rng.integers(-20, 90, of) * dt).astype(dtype) * (1 + rng.uniform(-1e-6, 1e-6, of))
    delay = np.asarray(np.where(rng.random(of) < 0.5, multiples, rng.uniform(-9, 40, of))).astype(dtype)
    shape = (5, 2, 4, 3)
    ours = test_twins.gpu.delay.delay_steps(delay, shape, dt, 41)
    for mine, theirs in zip(ours, cpu.delay.delay_steps(delay, shape, dt, 41), strict=True):
        same_bits(mine, theirs)
    assert np.abs(ours[0]).max() <= 41


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_delays_that_are_longer_than_the_signal_or_no_numbers(dtype):
    delay = np.array([1e30, -1e30, 12.25, math.inf, -math.inf, math.nan], dtype)
    steps, fraction = test_twins.gpu.delay.delay_steps(delay, (2, 6), 0.5, 21)
    assert steps.tolist() == [21, -21, 21, 21, -21, -21] * 2
    assert np.isnan(fraction.reshape(2, 6)).tolist() == [[False, False, False, True, True, True]] * 2
    assert fraction[2] == 0.5
    assert [x.size for x in test_twins.gpu.delay.delay_steps(delay[:0], (2, 0), 0.5, 21)] == [0, 0]
