"""Pooling of packed spikes on emulated CUDA, alone, with neurons, and after a convolution: the CPU's to the bit."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import Alpha, Pooling, Spiking, Window
from cuslayer.kernels.cuda import images as arguments
from cuslayer.kernels.fused import gpu_conv, gpu_pool
from cuslayer.kernels.spikes.cpu import find_spikes
from tests.kernels.test_twins import Array, alphas, dtypes, filters, images, same_bits, seeds, spikings, train
from tests.kernels.test_twins_conv import (
    SMALL,
    SRM,
    WIDE,
    Case,
    cases,
    drawn,
    neurons_of,
    rates,
    same_neurons,
    shared_bytes_of_launches,
)
from tests.kernels.test_twins_conv import emulator as emulator
from tests.support.packed_bits import packed_on_host, unpacked_on_host

channels = st.sampled_from([1, 2, 3, 12, 16, 33])


def tiles(height: int, width: int) -> Window:
    return Window.of((height, width), (height, width), 0, 1)


def sums_of(fired: Array, window: Window, gain: float, dtype: str) -> Array:
    """Return the CPU's sums in a number type; they are exact before the gain in any type."""
    return cpu.pool.forward(fired.astype(dtype), window, gain)


def check_conv_pool(
    case: Case, window: Window, gain: float, steps: int, samples: int, rate: float, dtype: str, seed: int, srm: Any
) -> tuple[Array, Array]:
    response, spiking, after_response, after_spiking = srm
    x, w = case.spikes(seed, steps * samples, rate), case.weights(seed, dtype, spiking.theta)
    constants = response, spiking, Pooling(window, gain, after_response, after_spiking)
    u, pooled_u, s = gpu_conv.conv_pool(
        packed_on_host(x, 1), steps, w, case.window, case.groups, *constants, np.dtype(dtype)
    )
    weighted = cpu.conv.forward(cpu.spikes.synapse_input(x), w, case.window, case.groups)
    before, fired = neurons_of(weighted, steps, response, spiking)
    after = neurons_of(sums_of(fired, window, gain, dtype), steps, after_response, after_spiking)
    same_bits(u, before)
    same_neurons((pooled_u, s), after)
    return fired, after[1]


