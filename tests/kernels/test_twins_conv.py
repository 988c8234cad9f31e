"""Convolution of packed spikes on emulated CUDA, alone and with its neurons: equal to the CPU's to the bit."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer.functions import lagged
from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import Window
from cuslayer.kernels.cuda import images
from cuslayer.kernels.cuda.compile import Kernel
from cuslayer.kernels.fused import gpu_conv
from tests.kernels.test_twins import dtypes, filters, fire, normal, same_bits, seeds, srms
from tests.support.packed_bits import packed_on_host, unpacked_on_host
from tools.emulator.driver import emulation

drawn = settings(max_examples=40)
# No spikes, a few, many, all.
rates = st.sampled_from([0, 0.05, 0.4, 1])
pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))


@pytest.fixture(scope="module", autouse=True)
def emulator():
    with emulation() as running:
        yield running


class Case(NamedTuple):
    """A convolution: images (H, W), channels of each group, groups, and the window."""

    image: tuple[int, int]
    inputs: int
    outputs: int
    groups: int
    window: Window

    @property
    def maps(self):
        return *self.window.outputs(self.image, ceil=False), self.outputs * self.groups

    def spikes(self, seed, frames, rate):
        shape = frames, *self.image, self.inputs * self.groups
        return np.random.default_rng(seed).random(shape) < rate

    def weights(self, seed, dtype, scale=1):
        shape = *self.window.kernel, self.inputs, self.outputs * self.groups
        return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


@st.composite
def cases(draw):
    kernel, gaps = draw(pairs), draw(st.sampled_from([(1, 1), (1, 1), (2, 1), (1, 2), (2, 3)]))
    window = Window(kernel, draw(pairs), draw(st.tuples(st.integers(0, 3), st.integers(0, 3))), gaps)
    reach = [gap * (size - 1) + 1 - 2 * pad for gap, size, pad in zip(gaps, kernel, window.padding, strict=True)]
    height, width = (draw(st.integers(max(least, 1), max(least, 1) + 5)) for least in reach)
    groups, inputs, outputs = draw(
        st.sampled_from([(1, 1, 1), (1, 2, 16), (1, 3, 2), (1, 12, 3), (1, 2, 33), (1, 33, 1), (2, 1, 2), (3, 2, 4)])
    )
    return Case((height, width), inputs, outputs, groups, window)


# More than 32 words in a window, so that a step takes several rounds of loads: contiguous taps, and others.
WIDE = Case((5, 8), 48, 3, 1, Window((5, 5), (1, 1), (1, 2), (1, 1)))
WIDE_GROUPS = Case((9, 9), 24, 2, 2, Window((4, 3), (1, 2), (0, 0), (2, 3)))
# A row of windows that lies in the padding as a whole, and a column.
OUTSIDE = Case((1, 2), 2, 5, 1, Window((1, 1), (1, 2), (2, 3), (1, 1)))


@drawn
@given(cases(), st.integers(0, 40), rates, dtypes, seeds)
@example(WIDE, 3, 0.3, "float32", 0)
@example(WIDE_GROUPS, 2, 0.3, "float64", 0)
@example(OUTSIDE, 33, 0.5, "float32", 0)
def test_conv(case, frames, rate, dtype, seed):
    check_conv(case, min(frames, 1 + 4000 // math.prod(case.maps)), rate, dtype, seed)


def check_conv(case, frames, rate, dtype, seed):
    x, w = case.spikes(seed, frames, rate), case.weights(seed, dtype)
    ours = gpu.conv.forward(packed_on_host(x, 1), w, case.window, case.groups)
    same_bits(ours, cpu.conv.forward(cpu.spikes.synapse_input(x), w, case.window, case.groups))


@drawn
@given(cases(), st.integers(0, 80), st.integers(0, 2), st.integers(1, 40), rates, dtypes, seeds)
@example(WIDE, 70, 1, 5, 0.1, "float32", 0)  # several words of a pixel, and several chunks of time
@example(WIDE_GROUPS, 6, 2, 3000, 0.3, "float64", 0)  # more lags than steps
@example(OUTSIDE, 33, 2, 9, 0.5, "float32", 0)
def test_synaptic_delay(case, steps, samples, lags, rate, dtype, seed):
    """Against the lags of all channels side by side."""
    steps = min(steps, 1 + 20000 // (math.prod(case.maps) * max(samples, 1)))
    x, w = case.spikes(seed, steps * samples, rate), case.weights(seed, dtype)
    x, since = x.reshape(steps, samples, *x.shape[1:]), steps // 3
    lag = np.random.default_rng(seed).integers(0, lags, w.shape).astype(np.int32)
    beside, wide = lagged(x, lags=lags, groups=case.groups).data, [np.where(lag == each, w, 0) for each in range(lags)]
    beside, wide = beside.reshape(steps * samples, *beside.shape[2:]), np.concatenate(wide, axis=2, dtype=dtype)
    expected = cpu.conv.forward(cpu.spikes.synapse_input(beside), wide, case.window, case.groups)
    arguments = (w, lag, lags, since, case.window, case.groups)
    packed, ours = packed_on_host(x).reshape(*x.shape), cpu.synaptic_delay.forward(x, *arguments)
    for found in (gpu.synaptic_delay.forward(packed, *arguments), *([] if ours is None else [ours])):
        same_bits(found, expected.reshape(steps, samples, *case.maps)[since:])


NONE = np.empty((0, 1), np.float32)


def neurons_of(weighted, steps, spiking):
    """Return the CPU's potentials (steps, numbers of a step) and the spikes (frames, ...) for a weighted input."""
    u, s = fire(cpu, weighted.reshape(steps, weighted.size // max(steps, 1)), spiking)
    return u, s.reshape(weighted.shape)


def same_neurons(ours, theirs):
    same_bits(ours[0], theirs[0])
    assert (ours[1].dtype, ours[1].shape) == (bool, theirs[1].shape)
    np.testing.assert_array_equal(unpacked_on_host(ours[1]), theirs[1])


def check_conv_neuron(case, steps, samples, rate, dtype, seed, spiking):
    x = case.spikes(seed, steps * samples, rate)
    w, kind = case.weights(seed, dtype, spiking.theta), np.dtype(dtype)
    options = case.window, case.groups, NONE.astype(kind), spiking, kind
    # With a bias for every other number of steps.
    shift = normal(seed, w.shape[3:], dtype, spiking.theta / 4) if steps % 2 == 0 else None
    ours = gpu_conv.conv_neuron(packed_on_host(x, 1), steps, w, *options, shift)
    weighted = cpu.conv.forward(cpu.spikes.synapse_input(x), w, case.window, case.groups)
    if shift is not None:
        weighted += shift
    theirs = neurons_of(weighted, steps, spiking)
    same_neurons(ours, theirs)
    return theirs[1]


@drawn
@given(cases(), st.integers(0, 20), st.integers(0, 2), rates, dtypes, seeds, srms())
@example(WIDE, 3, 1, 0.3, "float32", 0, cs.SRM(5.0, 2.0, scale_ref=1.0, cutoff=0.3, ref_cutoff=1.0))
def test_conv_neuron(case, steps, samples, rate, dtype, seed, srm):
    steps = min(steps, 1 + 4000 // (math.prod(case.maps) * max(samples, 1)))
    check_conv_neuron(case, steps, samples, rate, dtype, seed, srm.spiking)


SRM = cs.SRM(tau_sr=3.0, cutoff=0.1, ref_cutoff=0.1)
SMALL = Case((3, 5), 2, 3, 1, Window((3, 3), (1, 1), (1, 1), (1, 1)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("ring", [True, False])
@pytest.mark.parametrize("cut", [2, 8, 9, 63, 64, 65, 72, None])
def test_filters_of_every_length(cut, ring, dtype, monkeypatch):
    """Cuts within a batch of steps, within the 64 spikes in a register, beyond both, and none."""
    if not ring:
        monkeypatch.setattr(gpu_conv, "input_rows", lambda cut, steps: [16])
    s = check_conv_neuron(SMALL, 100, 1, 0.1, dtype, 0, filters(cut).spiking)
    assert 0.02 < s.mean() < 0.5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_kept_potentials(dtype):
    x, w = packed_on_host(SMALL.spikes(0, 18, 0.3), 1), SMALL.weights(0, dtype, 10)
    options = SMALL.window, 1, NONE.astype(dtype), SRM.spiking
    whole, s = gpu_conv.conv_neuron(x, 9, w, *options, np.dtype(dtype))
    half, same = gpu_conv.conv_neuron(x, 9, w, *options, np.dtype(np.float16))
    none, again = gpu_conv.conv_neuron(x, 9, w, *options, None)
    same_bits(half, cpu.float16.store(whole))
    assert (none.size, none.dtype) == (0, whole.dtype)
    np.testing.assert_array_equal(s.words, same.words)
    np.testing.assert_array_equal(s.words, again.words)


SILENT = cs.SRM(tau_sr=2.0, tau_ref=0.3, scale_ref=0.5, cutoff=0, ref_cutoff=0)


@pytest.mark.parametrize("flush", [False, True])
def test_a_long_silence(flush):
    """The states decay to 0 by the same steps with and without subnormal numbers."""
    x, w = SMALL.spikes(0, 160, 0.5), SMALL.weights(0, "float32", 10)
    x[10:] = False
    with emulation(flush):
        ours = gpu_conv.conv_neuron(packed_on_host(x, 1), 160, w, SMALL.window, 1, NONE, SILENT.spiking, w.dtype)
    theirs = neurons_of(cpu.conv.forward(cpu.spikes.synapse_input(x), w, SMALL.window, 1), 160, SILENT.spiking)
    same_neurons(ours, theirs)
    assert theirs[1].any()
    assert not theirs[0][120:].any()


def shared_bytes_of_launches(monkeypatch):
    """Return a list that gets the bytes of shared memory of each launch."""
    found, launch = list[int](), Kernel.launch

    def noted(self, grid, block, shared=0, /, **arguments):
        found.append(shared)
        launch(self, grid, block, shared, **arguments)

    monkeypatch.setattr(Kernel, "launch", noted)
    return found


@pytest.mark.parametrize("less", [0, 1])
def test_weights_in_shared_memory_if_they_fit(less, monkeypatch):
    sums, weights = 4 * 8 * 128, SMALL.weights(0, "float32").nbytes
    monkeypatch.setattr(images, "most_shared", lambda: sums + weights - less)
    shared = shared_bytes_of_launches(monkeypatch)
    check_conv(SMALL, 5, 0.3, "float32", 0)
    assert shared == [sums if less else sums + weights]


@pytest.mark.parametrize(("most", "expected"), [(232_448, 24 * 512 + 216), (12_000, 16 * 512 + 216), (8_200, 16 * 512)])
def test_inputs_in_shared_memory(most, expected, monkeypatch):
    monkeypatch.setattr(images, "most_shared", lambda: most)
    shared = shared_bytes_of_launches(monkeypatch)
    check_conv_neuron(SMALL, 40, 2, 0.3, "float32", 0, SRM.spiking)
    assert shared == [expected]


STRIDED = Case((5, 11), 7, 5, 1, Window((2, 3), (1, 2), (1, 1), (1, 1)))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.7, 1])
def test_words_of_few_and_of_many_spikes(rate, dtype):
    for case in (STRIDED, WIDE):
        check_conv(case, 9, rate, dtype, 0)
    check_conv_neuron(STRIDED, 9, 2, rate, dtype, 1, SRM.spiking)


@pytest.mark.parametrize("spikes", [15, 16, 17, 31, 32])
def test_spikes_of_a_word(spikes):
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
