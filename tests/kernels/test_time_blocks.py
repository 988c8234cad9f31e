"""Filters, delays, refraction by samples: over chunks of steps, tiles and blocks of columns, threads, to the bit."""

import math

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.kernels import cpu
from cuslayer.kernels.time.filter_bank.cpu import adjoint_into
from cuslayer.kernels.time.sampled_srm.constants import SampledSpiking
from cuslayer.surrogates import EXPONENTIAL

# Steps, columns, filters and taps: rounds of 8 taps and steps, tiles of a vector of columns, blocks of 512 and of 1024.
SIZES = [
    *((0, 5, 1, 3), (64, 0, 1, 3), (1, 1, 1, 1), (1, 17, 2, 5), (129, 33, 1, 1), (30, 15, 1, 77), (70, 65, 3, 9)),
    *((131, 1040, 2, 70), (200, 130, 1, 150), (150, 600, 1, 77), (24, 32, 3, 16)),
]
DELAYS = [
    *((0, 3, -2, 2), (1, 1, 0, 1), (9, 17, -20, 30), (40, 1100, 0, 20), (40, 65, -3, -2), (40, 130, -100, 100)),
    *(
        (30, 65, -33, -28),
        (70, 2100, 5, 6),
        (9, 4500, -2, 7),
        (30, 0, 0, 3),
        (30, 64, 10**12, 10**12 + 5),
        (30, 64, -(10**12), 10**12),
    ),
]


@pytest.fixture(params=[1, 2, 3], autouse=True)
def threads(request):
    cs.threads(request.param)


def signals(steps, columns, dtype):
    """Return numbers, a few numbers among zeros, few spikes and many."""
    generator = np.random.default_rng(steps + columns)
    x, chance = generator.standard_normal((steps, columns)).astype(dtype), generator.random((steps, columns))
    return [x, np.where(chance < 0.05, x, dtype(0)), chance < 0.05, chance < 0.5]


def taps_of(filters, taps, dtype):
    return np.random.default_rng(taps).standard_normal((filters, taps)).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("steps", "columns", "filters", "taps"), SIZES)
def test_a_bank_and_its_adjoints_sum_in_the_order_of_their_taps(steps, columns, filters, taps, dtype):
    w = taps_of(filters, taps, dtype)
    for x in signals(steps, columns, dtype):
        expected = np.zeros((steps, filters, columns), dtype)
        for i, t, k in np.ndindex(filters, steps, taps):
            if k <= t:
                expected[t, i] += w[i, k] * x[t - k].astype(dtype)
        y = cpu.filter_bank.forward(x, w)
        assert y.tobytes() == expected.tobytes()
    g = np.random.default_rng(1).standard_normal((steps, filters, columns)).astype(dtype)
    whole = g.reshape(steps, filters * columns)
    for x in signals(steps, columns, dtype):
        found = cpu.filter_bank.weight_adjoint(x, whole, (filters, taps))
        expected = [
            [float((g[k:, i] * x[: max(steps - k, 0)]).sum(dtype=np.float64)) for k in range(taps)]
            for i in range(filters)
        ]
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e3 * np.finfo(dtype).eps * (1 + np.linalg.norm(g)))
    expected = np.zeros((steps, columns), dtype)
    for t, i, k in np.ndindex(steps, filters, taps):
        if t + k < steps:
            expected[t] += w[i, k] * g[t + k, i]
    assert cpu.filter_bank.adjoint(whole, w).tobytes() == expected.tobytes()
    if filters == 1:
        assert cpu.filter_bank.fir_adjoint(whole, w[0]).tobytes() == expected.tobytes()
        assert adjoint_into(whole, whole, w) is whole
        assert whole.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_numbers_that_are_not_finite_reach_as_far_as_the_filter(dtype):
    """Also where few numbers are not 0: an infinite one times a tap beyond the last would be NaN."""
    x = np.zeros((200, 70), dtype)
    x[90, 3], x[20, 69] = math.inf, math.nan
    y = cpu.filter_bank.forward(x, taps_of(1, 5, dtype))
    wrong = {(int(t), int(m)) for t, m in np.argwhere(~np.isfinite(y))}
    assert wrong == {(90 + k, 3) for k in range(5)} | {(20 + k, 69) for k in range(5)}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_rows_apart_and_other_types_of_numbers(dtype):
    x, delay = np.random.default_rng(6).integers(-3, 4, (40, 2, 33)), np.arange(66) % 7
    w, near = taps_of(2, 9, dtype), np.linspace(0, 1, 66).astype(dtype)
    for given in (x,) if dtype == np.float64 else (x.astype(np.float64), (x > 0).astype(np.int8)):
        same = given.astype(dtype)
        assert cpu.filter_bank.forward(given, w).tobytes() == cpu.filter_bank.forward(same, w).tobytes()
        for g in (same, same[..., ::-1].copy()):
            one, other = (cpu.filter_bank.weight_adjoint(it, np.tile(g, 2), (2, 9)) for it in (given, same))
            assert one.tobytes() == other.tobytes()
            one, other = (cpu.delay.shift_delay_adjoint(g, it, delay) for it in (given, same))
            assert one.tobytes() == other.tobytes()
    apart = np.repeat(x.astype(dtype), 2, axis=2)[..., ::2]
    whole = np.ascontiguousarray(apart)
    for call in (
        lambda x: cpu.filter_bank.forward(x, w),
        lambda x: cpu.filter_bank.adjoint(x, w[:1]),
        lambda x: cpu.delay.shift(x, delay),
        lambda x: cpu.delay.shift_linear(x, delay, near, near),
        lambda x: cpu.delay.shift_delay_adjoint(x, x, delay),
    ):
        assert call(apart).tobytes() == call(whole).tobytes()


