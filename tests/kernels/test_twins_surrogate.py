"""Emulated CUDA kernels of every surrogate against the CPU's, and against the exponential's own passes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.constants import Alpha, Shape, Spiking
from tests.kernels.test_twins import close, dtypes, many, normal, seeds, shapes
from tests.kernels.test_twins import emulator as emulator

kinds = st.sampled_from([*map(Shape, range(6)), Shape(6, 0.15, 6.0), Shape(6, 0.5, 2.0)])


@st.composite
def spikings(draw):
    theta, dt = draw(st.floats(0.5, 20)), draw(st.floats(0.1, 2))
    cutoff = draw(st.sampled_from([0, 0.01, 0.3 * theta]))
    refractory = Alpha(-theta * draw(st.floats(0, 2)), draw(st.floats(0.3, 5)), dt, cutoff)
    width = theta * draw(st.floats(0.05, 2))
    return Spiking(theta, refractory, width, dt * draw(st.floats(0.05, 0.3)) / width, draw(kinds))


@many
@given(shapes, dtypes, spikings(), seeds)
def test_surrogate_adjoints(shape, dtype, spiking, seed):
    g, u = normal(seed, shape, dtype), normal(seed + 1, shape, dtype, 2 * spiking.theta)
    most = 3e-6 if dtype == "float32" else None
    close(gpu.surrogate.adjoint(g, u, spiking), cpu.surrogate.adjoint(g, u, spiking), most)
    ours, theirs = gpu.surrogate.adjoint_exact(g, u, spiking), cpu.surrogate.adjoint_exact(g, u, spiking)
    double = cpu.surrogate.adjoint_exact(g.astype(float), u.astype(float), spiking)
    close(ours, theirs, most, double=double)


@pytest.mark.parametrize("code", range(7))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_stays_so(code, dtype):
    spiking = Spiking(1.0, Alpha(-2.0, 1.0, 1.0, 0.01), 0.5, 0.1, Shape(code, 0.15 * (code == 6), 6.0))
    u = np.array([[np.inf, -np.inf, np.nan, 1.0, 1e30, -1e30]], dtype)
    for device in (cpu, gpu):
        for back in (device.surrogate.adjoint, device.surrogate.adjoint_exact):
            found = back(np.ones_like(u), u, spiking)[0]
            assert np.isnan(found[:3]).all()
            assert np.isfinite(found[3:4]).all()
            assert np.isfinite(found[4:]).all()
