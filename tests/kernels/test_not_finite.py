"""A potential that is not finite has a surrogate of NaN, in every kernel: on the CPU and on the emulated GPU."""

import math

import numpy as np
import pytest

import cuslayer as cs
from cuslayer.kernels import cpu, gpu
from cuslayer.neurons import loihi
from tests.kernels.test_twins import fire_adjoint
from tests.kernels.test_twins_conv import emulator as emulator

WRONG = (math.nan, math.inf, -math.inf)
SAMPLED = cs.neurons.SampledSRM([0.0, 1.0, 0.5], [0.0, -20.0])
SRM = cs.SRM()
LOIHI = cs.Loihi().constants


def adjoints(k):
    """Return functions of the gradient of spikes and the potential."""
    return {
        "neuron": lambda g, u: fire_adjoint(k, g, u, SRM.spiking),
        "neuron, exact": lambda g, u: fire_adjoint(k, g, u, SRM.with_gradient("exact").spiking),
        "sampled": lambda g, u: k.sampled_srm.sampled_spike_adjoint_exact(g, u, SAMPLED.spiking),
        "Loihi": lambda g, u: loihi.adjoint(k, g, u, LOIHI),
    }


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", adjoints(cpu))
@pytest.mark.parametrize("k", [cpu, gpu], ids=["cpu", "gpu"])
def test_the_gradient_of_such_a_neuron_is_nan_and_no_other(k, name, dtype):
    for wrong in WRONG:
        g, u = np.zeros((20, 2, 3), dtype), np.full((20, 2, 3), 500.0, dtype)
        u[12, 1, 2] = wrong  # where the gradient is 0, too
        y = adjoints(k)[name](g, u)
        of_neuron = np.isnan(y).any(axis=0)
        assert of_neuron.tolist() == [[False, False, False], [False, False, True]], wrong


@pytest.mark.parametrize("notation", ["6x6x2-5-3", "6x6x2-4c3-3", "6x6x2-4c3-2a-3"])
@pytest.mark.parametrize("potentials", ["full", "float16"])
def test_gradients_of_fused_layers(notation, potentials):
    x, found = np.random.default_rng(0).random((12, 2, 6, 6, 2)) < 0.4, []
    with np.errstate(all="ignore"):
        for large in (1.0, 3e38):
            net = cs.Network(notation, cs.SRM(tau_sr=3.0), potentials=potentials)
            for p in net.parameters():
                p.data[...] = 1.0
            net.parameters()[0].data[..., 1] = large
            net(x).sum().backward()
            found.append(net.parameters()[0].grad)
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1][..., 1]).any()
    assert np.isfinite(np.delete(found[1], 1, axis=-1)).all()
