"""Networks on emulated CUDA kernels: the same spikes and the same training step as on the CPU."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import kernels
from cuslayer.kernels.constants import Alpha
from cuslayer.neurons.potential import on_potential
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


def recurrent(neuron):
    return cs.Recurrent(cs.Dense(65, 65), neuron)


# The kernels of dense layers that run, and the network.
OF_DENSE_LAYERS = {
    "SRM": ({"dense_neuron"}, lambda: [cs.Dense(200, 65), cs.SRM(), cs.Dense(65, 10), cs.SRM()]),
    "LIF": ({"dense"}, lambda: [cs.Dense(200, 65), cs.LIF(), cs.Dense(65, 10), cs.LIF()]),
    "AdaptiveLIF": ({"dense"}, lambda: [cs.Dense(200, 65), cs.AdaptiveLIF(), cs.Dense(65, 10), cs.CUBA()]),
    "recurrent": (
        {"dense", "dense_neuron", "recurrent_leaky"},
        lambda: [cs.Dense(200, 65), recurrent(cs.LIF()), cs.Dense(65, 10), cs.SRM()],
    ),
    "delayed": (
        {"shift_spikes", "dense_neuron", "dense", "resonate"},
        lambda: [cs.Shift(3.0), cs.Dense(200, 65), cs.SRM(), cs.Dense(65, 10), cs.ResonateAndFire()],
    ),
    "convolution": (
        {"conv_neuron", "dense_neuron"},
        lambda: [cs.Conv(2, 5, 3, padding=1), cs.SRM(), cs.Dense((10, 10, 5), 33), cs.SRM(), cs.Dense(33, 5), cs.SRM()],
    ),
}


@pytest.mark.all
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", OF_DENSE_LAYERS)
def test_frames_of_any_activity(name, dtype):
    """Potentials and spikes are the CPU's to the bit, in each sample at an activity of its own."""
    ours, make = OF_DENSE_LAYERS[name]
    cs.seed(3)
    net, shape = cs.Sequential(*make()), (10, 10, 2) if name == "convolution" else (200,)
    activities = np.array([0.005, 0.05, 0.09, 0.15, 0.4, 0.8]).reshape(1, 6, *[1] * len(shape))
    x = np.random.default_rng(0).random((40, 6, *shape)) < activities
    cs.calibrate(net, [(x, None)], rate=80.0)
    for p in net.parameters():
        p.data = p.data.astype(dtype) * np.dtype(dtype).type(1.1)

    def run():
        seen = []
        with on_potential(lambda u: seen.append(u.values.tobytes() if u.from_blocks is None else None)):
            return net(x).numpy(), seen

    spikes, potentials = run()
    with emulation() as emulator:
        found, of_device = run()
    assert ours <= set(emulator.launches)
    assert spikes[:, 2:4].any()
    assert spikes[:, 4:].any()
    assert (found == spikes).all()
    assert [a == b for a, b in zip(of_device, potentials, strict=True) if b is not None] == [True] * 2


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


@pytest.mark.all
def test_spike_time_and_delay(emulated):
    srm = cs.SRM()
    x = np.random.default_rng(1).random((25, 1, 6)) < 0.3
    late = cs.shift(x, delay=3.0)
    assert (late.data[3:] == x[:-3]).all()
    t = cs.Tensor(x.astype(np.float32), requires_grad=True)
    cs.SpikeTimeLoss(srm)(cs.shift(t, delay=-2.0), x).backward()
    assert t.grad.any()
    assert {"shift_spikes", "shift", "psp", "psp_adjoint"} <= set(emulated.launches)


def test_every_launch_is_the_emulators(emulated):
    x = np.ones((5, 3), np.float32)
    kernels.of(x).response.psp(x, Alpha(1, 5, 1, 0))
    assert emulated.launches == ["psp"]
