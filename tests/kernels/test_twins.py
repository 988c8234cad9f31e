"""Emulated CUDA kernels against the CPU's: equal to the bit forward, up to the rounding of exp backward."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import Alpha, Spiking, Window
from cuslayer.kernels.cuda import compile as source
from tests.support.closeness import CLOSE as CLOSE
from tests.support.closeness import close as close
from tests.support.closeness import norm as norm
from tests.support.closeness import same_bits as same_bits
from tools.emulator.driver import emulation

Array = np.ndarray

many = settings(max_examples=60)
few = settings(max_examples=25)


@pytest.fixture(scope="module", autouse=True)
def emulator():
    # Two blocks at most, so that the larger of these arrays take several blocks and several passes of the grid.
    with pytest.MonkeyPatch.context() as patch, emulation() as running:
        patch.setattr(source, "_MOST_BLOCKS", 2)
        yield running


# A block less one, exactly, and one more; a third block partly filled; nothing at all.
sizes = st.one_of(st.integers(0, 300), st.sampled_from([0, 1, 127, 128, 129, 256, 257]))
times = st.one_of(st.integers(0, 40), st.sampled_from([0, 1, 7, 8, 9, 16]))
shapes = st.one_of(st.tuples(times, sizes), st.tuples(times, st.integers(0, 5), st.integers(0, 7), st.integers(1, 5)))
dtypes = st.sampled_from(["float32", "float64"])
seeds = st.integers(0, 2**32 - 1)
alphas = st.builds(
    Alpha,
    amplitude=st.floats(0.1, 3),
    tau=st.floats(0.3, 20),
    dt=st.floats(0.1, 2),
    cutoff=st.sampled_from([0, 0.01, 0.3]),
)


@st.composite
def spikings(draw):
    theta = draw(st.floats(0.5, 20))
    dt = draw(st.floats(0.1, 2))
    refractory = Alpha(
        amplitude=-theta * draw(st.floats(0, 2)),
        tau=draw(st.floats(0.3, 5)),
        dt=dt,
        cutoff=draw(st.sampled_from([0, 0.01, 0.3 * theta])),
    )
    width = theta * draw(st.floats(0.05, 2))
    return Spiking(theta, refractory, width, dt * draw(st.floats(0.1, 1)) / width)


def normal(seed, shape, dtype, scale=1):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


def train(seed, shape, rate=0.2):
    return np.random.default_rng(seed).random(shape) < rate


@many
@given(shapes, dtypes, alphas, seeds)
def test_psp(shape, dtype, response, seed):
    x = normal(seed, shape, dtype)
    same_bits(gpu.srm.psp(x, response), cpu.srm.psp(x, response))
    s = train(seed, shape)
    same_bits(gpu.srm.psp(s, response), cpu.srm.psp(s, response))
    same_bits(gpu.srm.psp_adjoint(x, response), cpu.srm.psp_adjoint(x, response))


@many
@given(shapes, dtypes, st.integers(0, 60), seeds)
def test_fir(shape, dtype, count, seed):
    x = normal(seed, shape, dtype)
    taps = normal(seed + 1, (count,), "float64")
    same_bits(gpu.filter_bank.fir(x, taps), cpu.filter_bank.fir(x, taps))
    s = train(seed, shape)
    same_bits(gpu.filter_bank.fir(s, taps), cpu.filter_bank.fir(s, taps))
    taps = taps.astype(dtype)
    same_bits(gpu.filter_bank.fir_adjoint(x, taps), cpu.filter_bank.fir_adjoint(x, taps))


def delays(seed, shape):
    return np.random.default_rng(seed).integers(-5, 45, math.prod(shape[1:]))


@many
@given(shapes, dtypes, seeds)
def test_shift(shape, dtype, seed):
    x, delay = normal(seed, shape, dtype), delays(seed, shape)
    same_bits(gpu.delay.shift(x, delay), cpu.delay.shift(x, delay))
    s = train(seed, shape)
    same_bits(gpu.delay.shift_spikes(s, delay), cpu.delay.shift_spikes(s, delay))


def same_spikes(ours, theirs):
    same_bits(ours[0], theirs[0])
    same_bits(ours[1], theirs[1])


@many
@given(shapes, dtypes, spikings(), seeds)
def test_spike(shape, dtype, spiking, seed):
    a = normal(seed, shape, dtype, spiking.theta)
    same_spikes(gpu.srm.spike(a, spiking), cpu.srm.spike(a, spiking))


@many
@given(shapes, dtypes, alphas, spikings(), seeds)
def test_neuron(shape, dtype, response, spiking, seed):
    x = normal(seed, shape, dtype, spiking.theta)
    same_spikes(gpu.srm.neuron(x, response, spiking), cpu.srm.neuron(x, response, spiking))


def filters(cut):
    """Return a response and neurons whose filters are both cut after `cut` steps, or never."""
    refractory, response = Alpha(-5, (cut or 30) / 2, 1, 0), Alpha(0.5, (cut or 30) / 2, 1, 0)
    if cut:
        refractory = replace(refractory, cutoff=abs(refractory.value(cut - 1)))
        response = replace(response, cutoff=response.value(cut - 1))
        assert refractory.taps == response.taps == cut
    return response, Spiking(10, refractory, 10, 0.1)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cut", [2, 7, 8, 9, 16, 63, 64, 65, 72, 150, None])
def test_filters_of_every_length(cut, dtype):
    # Within a batch of rows, within the 64 steps that a register remembers, at both edges, beyond, and never cut.
    response, spiking = filters(cut)
    a = normal(7, (200, 33), dtype, 15)
    u, s = cpu.srm.spike(a, spiking)
    assert 0.02 < s.mean() < 0.5
    same_spikes(gpu.srm.spike(a, spiking), (u, s))
    for other in (response, Alpha(0.3, 10, 1, 0.01)):
        same_spikes(gpu.srm.neuron(a, other, spiking), cpu.srm.neuron(a, other, spiking))
        close(gpu.srm.neuron_adjoint(a, u, other, spiking), cpu.srm.neuron_adjoint(a, u, other, spiking))
        exact = cpu.srm.neuron_adjoint(a, u, other, spiking, True)
        close(gpu.srm.neuron_adjoint(a, u, other, spiking, True), exact)
    close(gpu.surrogate.adjoint_exact(a, u, spiking), cpu.surrogate.adjoint_exact(a, u, spiking))


def gradient(seed, shape, dtype, theta):
    """Return the gradient that reaches spikes, and potentials around the threshold and far away from it."""
    return normal(seed, shape, dtype), normal(seed + 1, shape, dtype, 3 * theta)


@many
@given(shapes, dtypes, alphas, spikings(), seeds)
def test_neuron_adjoint(shape, dtype, response, spiking, seed):
    g, u = gradient(seed, shape, dtype, spiking.theta)
    # A filter may be cut so short that the rounding of its two states is all that is left.
    least = response.amplitude * norm(cpu.surrogate.adjoint(g, u, spiking))
    ours = gpu.srm.neuron_adjoint(g, u, response, spiking)
    close(ours, cpu.srm.neuron_adjoint(g, u, response, spiking), least=least)
    least = response.amplitude * norm(cpu.surrogate.adjoint_exact(g, u, spiking))
    theirs, double = (
        cpu.srm.neuron_adjoint(*each, response, spiking, True) for each in ((g, u), (g.astype(float), u.astype(float)))
    )
    close(gpu.srm.neuron_adjoint(g, u, response, spiking, True), theirs, least=least, double=double)


@few
@given(shape=shapes, dtype=dtypes, seed=seeds)
@example(shape=(6, 127), dtype="float32", seed=691258)  # a negative number that becomes -0
def test_store(shape, dtype, seed):
    x = (normal(seed, shape, "float64") ** 9).astype(dtype)
    same_bits(gpu.float16.store(x), cpu.float16.store(x))


@few
@given(shape=shapes, dtype=dtypes, seed=seeds)
def test_load(shape, dtype, seed):
    half = np.random.default_rng(seed).integers(0, 0x7C00, shape).astype(np.uint16).view(np.float16)
    half *= 1 - 2 * train(seed, shape)
    same_bits(gpu.float16.load(half, np.dtype(dtype)), cpu.float16.load(half, np.dtype(dtype)))


@st.composite
def images(draw):
    """Return the shape (frames, H, W) of images and a window that fits into them."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    padding = st.tuples(st.integers(0, 2), st.integers(0, 2))
    window = Window(draw(pair), draw(pair), draw(padding), draw(st.tuples(st.integers(1, 2), st.integers(1, 2))))
    return (draw(st.integers(0, 6)), draw(st.integers(5, 9)), draw(st.integers(5, 9))), window
