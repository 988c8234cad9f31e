"""Emulated CUDA kernels of every surrogate against the CPU's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer.kernels import cpu, gpu
from tests.kernels.test_twins import close, dtypes, fire_adjoint, many, normal, seeds, shapes, srms
from tests.kernels.test_twins import emulator as emulator

PLAIN = ("Exponential", "FastSigmoid", "Arctan", "Triangle", "Gaussian", "Boxcar", "MultiGaussian")
SURROGATES = [*(getattr(cs.surrogates, name)() for name in PLAIN), cs.surrogates.MultiGaussian(0.5, 2.0)]
surrogates = st.sampled_from(SURROGATES)


@many
@given(shapes, dtypes, srms(surrogates), seeds)
def test_surrogate_adjoints(shape, dtype, srm, seed):
    g, u = normal(seed, shape, dtype), normal(seed + 1, shape, dtype, 2 * srm.theta)
    most = 3e-6 if dtype == "float32" else None
    close(*(k.sampled_srm.surrogate_adjoint(g, u, srm.spiking) for k in (gpu, cpu)), most)
    double = fire_adjoint(cpu, g.astype(float), u.astype(float), srm.refracting)
    close(*(fire_adjoint(k, g, u, srm.refracting) for k in (gpu, cpu)), most, double=double)


@pytest.mark.parametrize("surrogate", SURROGATES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_not_finite_stays_so(surrogate, dtype):
    u = np.array([[np.inf, -np.inf, np.nan, 1.0, 1e30, -1e30]], dtype)
    for gradient in ("slayer", "exact"):
        srm = cs.SRM(theta=1.0, tau_rho=0.5, gradient=gradient, surrogate=surrogate)
        for device in (cpu, gpu):
            g = np.ones_like(u)
            plain = device.sampled_srm.surrogate_adjoint(g, u, srm.spiking)
            for found in (plain, fire_adjoint(device, g, u, srm.refracting)):
                assert np.isnan(found[0, :3]).all()
                assert np.isfinite(found[0, 3:]).all()
