"""Networks on emulated CUDA kernels: which of them are launched."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import kernels
from cuslayer.kernels.step.filters import Alpha


@pytest.mark.parametrize("notation", ["40-30-3", "8x8x2-4c3-2a-3"])
@pytest.mark.parametrize("gradient", ["slayer", pytest.param("exact", marks=pytest.mark.all)])
def test_a_training_step_is_fused_passes(notation, gradient, emulated):
    """Its numbers are compared with the CPU's by the tests of operations and of drawn networks."""
    cs.seed(7)
    srm = cs.SRM(gradient=gradient)
    net = cs.Network(notation, srm)
    x = np.random.default_rng(0).random((30, 2, *net.input_shape)) < 0.15
    cs.SpikeCountLoss(srm, true=12, false=2, window=(5, 30))(net(x), [0, 2]).backward()
    ours = {"dense_neuron", "spike_count_error", "spike_count_error_adjoint", "dense_neuron_adjoint"}
    if "c" in notation:
        backward = {"pool_neuron_adjoint", "conv_neuron_adjoint"} if gradient == "exact" else {"conv_pool_adjoint"}
        ours |= {"conv_neuron", "pool_neuron", *backward}
    assert ours < set(emulated.launches)
    assert all(p.grad.any() for p in net.parameters())


@pytest.mark.all
@pytest.mark.parametrize("gradient", ["slayer", "exact"])
def test_numbers_before_a_convolution_and_a_dense_layer(gradient, emulated):
    """The convolution of numbers takes an array where the dense layer of its spikes defers its gradient."""
    cs.seed(7)
    srm = cs.SRM(gradient=gradient)
    net = cs.Sequential(cs.Conv(2, 3, 3, weight_scale=60.0), srm, cs.Dense((4, 4, 3), 3), srm)
    x = np.random.default_rng(0).random((20, 2, 6, 6, 2), np.float32)
    spikes = net(x)
    spikes.backward(np.ones(spikes.shape, np.float32))
    assert "dense_neuron" in emulated.launches
    assert "conv_neuron" not in emulated.launches
    assert all(p.grad.any() for p in net.parameters())


def test_every_launch_is_the_emulators(emulated):
    x = np.ones((5, 3), np.float32)
    Alpha(1, 5, 1, 0).apply(kernels.of(x), x)
    assert emulated.launches == ["neuron_of_kind"]
