"""Clipping of gradients: emulated CUDA against the CPU."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cuslayer.kernels import cpu, gpu
from tests.kernels.test_twins import Array, seeds
from tests.kernels.test_twins_conv import emulator as emulator
from tools.emulator.driver import Emulator

sizes = st.lists(st.sampled_from([0, 1, 255, 257, 1024, 1025, 17000]), min_size=1, max_size=10)
limits = st.sampled_from([0.01, 0.7, 30.0, 1e4])
types = st.sampled_from([("float32",), ("float64",), ("float32", "float64")])


def expected(name: str, gradients: list[Array], limit: float) -> list[Array]:
    found = [g.astype(np.float64) for g in gradients]
    if name == "clip_values":
        return [g.clip(-limit, limit) for g in found]
    size = math.sqrt(sum(float((g**2).sum()) for g in found))
    return found if size <= limit else [g * (limit / size) for g in found]


def compare(name: str, shapes: list[int], types: tuple[str, ...], limit: float, seed: int) -> None:
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


@settings(max_examples=10, deadline=None)
@given(sizes, types, limits, seeds)
def test_clip_values(shapes: list[int], types: tuple[str, ...], limit: float, seed: int) -> None:
    compare("clip_values", shapes, types, limit, seed)


@settings(max_examples=10, deadline=None)
@given(sizes, types, limits, seeds)
def test_clip_norm(shapes: list[int], types: tuple[str, ...], limit: float, seed: int) -> None:
    compare("clip_norm", shapes, types, limit, seed)


@pytest.mark.parametrize("kernels", [cpu, gpu])
def test_gradients_within_the_limits_keep_their_bits(kernels: Any) -> None:
    g = [np.array([3.0, -0.0], np.float32), np.array([[4.0]], np.float32)]
    for ours, theirs in zip(kernels.optim.clip_norm(kernels.optim.clip_values(g, 4.0), 5.0), g, strict=True):
        np.testing.assert_array_equal(ours.view(np.uint32), theirs.view(np.uint32))
        assert ours.shape == theirs.shape


@pytest.mark.parametrize("kernels", [cpu, gpu])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_only_a_gradient_that_is_not_finite_stays_so(kernels: Any, dtype: str) -> None:
    for wrong in (math.nan, math.inf, -math.inf):
        g = [np.full(3, 2.0, dtype) for _ in range(10)]
        g[8][1] = wrong
        by_value = kernels.optim.clip_values(g, 1.0)
        assert [np.isfinite(x).all() for x in by_value] == [True] * 8 + [False, True]
        assert by_value[8][[0, 2]].tolist() == [1.0, 1.0]
        by_norm = kernels.optim.clip_norm(g, 1.0)
        assert not np.isfinite(by_norm[8]).any()
        assert all((x == 2.0).all() for i, x in enumerate(by_norm) if i != 8)


def test_the_norm_of_large_numbers(emulator: Emulator) -> None:
    """The squares of 1e30 overflow in float32, those of 1e200 in float64, too."""
    g = [np.array([3e30, 4e30], np.float32)]
    for kernels in (cpu, gpu):
        np.testing.assert_allclose(kernels.optim.clip_norm(g, 1.0)[0], [0.6, 0.8], rtol=1e-6)
        assert np.isnan(kernels.optim.clip_norm([np.array([1e200])], 1.0)[0]).all()


def test_gradients_that_share_an_array_are_clipped_once() -> None:
    g = np.array([30.0, 40.0])
    for kernels in (cpu, gpu):
        for x in kernels.optim.clip_norm([g, g], math.sqrt(2.0)):
            np.testing.assert_allclose(x, [0.6, 0.8])
        assert g.tolist() == [30.0, 40.0]
