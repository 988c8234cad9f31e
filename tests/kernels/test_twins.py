"""Emulated CUDA kernels against the CPU's: equal to the bit forward, up to the rounding of exp backward."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import Window
from cuslayer.kernels.cuda import compile as source
from cuslayer.kernels.step.filters import Alpha
from tests.support.closeness import CLOSE as CLOSE
from tests.support.closeness import close as close
from tests.support.closeness import norm as norm
from tests.support.closeness import same_bits as same_bits
from tools.emulator.driver import emulation

Array = np.ndarray

many = settings(max_examples=40)
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


gradients = st.sampled_from(["slayer", "exact"])
exponential = st.just("exponential")


@st.composite
def srms(draw, surrogates=exponential):
    """Draw spike response neurons, also with filters that are cut after few steps, and never."""
    theta = draw(st.floats(0.5, 20))
    return cs.SRM(
        theta=theta,
        tau_sr=draw(st.floats(0.5, 20)),
        tau_ref=draw(st.floats(0.3, 5)),
        scale_ref=draw(st.one_of(st.just(0.0), st.floats(0.1, 2))),
        tau_rho=draw(st.floats(0.05, 2)),
        scale_rho=draw(st.floats(0.1, 1)),
        dt=draw(st.floats(0.1, 2)),
        gradient=draw(gradients),
        cutoff=draw(st.sampled_from([0, 0.01, 0.3])),
        ref_cutoff=draw(st.sampled_from([0, 0.01, 0.3 * theta])),
        surrogate=draw(surrogates),
    )


def fire(k, x, spiking):
    """Return the potentials and spikes of neurons without constants of their own, by the kernels of a device."""
    return k.scan.forward(x[None], np.empty((0, 1), x.dtype), spiking)[:2]


def fire_adjoint(k, g, u, spiking):
    return k.scan.adjoint(g, u, u[None][:0], np.empty((0, 1), g.dtype), spiking)[0][0]


def normal(seed, shape, dtype, scale=1):
    return (np.random.default_rng(seed).standard_normal(shape) * scale).astype(dtype)


def train(seed, shape, rate=0.2):
    return np.random.default_rng(seed).random(shape) < rate


@many
@given(shapes, dtypes, alphas, seeds)
def test_psp(shape, dtype, response, seed):
    x = normal(seed, shape, dtype)
    for signal in (x, train(seed, shape)):
        same_bits(response.apply(gpu, signal), response.apply(cpu, signal))
    same_bits(response.adjoint(gpu, x), response.adjoint(cpu, x))


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
@given(shapes, dtypes, srms(), seeds)
def test_spike_response_neurons(shape, dtype, srm, seed):
    x = normal(seed, shape, dtype, srm.theta)
    for spiking in (srm.spiking, srm.refracting):
        same_spikes(fire(gpu, x, spiking), fire(cpu, x, spiking))


def filters(cut, gradient="slayer"):
    """Return neurons whose filters are both cut after `cut` steps, or never."""
    tau = (cut or 30) / 2
    srm = cs.SRM(tau_sr=tau, tau_ref=tau, scale_ref=0.5, cutoff=0, ref_cutoff=0, gradient=gradient)
    if cut:
        srm = replace(srm, cutoff=srm.filter.value(cut - 1), ref_cutoff=-srm.refraction.value(cut - 1))
        assert srm.refraction.taps == srm.filter.taps == cut
    return srm


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("cut", [2, 7, 8, 9, 16, 63, 64, 65, 72, 150, None])
def test_filters_of_every_length(cut, dtype):
    # Within a batch of rows, within the 64 steps that a register remembers, at both edges, beyond, and never cut.
    a = normal(7, (200, 33), dtype, 15)
    for gradient in ("slayer", "exact"):
        srm = filters(cut, gradient)
        for spiking in (srm.refracting, srm.spiking, replace(srm, tau_sr=10.0, cutoff=0.01).spiking):
            u, s = fire(cpu, a, spiking)
            assert 0.02 < s.mean() < 0.5
            same_spikes(fire(gpu, a, spiking), (u, s))
            close(fire_adjoint(gpu, a, u, spiking), fire_adjoint(cpu, a, u, spiking))


def gradient(seed, shape, dtype, theta):
    """Return the gradient that reaches spikes, and potentials around the threshold and far away from it."""
    return normal(seed, shape, dtype), normal(seed + 1, shape, dtype, 3 * theta)


@many
@given(shapes, dtypes, srms(), seeds)
def test_spike_response_neurons_adjoint(shape, dtype, srm, seed):
    g, u = gradient(seed, shape, dtype, srm.theta)
    of_potential, double = (fire_adjoint(cpu, *each, srm.refracting) for each in ((g, u), as_double(g, u)))
    close(fire_adjoint(gpu, g, u, srm.refracting), of_potential, double=double)
    # A filter may be cut so short that the rounding of its two states is all that is left.
    theirs, double = (fire_adjoint(cpu, *each, srm.spiking) for each in ((g, u), as_double(g, u)))
    close(fire_adjoint(gpu, g, u, srm.spiking), theirs, least=norm(of_potential), double=double)


def as_double(*arrays):
    return tuple(x.astype(float) for x in arrays)


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
