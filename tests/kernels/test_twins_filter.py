"""Emulated CUDA kernels of filter banks against the CPU's: equal to the bit, except for the gradient of the taps."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuslayer.kernels import cpu
from tests.kernels import test_twins
from tests.kernels.test_twins import close, dtypes, few, many, norm, normal, same_bits, seeds, shapes, train
from tests.kernels.test_twins import emulator as emulator

filters, taps = st.integers(1, 3), st.integers(1, 40)


@pytest.fixture(autouse=True)
def lanes() -> Iterator[None]:
    """Fewer parts of the taps' gradient than most of these arrays have columns."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_module("cuslayer.kernels.filter_bank.gpu"), "_MOST_LANES", 50)
        yield


@many
@given(shapes, dtypes, filters, taps, seeds)
def test_filter_bank(shape: tuple[int, ...], dtype: str, filters: int, taps: int, seed: int) -> None:
    w = normal(seed, (filters, taps), dtype)
    for x in (normal(seed + 1, shape, dtype), train(seed, shape)):
        same_bits(test_twins.gpu.filter_bank.forward(x, w), cpu.filter_bank.forward(x, w))


@many
@given(shapes, dtypes, filters, taps, seeds)
def test_filter_bank_adjoint(shape: tuple[int, ...], dtype: str, filters: int, taps: int, seed: int) -> None:
    w = normal(seed, (filters, taps), dtype)
    g = normal(seed + 1, (*shape[:-1], filters * shape[-1]), dtype)
    same_bits(test_twins.gpu.filter_bank.adjoint(g, w), cpu.filter_bank.adjoint(g, w))


@few
@given(shapes, dtypes, filters, taps, seeds)
def test_filter_bank_weight_adjoint(shape: tuple[int, ...], dtype: str, filters: int, taps: int, seed: int) -> None:
    g = normal(seed, (*shape[:-1], filters * shape[-1]), dtype)
    for x in (normal(seed + 1, shape, dtype), train(seed, shape)):
        ours, theirs = (twin.filter_bank.weight_adjoint(x, g, (filters, taps)) for twin in (test_twins.gpu, cpu))
        # Sums of thousands of terms may cancel: their rounding goes by the terms.
        close(ours, theirs, least=norm(g))
