"""Convolution of packed spikes with words of few and of many spikes: the bits of the CPU, whatever way a word takes."""

from __future__ import annotations

import numpy as np
import pytest

from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import Window
from tests.kernels.test_twins import same_bits
from tests.kernels.test_twins_conv import SRM, WIDE, Case, check_conv, check_conv_neuron
from tests.kernels.test_twins_conv import emulator as emulator
from tests.support.packed_bits import packed_on_host

STRIDED = Case((5, 11), 7, 5, 1, Window((2, 3), (1, 2), (1, 1), (1, 1)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.7, 1])
def test_activities(rate: float, dtype: str) -> None:
    for case in (STRIDED, WIDE):
        check_conv(case, 9, rate, dtype, 0)
    check_conv_neuron(STRIDED, 9, 2, rate, dtype, 1, *SRM)


@pytest.mark.parametrize("spikes", [15, 16, 17, 31, 32])
def test_spikes_of_a_word(spikes: int) -> None:
    """Words with more than 16 spikes lie beside words with fewer, in a line and in the frames after it."""
    rng = np.random.default_rng(spikes)
    x = np.zeros((6, 3, 64, 1), bool)
    for frame in range(6):
        x[frame, frame % 3, rng.permutation(32)[:spikes]] = True
        x[frame, :, 32:] = rng.random((3, 32, 1)) < 0.1
    # Of one output channel, the windows of a warp cover more than a word.
    w = rng.standard_normal((3, 5, 1, 1)).astype(np.float32)
    window = Window((3, 5), (1, 1), (1, 2), (1, 1))
    ours = gpu.conv.forward(packed_on_host(x, 1), w, window, 1)
    same_bits(ours, cpu.conv.forward(cpu.spikes.synapse_input(x), w, window, 1))
