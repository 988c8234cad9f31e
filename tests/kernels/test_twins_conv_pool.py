"""Pooling on emulated CUDA, alone, with neurons, and after a convolution: the CPU's to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import Pooling, Window
from cuslayer.kernels.fused import gpu_pool
from tests.kernels.test_twins import filters, images, normal, same_bits, seeds, srms, train
from tests.kernels.test_twins_conv import NONE, SMALL, SRM, drawn, neurons_of, rates, same_neurons
from tests.kernels.test_twins_conv import emulator as emulator
from tests.support.packed_bits import packed_on_host, unpacked_on_host

channels = st.sampled_from([1, 2, 3, 12, 16, 33])


def tiles(height: int, width: int) -> Window:
    return Window.of((height, width), (height, width), 0, 1)


@pytest.mark.parametrize("pool", [Window.of(3, 2, 0, 1), Window.of(2, 2, 1, 1), Window.of(2, 2, 0, 2), tiles(4, 4)])
@pytest.mark.parametrize("keep", [np.float32, np.float16, None])
def test_conv_pool(pool: Window, keep: Any) -> None:
    steps, spiking, gain = 21, SRM.spiking, 15
    x, w = SMALL.spikes(0, 2 * steps, 0.3), SMALL.weights(0, "float32", spiking.theta)
    pooling = Pooling(pool, gain, NONE, spiking)
    passes = gpu.fused.conv_pool_kernels(packed_on_host(x, 1), SMALL.window, SMALL.groups, pooling, spiking)
    constants = SMALL.window, NONE, spiking, pooling
    u, pooled_u, s = passes.conv_pool(packed_on_host(x, 1), steps, w, *constants, keep and np.dtype(keep))
    weighted = cpu.conv.forward(cpu.spikes.synapse_input(x), w, SMALL.window, SMALL.groups)
    before, fired = neurons_of(weighted, steps, spiking)
    after, pooled = neurons_of(cpu.pool.forward(fired, pool, gain), steps, spiking)
    assert pooled.any()
    np.testing.assert_array_equal(unpacked_on_host(s).reshape(pooled.shape), pooled)
    for ours, theirs in ((u, before), (pooled_u, after)):
        if keep:
            same_bits(ours.reshape(theirs.shape), theirs.astype(keep))
        else:
            assert ours.size == 0


@drawn
@given(images(), channels, rates, seeds)
@example(((9, 9, 9), Window((2, 5), (1, 2), (0, 1), (1, 1))), 9, 0.5, 0)
def test_pool(case: Any, count: int, rate: float, seed: int) -> None:
    frames, window = case
    x = train(seed, (*frames, count), rate)
    same_bits(gpu.pool.forward(packed_on_host(x, 1), window, 11.3), cpu.pool.forward(x, window, 11.3))
    numbers = normal(seed, x.shape, "float64" if seed % 2 else "float32")
    same_bits(gpu.pool.forward(numbers, window, 11.3), cpu.pool.forward(numbers, window, 11.3))
    whole = gpu.pool.forward(packed_on_host(x, 1), window, 0.3, ceil=False)
    same_bits(whole, cpu.pool.forward(x, window, 0.3, ceil=False))
    gradient = whole, frames[1:], window, 0.3
    same_bits(gpu.pool.adjoint(*gradient), cpu.pool.adjoint(*gradient))


@drawn
@given(images(), channels, rates, seeds)
@example(((2, 19, 18), Window((17, 16), (1, 2), (3, 0), (1, 1))), 3, 0.01, 0)
def test_max_pool(case: Any, count: int, rate: float, seed: int) -> None:
    """Also of pixels that are not numbers, and of windows in the padding."""
    frames, window = case
    x = train(seed, (*frames, count), rate)
    numbers = normal(seed, x.shape, "float64" if seed % 2 else "float32")
    numbers[train(seed + 1, x.shape, 0.1)] = np.nan
    for pixels in (x, numbers):
        ours, theirs = gpu.pool.max_pool(pixels, window), cpu.pool.max_pool(pixels, window)
        same_bits(ours[0], theirs[0])
        same_bits(ours[1], theirs[1])
        gradient = normal(seed, theirs[0].shape, "float32"), theirs[1], frames[1:], window
        same_bits(gpu.pool.max_pool_adjoint(*gradient), cpu.pool.max_pool_adjoint(*gradient))


@drawn
@given(images(), channels, st.integers(0, 20), rates, seeds, srms(), st.booleans())
def test_pool_neuron(case: Any, count: int, steps: int, rate: float, seed: int, srm: cs.SRM, half: bool) -> None:
    ((samples, *image), window), spiking = case, srm.spiking
    samples = min(samples, 2)
    x = train(seed, (steps * samples, *image, count), rate)
    gain, keep = 1.1 * spiking.theta, np.dtype(np.float16 if half else np.float32)
    u, s = gpu_pool.pool_neuron(packed_on_host(x, 1), steps, window, gain, NONE, spiking, keep)
    theirs = neurons_of(cpu.pool.forward(x, window, gain), steps, spiking)
    same_neurons((u, s), (cpu.float16.store(theirs[0]) if half else theirs[0], theirs[1]))


@pytest.mark.parametrize("cut", [2, 8, 64, 65, 72, None])
def test_pool_neuron_with_filters_of_every_length(cut: int | None) -> None:
    x = train(0, (100, 4, 5, 3), 0.1)
    constants = NONE, filters(cut).spiking
    u, s = gpu_pool.pool_neuron(packed_on_host(x, 1), 100, tiles(2, 2), 6, *constants, np.dtype(np.float32))
    theirs = neurons_of(cpu.pool.forward(x, tiles(2, 2), 6), 100, constants[1])
    assert 0.02 < theirs[1].mean() < 0.5
    same_neurons((u, s), theirs)
    none, same = gpu_pool.pool_neuron(packed_on_host(x, 1), 100, tiles(2, 2), 6, *constants, None)
    assert none.size == 0
    np.testing.assert_array_equal(s.words, same.words)