def delayed(x, delay):
    y, steps = np.zeros_like(x), len(x)
    for m, d in enumerate(delay.clip(-steps, steps)):
        y[max(d, 0) : steps + min(d, 0), m] = x[max(-d, 0) : steps - max(d, 0), m]
    return y


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("steps", "columns", "low", "high"), DELAYS)
def test_delays_of_any_length(steps, columns, low, high, dtype):
    generator = np.random.default_rng(3)
    delay = generator.integers(low, high, columns)
    near, far = generator.standard_normal((2, columns)).astype(dtype)
    g = generator.standard_normal((steps, columns)).astype(dtype)
    x, _, _, spikes = signals(steps, columns, dtype)
    assert cpu.delay.shift(x, delay).tobytes() == delayed(x, delay).tobytes()
    assert cpu.delay.shift_spikes(spikes, delay).tobytes() == delayed(spikes, delay).tobytes()
    found = cpu.delay.shift_linear(x, delay, near, far)
    assert found.tobytes() == (near * delayed(x, delay) + far * delayed(x, delay + 1)).tobytes()
    for signal in (x, spikes):
        now, before = delayed(signal, delay).astype(dtype), delayed(signal, delay + 1).astype(dtype)
        expected = np.zeros(columns, dtype)
        for t in range(steps):
            expected += g[t] * (before[t] - now[t])
        assert cpu.delay.shift_delay_adjoint(g, signal, delay).tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("before", [0, 1, 5, 30])
@pytest.mark.parametrize(("steps", "width", "samples"), [(0, 3, 4), (1, 1, 1), (12, 33, 2), (40, 65, 6), (9, 4200, 20)])
def test_a_sum_adds_the_samples_of_earlier_spikes_in_their_order(steps, width, samples, before, dtype):
    generator = np.random.default_rng(samples)
    fired = generator.random((before, width)) < 0.4
    a = generator.standard_normal((steps, width)).astype(dtype)
    # Zeros of both signs: the product of a sample and no spike has one too.
    a[generator.random(a.shape) < 0.3], a[generator.random(a.shape) < 0.3] = 0.0, -0.0
    a[generator.random(a.shape) < 0.1] = 0.5
    for sign in (np.ones(samples), -np.ones(samples), np.cumprod(-np.ones(samples))):
        taps = (generator.random(samples) * sign).astype(dtype)
        u, s = a.copy(), np.concatenate([fired, np.zeros(a.shape, bool)])
        for t in range(steps):
            for k in range(1, min(before + t + 1, samples)):
                u[t] += taps[k] * s[before + t - k].astype(dtype)
            s[before + t] = u[t] >= dtype(0.5)
        spiking = SampledSpiking(0.5, taps.astype(np.float64), 1.0, 0.1, EXPONENTIAL.shape)
        found = cpu.sampled_srm.sampled_spike_after(fired, a, spiking)
        assert found[0].tobytes() == u.tobytes()
        assert found[1].tobytes() == s.tobytes()