@drawn
@given(
    cases(),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 20),
    st.integers(0, 2),
    rates,
    dtypes,
    seeds,
    st.tuples(alphas, spikings(), alphas, spikings()),
)
@example(WIDE, 2, 3, 3, 1, 0.3, "float32", 0, (*SRM, *SRM))
@example(SMALL, 4, 3, 9, 1, 0.3, "float64", 0, (*SRM, *SRM))
def test_conv_pool(
    case: Case, height: int, width: int, steps: int, samples: int, rate: float, dtype: str, seed: int, srm: Any
) -> None:
    steps = min(steps, 1 + 4000 // (math.prod(case.maps) * max(samples, 1)))
    check_conv_pool(case, tiles(height, width), 1.5 * srm[3].theta, steps, samples, rate, dtype, seed, srm)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ring", [True, False])
@pytest.mark.parametrize("cuts", [(2, 7), (9, 64), (63, 8), (65, 16), (80, 65), (64, None), (None, 2)])
def test_filters_of_every_length(
    cuts: tuple[int | None, int | None], ring: bool, dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ring buffer of spikes holds the steps that are read later, whichever of the two layers reads the oldest."""
    if not ring:
        monkeypatch.setattr(gpu_conv, "input_rows", lambda cut, steps: [16])
    srm = *filters(cuts[0]), *filters(cuts[1])
    fired, s = check_conv_pool(SMALL, tiles(2, 2), 15, 100, 1, 0.1, dtype, 0, srm)
    assert 0.02 < fired.mean() < 0.5
    assert 0.02 < s.mean() < 0.5


# For a word of spikes: 4 x 24 rows of inputs in ring buffers, or 4 x 16, and a ring buffer of 40 x 4 words of spikes.
WIDER = SMALL._replace(inputs=8, outputs=16)


@pytest.mark.parametrize(
    ("case", "most", "expected"),
    [
        (SMALL, 232_448, 4 * 24 * 128 + 640 + 216),
        (SMALL, 9_200, 4 * 16 * 128 + 640 + 216),
        (SMALL, 8_500, 4 * 16 * 128 + 216),
        (SMALL, 8_200, 4 * 16 * 128),
        (WIDER, 45_000, 3 * (4 * 24 * 128 + 640) + 4_608),
    ],
)
def test_what_fits_in_shared_memory(case: Case, most: int, expected: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ring buffers and weights, of one word of spikes and of several, or less of them."""
    monkeypatch.setattr(arguments, "most_shared", lambda: most)
    shared = shared_bytes_of_launches(monkeypatch)
    check_conv_pool(case, tiles(2, 2), 2, 40, 2, 0.3, "float32", 0, (*SRM, *filters(20)))
    assert shared == [expected]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kept_potentials(dtype: str) -> None:
    x, w = packed_on_host(SMALL.spikes(0, 18, 0.3), 1), SMALL.weights(0, dtype, 10)
    constants = SMALL.window, 1, *SRM, Pooling(tiles(2, 2), 15, *SRM)
    *whole, s = gpu_conv.conv_pool(x, 9, w, *constants, np.dtype(dtype))
    *half, same = gpu_conv.conv_pool(x, 9, w, *constants, np.dtype(np.float16))
    *none, again = gpu_conv.conv_pool(x, 9, w, *constants, None)
    for potential, stored, nothing in zip(whole, half, none, strict=True):
        same_bits(stored, cpu.float16.store(potential))
        assert (nothing.size, nothing.dtype) == (0, potential.dtype)
    np.testing.assert_array_equal(s.words, same.words)
    np.testing.assert_array_equal(s.words, again.words)


def test_the_fused_pass_of_the_cpu() -> None:
    """Its potentials are in blocks; its conditions are stricter."""
    x, w = SMALL.spikes(0, 18, 0.3), SMALL.weights(0, "float32", 10)
    constants = *SRM, Pooling(tiles(2, 2), 15, *SRM)
    ours = gpu_conv.conv_pool(packed_on_host(x, 1), 9, w, SMALL.window, 1, *constants, w.dtype)
    theirs = cpu.fused.OnePass(groups=1).conv_pool(find_spikes(x), 9, w, SMALL.window, *constants, w.dtype)
    maps = (9, 2, *SMALL.maps), (9, 2, 2, 3, 3)
    for potential, blocks, shape in zip(ours[:2], theirs[:2], maps, strict=True):
        same_bits(potential.reshape(shape), cpu.fused.from_blocks(blocks, shape, None, None))
    np.testing.assert_array_equal(unpacked_on_host(ours[2]), theirs[2])


OTHERS = Window.of(3, 2, 0, 1), Window.of(2, 2, 1, 1), Window.of(2, 2, 0, 2), tiles(4, 4)


@pytest.mark.parametrize("pool", OTHERS)
@pytest.mark.parametrize("keep", [np.float32, np.float16, None])
def test_windows_that_do_not_tile_the_map_are_pooled_in_a_second_pass(pool: Window, keep: Any) -> None:
    steps, (response, spiking), gain = 21, SRM, 15
    x, w = SMALL.spikes(0, 2 * steps, 0.3), SMALL.weights(0, "float32", spiking.theta)
    pooling = Pooling(pool, gain, response, spiking)
    passes = gpu.fused.conv_pool_kernels(packed_on_host(x, 1), SMALL.window, SMALL.groups, pooling, False, spiking)
    constants = SMALL.window, response, spiking, pooling
    u, pooled_u, s = passes.conv_pool(packed_on_host(x, 1), steps, w, *constants, keep and np.dtype(keep))
    weighted = cpu.conv.forward(cpu.spikes.synapse_input(x), w, SMALL.window, SMALL.groups)
    before, fired = neurons_of(weighted, steps, response, spiking)
    after, pooled = neurons_of(sums_of(fired, pool, gain, "float32"), steps, response, spiking)
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
def test_pool_of_packed_spikes(case: Any, count: int, rate: float, seed: int) -> None:
    frames, window = case
    x = train(seed, (*frames, count), rate)
    same_bits(gpu.pool.forward(packed_on_host(x, 1), window, 11.3), cpu.pool.forward(x, window, 11.3))


@drawn
@given(
    images(), channels, st.integers(0, 20), rates, seeds, alphas, spikings(), st.sampled_from([np.float32, np.float16])
)
def test_pool_neuron(
    case: Any, count: int, steps: int, rate: float, seed: int, response: Alpha, spiking: Spiking, half: bool
) -> None:
    (samples, *image), window = case
    samples = min(samples, 2)
    x = train(seed, (steps * samples, *image, count), rate)
    gain, keep = 1.1 * spiking.theta, np.dtype(np.float16 if half else np.float32)
    u, s = gpu_pool.pool_neuron(packed_on_host(x, 1), steps, window, gain, response, spiking, keep)
    theirs = neurons_of(cpu.pool.forward(x, window, gain), steps, response, spiking)
    same_neurons((u, s), (cpu.float16.store(theirs[0]) if half else theirs[0], theirs[1]))


@pytest.mark.parametrize("cut", [2, 8, 64, 65, 72, None])
def test_pool_neuron_with_filters_of_every_length(cut: int | None) -> None:
    x = train(0, (100, 4, 5, 3), 0.1)
    response, spiking = filters(cut)
    u, s = gpu_pool.pool_neuron(packed_on_host(x, 1), 100, tiles(2, 2), 12, response, spiking, np.dtype(np.float32))
    theirs = neurons_of(cpu.pool.forward(x, tiles(2, 2), 12), 100, response, spiking)
    assert 0.02 < theirs[1].mean() < 0.5
    same_neurons((u, s), theirs)
    none, same = gpu_pool.pool_neuron(packed_on_host(x, 1), 100, tiles(2, 2), 12, response, spiking, None)
    assert none.size == 0
    np.testing.assert_array_equal(s.words, same.words)
