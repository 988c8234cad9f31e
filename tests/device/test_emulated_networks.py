"""Networks on emulated CUDA kernels: the same spikes and the same training step as on the CPU."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import kernels
from cuslayer.kernels.constants import Alpha
from tools.emulator.driver import emulation


def step(notation, gradient, make):
    cs.seed(7)
    srm = cs.SRM(gradient=gradient)
    net = cs.Network(notation, srm)
    x = np.random.default_rng(0).random((30, 2, *net.input_shape)) < 0.15
    optimizer = make(net.parameters())
    spikes = net(x)
    cs.SpikeCountLoss(srm, true=12, false=2, region=(5, 30))(spikes, [0, 2]).backward()
    grads = [p.grad for p in net.parameters()]
    optimizer.step()
    return spikes.data, grads, [p.data for p in net.parameters()]


def sgd(parameters):
    return cs.SGD(parameters, 1e-3, momentum=0.9)


def adam(parameters):
    return cs.Adam(parameters, 1e-3, amsgrad=True)


@pytest.mark.parametrize(
    ("notation", "gradient", "make"),
    [
        ("40-30-3", "slayer", adam),
        ("8x8x2-4c3-2a-3", "slayer", sgd),
        pytest.param("40-30-3", "exact", sgd, marks=pytest.mark.all),
        pytest.param("8x8x2-4c3-2a-3", "exact", adam, marks=pytest.mark.all),
    ],
)
def test_a_training_step(notation, gradient, make):
    spikes, grads, weights = step(notation, gradient, make)
    with emulation() as emulator:
        emulated_spikes, emulated_grads, emulated_weights = step(notation, gradient, make)
    ours = {"dense_neuron", "spike_count_error_packed", "spike_count_error_adjoint", "dense_neuron_adjoint"}
    assert ours < set(emulator.launches)
    if "c" in notation:
        backward = {"pool_neuron_adjoint", "conv_neuron_adjoint"} if gradient == "exact" else {"conv_pool_adjoint"}
        assert {"conv_pool", *backward} < set(emulator.launches)
    assert spikes.any()
    assert (spikes == emulated_spikes).all()
    for mine, other in zip(grads, emulated_grads, strict=True):
        assert mine.any()
        np.testing.assert_allclose(other, mine, rtol=0, atol=1e-5 * np.abs(mine).max())
    for mine, other in zip(weights, emulated_weights, strict=True):
        # Adam divides a gradient by its size: one that is only rounding may move its weight either way.
        assert np.mean(np.abs(mine - other) > 1e-6) < 0.01


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
    kernels.of(x).response.psp(x, Alpha(1, 5, 1, 0))
    assert emulated.launches == ["psp"]
