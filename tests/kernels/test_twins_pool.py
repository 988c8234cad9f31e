"""Pooling with a weight for each tap: the functions on the GPU's arrays against those on the CPU's."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cuslayer.kernels import cpu
from tests.kernels import test_twins
from tests.kernels.test_twins import close, dtypes, few, images, norm, normal, seeds


@few
@given(images(), st.integers(1, 3), dtypes, seeds)
def test_weighted_pool(drawn: Any, channels: int, dtype: str, seed: int) -> None:
    frames, window = drawn
    x, w = normal(seed, (*frames, channels), dtype), normal(seed, window.kernel, dtype)
    least = norm(cpu.pool.weighted_pool(abs(x), abs(w), window))
    close(test_twins.gpu.pool.weighted_pool(x, w, window), cpu.pool.weighted_pool(x, w, window), least=least)


@few
@given(images(), st.integers(1, 3), dtypes, seeds)
def test_weighted_pool_adjoint(drawn: Any, channels: int, dtype: str, seed: int) -> None:
    frames, window = drawn
    g = normal(seed, (frames[0], *window.outputs(frames[1:], ceil=True), channels), dtype)
    w, image = normal(seed, window.kernel, dtype), frames[1:]
    ours = test_twins.gpu.pool.weighted_pool_adjoint(g, w, image, window)
    theirs = cpu.pool.weighted_pool_adjoint(g, w, image, window)
    assert theirs.shape == (*frames, channels)
    close(ours, theirs, least=norm(cpu.pool.weighted_pool_adjoint(abs(g), abs(w), image, window)))


@few
@given(images(), st.integers(1, 3), dtypes, seeds)
def test_pool_weight_adjoint(drawn: Any, channels: int, dtype: str, seed: int) -> None:
    frames, window = drawn
    x = normal(seed, (*frames, channels), dtype)
    g = normal(seed, (frames[0], *window.outputs(frames[1:], ceil=True), channels), dtype)
    ours, theirs = test_twins.gpu.pool.weight_adjoint(x, g, window), cpu.pool.weight_adjoint(x, g, window)
    assert theirs.shape == window.kernel
    # A window of one pixel has one weight, to which all gradients are added.
    close(ours, theirs, least=norm(cpu.pool.weight_adjoint(abs(x), abs(g), window)))
