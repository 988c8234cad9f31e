"""The emulated CUDA kernel of Loihi's neuron against the CPU's: integers, equal to the bit in both number types."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import cuslayer as cs
from cuslayer.kernels import cpu, gpu
from tests.kernels.test_twins import close, normal, same_spikes, shapes
from tests.kernels.test_twins import emulator as emulator
from tests.support import reference

many = settings(max_examples=150, deadline=None)
dtypes = st.sampled_from(["float32", "float64"])
seeds = st.integers(0, 2**32 - 1)
neurons = st.builds(
    cs.Loihi,
    vth_mant=st.one_of(st.integers(1, 300), st.integers(1, 2**17 - 1)),
    v_decay=st.integers(50, 4095),
    i_decay=st.integers(50, 4095),
    ref_delay=st.one_of(st.integers(1, 8), st.integers(1, 64)),
    wgt_exp=st.integers(-7, 7),
    tau_rho=st.floats(0.05, 2),
    scale_rho=st.floats(0.1, 1),
    first_bin=st.booleans(),
    surrogate_at=st.sampled_from(["before_reset", "recorded"]),
)


@many
@given(shapes, dtypes, neurons, st.floats(0, 6), seeds)
def test_loihi(shape: tuple[int, ...], dtype: str, neuron: cs.Loihi, size: float, seed: int) -> None:
    x = normal(seed, shape, dtype, 10**size)
    same_spikes(gpu.loihi.forward(x, neuron.constants), cpu.loihi.forward(x, neuron.constants))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 40), st.integers(0, 4), dtypes, neurons, st.floats(0, 6), seeds)
def test_loihi_is_a_plain_loop(steps: int, columns: int, dtype: str, neuron: cs.Loihi, size: float, seed: int) -> None:
    x = np.rint(normal(seed, (steps, columns), dtype, 10**size))
    u, s = gpu.loihi.forward(x, neuron.constants)
    v, spikes = reference.loihi(x, neuron)
    np.testing.assert_array_equal(s, spikes)
    seen = np.where(spikes, neuron.v_decay, v) if neuron.surrogate_at == "recorded" else v
    np.testing.assert_array_equal(u.astype(np.int64), seen.astype(np.int64))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_no_size(dtype: str) -> None:
    x = np.array([[np.inf, -np.inf, np.nan, 1e30, -1e30, 2.0**18, -0.0, 80.0]] * 9, dtype)
    for neuron in (cs.Loihi(), cs.Loihi(vth_mant=2**17 - 1, wgt_exp=7, ref_delay=3)):
        same_spikes(gpu.loihi.forward(x, neuron.constants), cpu.loihi.forward(x, neuron.constants))


@many
@given(shapes, dtypes, neurons, seeds)
def test_loihi_adjoint(shape: tuple[int, ...], dtype: str, neuron: cs.Loihi, seed: int) -> None:
    g, u = normal(seed, shape, dtype), normal(seed + 1, shape, dtype, 3 * neuron.theta)
    c = neuron.constants
    close(gpu.loihi.adjoint(g, u, c), cpu.loihi.adjoint(g, u, c))


def test_a_gradient_of_broken_rows_is_taken_as_the_cpu_takes_it() -> None:
    c = cs.Loihi().constants
    g = np.broadcast_to(normal(0, (1, 7), "float32"), (12, 7))
    u = normal(1, (7, 12), "float32", 5000).T
    close(gpu.loihi.adjoint(g, u, c), cpu.loihi.adjoint(g, np.ascontiguousarray(u), c))
    x = normal(1, (7, 12), "float32", 50).T
    same_spikes(gpu.loihi.forward(x, c), cpu.loihi.forward(np.ascontiguousarray(x), c))
