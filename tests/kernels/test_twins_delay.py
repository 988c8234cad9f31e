"""Emulated CUDA kernels of trained delays against the CPU's: equal to the bit."""

from __future__ import annotations

from hypothesis import given

from cuslayer.kernels import cpu
from tests.kernels import test_twins
from tests.kernels.test_twins import delays, dtypes, many, normal, same_bits, seeds, shapes, train
from tests.kernels.test_twins import emulator as emulator


@many
@given(shapes, dtypes, seeds)
def test_shift_linear(shape: tuple[int, ...], dtype: str, seed: int) -> None:
    x, delay = normal(seed, shape, dtype), delays(seed, shape)
    near, far = (normal(seed + i, delay.shape, dtype) for i in (1, 2))
    same_bits(test_twins.gpu.delay.shift_linear(x, delay, near, far), cpu.delay.shift_linear(x, delay, near, far))


@many
@given(shapes, dtypes, seeds)
def test_shift_delay_adjoint(shape: tuple[int, ...], dtype: str, seed: int) -> None:
    g, delay = normal(seed, shape, dtype), delays(seed, shape)
    for x in (normal(seed + 1, shape, dtype), train(seed, shape)):
        same_bits(test_twins.gpu.delay.shift_delay_adjoint(g, x, delay), cpu.delay.shift_delay_adjoint(g, x, delay))
