"""Emulated CUDA kernels of adaptive neurons against the CPU's: equal to the bit forward, up to exp's rounding back."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.adaptive.constants import AdaptiveSpiking
from tests.kernels.test_twins import Array, close, dtypes, many, normal, same_bits, seeds, shapes
from tests.kernels.test_twins import emulator as emulator
from tests.kernels.test_twins_leaky import common


@st.composite
def spikings(draw: st.DrawFn) -> AdaptiveSpiking:
    theta = draw(st.floats(0.5, 5))
    rise, scale = draw(st.floats(0, 0.5)) * theta, draw(st.floats(0, 2))
    return AdaptiveSpiking(rise=rise, scale=scale, height=0.1 / theta, **draw(common(theta)))


def keeps(seed: int, shape: tuple[int, ...], dtype: str) -> tuple[Any, ...]:
    """Return shares, one for all or one for each of the last axis, some of them 0."""
    generator = np.random.default_rng(seed)
    found = []
    for size in generator.choice([1, shape[-1]], 4):
        share = generator.uniform(0, 0.9, max(size, 1)) * (generator.random(max(size, 1)) < 0.9)
        found.append(share.astype(dtype))
    return tuple(found)


def states_of(seed: int, shape: tuple[int, ...], dtype: str, held: bool) -> Array | None:
    return abs(normal(seed, (4, math.prod(shape[1:])), dtype)) if held else None


@many
@given(shapes, dtypes, spikings(), seeds, st.booleans(), st.booleans())
def test_adaptive(
    shape: tuple[int, ...], dtype: str, spiking: AdaptiveSpiking, seed: int, held: bool, saves: bool
) -> None:
    x, shares = normal(seed, shape, dtype, spiking.theta), keeps(seed, shape, dtype)
    states = [states_of(seed + 1, shape, dtype, held) for _ in range(2)]
    ours, theirs = (k.adaptive.forward(x, shares, spiking, at, saves) for k, at in zip((gpu, cpu), states, strict=True))
    for mine, other in zip(ours[: 4 if saves else 2], theirs, strict=not saves and False):
        same_bits(mine, other)
    if states[0] is not None and states[1] is not None:
        same_bits(*states)


@many
@given(shapes, dtypes, spikings(), seeds, st.booleans(), st.booleans())
def test_adaptive_adjoint(
    shape: tuple[int, ...], dtype: str, spiking: AdaptiveSpiking, seed: int, held: bool, trained: bool
) -> None:
    shares, g = keeps(seed, shape, dtype), normal(seed, shape, dtype)
    u = normal(seed + 1, shape, dtype, 2 * spiking.theta)
    h, r = (abs(normal(seed + i, shape, dtype)) for i in (2, 3))
    states = states_of(seed + 1, shape, dtype, held)
    ours, theirs = (k.adaptive.adjoint(g, u, h, r, shares, spiking, states, trained) for k in (gpu, cpu))
    least = 1.0 if spiking.exact else 0
    for mine, other in zip(ours, theirs, strict=True):
        close(mine, other, 1e-5 if dtype == "float32" else None, least=least)


PLAIN = AdaptiveSpiking(theta=1.0, rise=0.2, scale=2.0, exact=True, graded=False, width=0.5, height=0.2)


def test_rows_that_are_not_contiguous() -> None:
    shares = tuple(np.full(1, keep, np.float32) for keep in (0.5, 0.9, 0.8, 0.6))
    x = normal(1, (7, 12), "float32", 4).T
    ours, theirs = gpu.adaptive.forward(x, shares, PLAIN), cpu.adaptive.forward(x.copy("C"), shares, PLAIN)
    for mine, other in zip(ours[:2], theirs[:2], strict=True):
        same_bits(mine, other)
    g = np.broadcast_to(normal(0, (1, 7), "float32"), (12, 7))
    ours = gpu.adaptive.adjoint(g, x, abs(x), abs(x), shares, PLAIN, None, True)
    theirs = cpu.adaptive.adjoint(g, *(each.copy("C") for each in (x, abs(x), abs(x))), shares, PLAIN, None, True)
    for mine, other in zip(ours, theirs, strict=True):
        close(mine, other, 1e-5)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_long_silence_has_no_subnormal_number(dtype: str) -> None:
    steps = 1500 if dtype == "float32" else 9000
    x = np.zeros((steps, 4), dtype)
    x[:9] = abs(normal(0, (9, 4), dtype))
    shares = tuple(np.array(each, dtype) for each in ([0.9, 0.5, 0.01, 0.0], [0.5], [0.9], [0.2]))
    for device in (cpu, gpu):
        u, _, h, r = device.adaptive.forward(x, shares, PLAIN, None, True)
        y, _ = device.adaptive.adjoint(np.ascontiguousarray(x[::-1]), u, h, r, shares, PLAIN)
        for found in (u, h, r, y):
            assert found.any()
            assert not ((found != 0) & (abs(found) < np.finfo(found.dtype).tiny)).any()
            assert not found[-1].any() or found is y
