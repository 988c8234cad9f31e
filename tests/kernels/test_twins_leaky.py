"""Emulated CUDA kernels of leaky neurons against the CPU's: equal to the bit forward, but for rounding of exp back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.leaky.constants import LeakySpiking, Reset
from tests.kernels.test_twins import Array, close, dtypes, many, normal, same_bits, same_spikes, seeds, shapes
from tests.kernels.test_twins import emulator as emulator
from tests.kernels.test_twins_surrogate import kinds


@st.composite
def common(draw: st.DrawFn, theta: float) -> dict[str, Any]:
    """Return what the constants of every kind of neurons with states have, but for the height."""
    flags = {"exact": draw(st.booleans()), "graded": draw(st.booleans())}
    return {"theta": theta, "width": theta * draw(st.floats(0.3, 2)), "shape": draw(kinds), **flags}


@st.composite
def spikings(draw: st.DrawFn) -> LeakySpiking:
    theta = draw(st.floats(0.5, 5))
    reset = draw(st.sampled_from([Reset(0.0, 0.0), Reset(1.0, theta), Reset(1.0, 0.0)]))
    height = draw(st.floats(0.05, 0.3)) / theta
    return LeakySpiking(reset=reset, height=height, **draw(common(theta)))


def keeps(seed: int, shape: tuple[int, ...], dtype: str) -> list[Array]:
    """Return shares, one for all or one for each of the last axis, some of them 0."""
    generator = np.random.default_rng(seed)
    found = []
    for size in generator.choice([1, shape[-1]], 2):
        share = generator.uniform(0, 0.95, max(size, 1)) * (generator.random(max(size, 1)) < 0.9)
        found.append(share.astype(dtype))
    return found


@many
@given(shapes, dtypes, spikings(), seeds, st.booleans())
def test_leaky(shape: tuple[int, ...], dtype: str, spiking: LeakySpiking, seed: int, held: bool) -> None:
    x, shares = normal(seed, shape, dtype, spiking.theta), keeps(seed, shape, dtype)
    columns = math.prod(shape[1:])
    states = [normal(seed + 1, (2, columns), dtype) if held else None for _ in range(2)]
    ours, theirs = (k.leaky.forward(x, *shares, spiking, at) for k, at in zip((gpu, cpu), states, strict=True))
    same_spikes(ours, theirs)
    if states[0] is not None and states[1] is not None:
        same_bits(*states)


@many
@given(shapes, dtypes, spikings(), seeds)
def test_leaky_adjoint(shape: tuple[int, ...], dtype: str, spiking: LeakySpiking, seed: int) -> None:
    shares, g = keeps(seed, shape, dtype), normal(seed, shape, dtype)
    u = normal(seed + 1, shape, dtype, 2 * spiking.theta)
    ours, theirs = (k.leaky.adjoint(g, u, *shares, spiking) for k in (gpu, cpu))
    close(ours, theirs, 3e-6 if dtype == "float32" else None)


@many
@given(shapes, dtypes, spikings(), seeds, st.booleans())
def test_leaky_keep_adjoint(shape: tuple[int, ...], dtype: str, spiking: LeakySpiking, seed: int, held: bool) -> None:
    shares, y = keeps(seed, shape, dtype), normal(seed, shape, dtype)
    u = normal(seed + 1, shape, dtype, 2 * spiking.theta)
    states = normal(seed + 1, (2, math.prod(shape[1:])), dtype) if held else None
    ours, theirs = (k.leaky.keep_adjoint(y, u, *shares, spiking, states) for k in (gpu, cpu))
    for mine, other in zip(ours, theirs, strict=True):
        same_bits(mine, other)


PLAIN = LeakySpiking(theta=1.0, reset=Reset(0.0, 0.0), exact=True, graded=False, width=0.5, height=0.2)


def test_a_voltage_at_the_threshold_fires() -> None:
    x, shares = np.array([[np.nextafter(1.0, 0.0), 1.0, np.nextafter(1.0, 2.0)]]), [np.zeros(1), np.zeros(1)]
    for device in (cpu, gpu):
        assert device.leaky.forward(x, *shares, PLAIN)[1].tolist() == [[False, True, True]]


def test_rows_that_are_not_contiguous() -> None:
    shares = [np.full(1, 0.5, np.float32), np.full(1, 0.9, np.float32)]
    x = normal(1, (7, 12), "float32", 4).T
    same_spikes(gpu.leaky.forward(x, *shares, PLAIN), cpu.leaky.forward(x.copy("C"), *shares, PLAIN))
    g = np.broadcast_to(normal(0, (1, 7), "float32"), (12, 7))
    close(gpu.leaky.adjoint(g, x, *shares, PLAIN), cpu.leaky.adjoint(g, x.copy("C"), *shares, PLAIN), 3e-6)
    for mine, other in zip(
        gpu.leaky.keep_adjoint(g, x, *shares, PLAIN),
        cpu.leaky.keep_adjoint(g, x.copy("C"), *shares, PLAIN),
        strict=True,
    ):
        same_bits(mine, other)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("device", [cpu, gpu])
def test_a_long_silence_has_no_subnormal_number(device: Any, dtype: str) -> None:
    steps = 1500 if dtype == "float32" else 9000
    x = np.zeros((steps, 5), dtype)
    x[:9] = normal(0, (9, 5), dtype)
    shares = [np.array([0.9, 0.5, 0.01, 1e-8, 0.0], dtype), np.array([0.5, 0.9, 0.0, 0.9, 1e-9], dtype)]
    states = np.zeros((2, 5), dtype)
    u, _ = device.leaky.forward(x, *shares, PLAIN, states)
    assert not states.any()
    y = device.leaky.adjoint(np.ascontiguousarray(x[::-1]), u, *shares, PLAIN)
    for found in (u, y):
        assert found.any()
        assert not ((found != 0) & (abs(found) < np.finfo(found.dtype).tiny)).any()
    assert not u[-1].any()
    assert not y[0].any()


def test_what_is_not_finite_stays_so() -> None:
    shares = [np.zeros(1), np.full(1, 0.9)]
    x = np.array([[np.nan, np.inf, -np.inf, 1.0]] * 9)
    for device in (cpu, gpu):
        u, s = device.leaky.forward(x, *shares, PLAIN)
        assert not np.isfinite(u[:, :3]).any()
        assert np.isfinite(u[:, 3]).all()
        assert s[:, 3].all()
        back = device.leaky.adjoint(np.ones_like(x), u, *shares, PLAIN)
        assert np.isnan(back[:, :3]).all()
