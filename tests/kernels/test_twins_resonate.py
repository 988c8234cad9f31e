"""Emulated CUDA kernels of resonant neurons against the CPU's: equal to the bit forward, up to exp's rounding back."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.resonate.constants import ComplexReset, ResonantSpiking
from tests.kernels.test_twins import Array, close, dtypes, many, normal, same_bits, seeds, shapes
from tests.kernels.test_twins import emulator as emulator
from tests.kernels.test_twins_leaky import common


@st.composite
def spikings(draw: st.DrawFn) -> ResonantSpiking:
    theta = draw(st.floats(0.5, 5))
    resets = [ComplexReset(0, 0, theta), ComplexReset(0, 0, 0), ComplexReset(1, 1, -theta), ComplexReset(1, 1, 0)]
    return ResonantSpiking(reset=draw(st.sampled_from(resets)), height=0.1 / theta, **draw(common(theta)))


def keeps(seed: int, shape: tuple[int, ...], dtype: str) -> list[Array]:
    """Return both parts of what multiplies the state, one for all or one for each of the last axis."""
    generator = np.random.default_rng(seed)
    sizes = [max(size, 1) for size in generator.choice([1, shape[-1]], 2)]
    return [(generator.uniform(-0.6, 0.6, size) * (generator.random(size) < 0.9)).astype(dtype) for size in sizes]


def states_of(seed: int, shape: tuple[int, ...], dtype: str, held: bool) -> Array | None:
    return normal(seed, (2, math.prod(shape[1:])), dtype) if held else None


@many
@given(shapes, dtypes, spikings(), seeds, st.booleans(), st.booleans())
def test_resonate(
    shape: tuple[int, ...], dtype: str, spiking: ResonantSpiking, seed: int, held: bool, saves: bool
) -> None:
    x, parts = normal(seed, shape, dtype, 2 * spiking.theta), keeps(seed, shape, dtype)
    states = [states_of(seed + 1, shape, dtype, held) for _ in range(2)]
    ours, theirs = (k.resonate.forward(x, *parts, spiking, at, saves) for k, at in zip((gpu, cpu), states, strict=True))
    for i in range(3 if saves else 2):
        same_bits(ours[i], theirs[i])
    if states[0] is not None and states[1] is not None:
        same_bits(*states)


@many
@given(shapes, dtypes, spikings(), seeds, st.booleans(), st.booleans())
def test_resonate_adjoint(
    shape: tuple[int, ...], dtype: str, spiking: ResonantSpiking, seed: int, held: bool, trained: bool
) -> None:
    parts, g = keeps(seed, shape, dtype), normal(seed, shape, dtype)
    u, real_parts = normal(seed + 1, shape, dtype, 2 * spiking.theta), normal(seed + 2, shape, dtype)
    states = states_of(seed + 1, shape, dtype, held)
    ours, theirs = (k.resonate.adjoint(g, u, real_parts, *parts, spiking, states, trained) for k in (gpu, cpu))
    for mine, other in zip(ours, theirs, strict=True):
        close(mine, other, 1e-5 if dtype == "float32" else None, least=1.0 if spiking.exact else 0)


PLAIN = ResonantSpiking(theta=1.0, reset=ComplexReset(0.0, 0.0, 1.0), exact=True, graded=False, width=0.5, height=0.2)


def test_rows_that_are_not_contiguous() -> None:
    parts = [np.full(1, 0.8, np.float32), np.full(1, 0.4, np.float32)]
    x = normal(1, (7, 12), "float32", 4).T
    ours, theirs = gpu.resonate.forward(x, *parts, PLAIN), cpu.resonate.forward(x.copy("C"), *parts, PLAIN)
    for i in range(2):
        same_bits(ours[i], theirs[i])
    g = np.broadcast_to(normal(0, (1, 7), "float32"), (12, 7))
    ours_back = gpu.resonate.adjoint(g, x, abs(x), *parts, PLAIN, None, True)
    theirs_back = cpu.resonate.adjoint(g, x.copy("C"), abs(x).copy("C"), *parts, PLAIN, None, True)
    for mine, other in zip(ours_back, theirs_back, strict=True):
        close(mine, other, 1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_long_silence_has_no_subnormal_number(dtype: str) -> None:
    steps = 1500 if dtype == "float32" else 9000
    x = np.zeros((steps, 4), dtype)
    x[:9] = normal(0, (9, 4), dtype)
    parts = [np.array([0.8, 0.1, 0.0, 0.3], dtype), np.array([0.3, 0.1, 0.5, 0.0], dtype)]
    for device in (cpu, gpu):
        u, _, re = device.resonate.forward(x, *parts, PLAIN, None, True)
        y, _ = device.resonate.adjoint(np.ascontiguousarray(x[::-1]), u, re, *parts, PLAIN)
        for found in (u, re, y):
            assert found.any()
            assert not ((found != 0) & (abs(found) < np.finfo(found.dtype).tiny)).any()
        assert not u[-1].any()
        assert not y[0].any()
