"""Emulated CUDA kernels of neurons with a sampled refractory response against the CPU's."""

from hypothesis import given
from hypothesis import strategies as st

from cuslayer.kernels import cpu, gpu
from cuslayer.kernels.time.sampled_srm.constants import SampledSpiking
from cuslayer.surrogates import EXPONENTIAL
from tests.kernels.test_twins import close, dtypes, many, normal, same_spikes, seeds, shapes, train
from tests.kernels.test_twins import emulator as emulator


@st.composite
def spikings(draw):
    theta, count = draw(st.floats(0.5, 5)), draw(st.integers(1, 50))
    taps = normal(draw(seeds), (count,), "float64", draw(st.floats(0, 2)) * theta)
    taps[0] = 0
    width = theta * draw(st.floats(0.05, 2))
    return SampledSpiking(theta, taps, width, draw(st.floats(0.01, 0.1)) / theta, EXPONENTIAL.shape)


@many
@given(shapes, dtypes, spikings(), seeds)
def test_sampled_spike(shape, dtype, spiking, seed):
    a = normal(seed, shape, dtype, 2 * spiking.theta)
    same_spikes(gpu.sampled_srm.sampled_spike(a, spiking), cpu.sampled_srm.sampled_spike(a, spiking))
    before = train(seed, (seed % 60, *shape[1:]))
    same_spikes(*(k.sampled_srm.sampled_spike_after(before, a, spiking) for k in (gpu, cpu)))
    g, u = normal(seed, shape, dtype), normal(seed + 1, shape, dtype, 2 * spiking.theta)
    ours = gpu.sampled_srm.sampled_spike_adjoint_exact(g, u, spiking)
    double = cpu.sampled_srm.sampled_spike_adjoint_exact(g.astype(float), u.astype(float), spiking)
    close(ours, cpu.sampled_srm.sampled_spike_adjoint_exact(g, u, spiking), double=double)
