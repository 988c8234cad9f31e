"""Emulated CUDA kernels of sigma-delta neurons against the CPU's: equal to the bit forward, but for exp back."""

import math
from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import DeltaSpiking
from tests.kernels.test_twins import close, dtypes, many, normal, same_bits, seeds, shapes
from tests.kernels.test_twins import emulator as emulator
from tests.kernels.test_twins_neuron import common

PLAIN = DeltaSpiking(theta=1.0, sums=True, rectifies=True, exact=True, graded=True, width=0.5, height=0.1)


@st.composite
def spikings(draw):
    theta = draw(st.floats(0.3, 3))
    kind = {"sums": draw(st.booleans()), "rectifies": draw(st.booleans())}
    return DeltaSpiking(height=draw(st.floats(0.05, 0.3)) / theta, **kind, **draw(common(theta)))


@many
@given(shapes, dtypes, spikings(), seeds, st.booleans())
def test_sigma_delta(shape, dtype, spiking, seed, held):
    x = normal(seed, shape, dtype, spiking.theta)
    states = [normal(seed + 1, (2, math.prod(shape[1:])), dtype) if held else None for _ in range(2)]
    ours, theirs = (k.sigma_delta.forward(x, spiking, at) for k, at in zip((gpu, cpu), states, strict=True))
    for mine, other in zip(ours, theirs, strict=True):
        same_bits(mine, other)
    if states[0] is not None and states[1] is not None:
        same_bits(*states)


@many
@given(shapes, dtypes, spikings(), seeds)
def test_sigma_delta_adjoint(shape, dtype, spiking, seed):
    g, u = normal(seed, shape, dtype), normal(seed + 1, shape, dtype, spiking.theta)
    passes = np.random.default_rng(seed).random(shape) < 0.6
    later = [normal(seed + 2, (2, math.prod(shape[1:])), dtype) for _ in range(2)]
    found = (k.sigma_delta.adjoint(g, u, passes, spiking, at) for k, at in zip((gpu, cpu), later, strict=True))
    for ours, theirs in (found, later):
        close(ours, theirs, 2e-5 if dtype == "float32" else 1e-12)


def test_a_change_of_the_threshold_is_sent():
    spiking = replace(PLAIN, sums=False, rectifies=False, exact=False, width=1.0)
    x = np.array([[np.nextafter(1.0, 0.0), 1.0, -1.0, np.nextafter(-1.0, 0.0)]])
    for device in (cpu, gpu):
        assert device.sigma_delta.forward(x, spiking)[1].tolist() == [[False, True, True, False]]


def test_what_is_not_finite_stays_so():
    x = np.array([[np.nan, np.inf, 1.0]] * 5)
    for rectifies in (False, True):
        spiking = replace(PLAIN, rectifies=rectifies, width=1.0)
        for device in (cpu, gpu):
            u, _, passes = device.sigma_delta.forward(x, spiking)
            assert np.isnan(u[:, 0]).all()
            assert np.isfinite(u[:, 2]).all()
            assert np.isnan(device.sigma_delta.adjoint(np.ones_like(x), u, passes, spiking)[0, 0])
