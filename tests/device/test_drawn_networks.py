"""Drawn networks on emulated CUDA: the spikes of the CPU to the bit, and its gradients.

`CUSLAYER_NETWORKS` sets how many networks are drawn; 200 take a few minutes.
"""

import os
import warnings

import numpy as np
import pytest

import cuslayer as cs
from tools.emulator.driver import emulation

COUNT = int(os.environ.get("CUSLAYER_NETWORKS", "10"))


def drawn(seed):
    """Return a network, its input and its number type."""
    generator = np.random.default_rng(seed)

    def one_of(*values):
        return values[int(generator.integers(len(values)))]

    dt = one_of(1.0, 0.5)
    neuron = cs.SRM(
        theta=one_of(5.0, 10.0),
        tau_sr=one_of(1.0, 4.0, 10.0),
        tau_ref=one_of(0.5, 1.0, 3.0),
        dt=dt,
        gradient=one_of("slayer", "exact"),
        cutoff=one_of(0.01, 0.0),
    )
    height, width, channels = (int(n) for n in generator.integers(1, (9, 9, 4)))
    shape = (height, width, channels)
    layers = []
    for _ in range(int(generator.integers(0, 3))):
        groups = one_of(1, *(g for g in (2, 3) if shape[2] % g == 0))
        options = {
            "stride": (one_of(1, 1, 2), one_of(1, 1, 2)),
            "padding": (one_of(0, 1, 2), one_of(0, 1, 2)),
            "dilation": (one_of(1, 1, 2), one_of(1, 1, 2)),
            "groups": groups,
        }
        layer = cs.Conv(shape[2], groups * one_of(1, 3, 8), (one_of(1, 2, 3), one_of(1, 2, 3)), **options)
        if one_of(True, True, False):
            try:
                shape = layer.output_shape(shape)
            except ValueError:  # the window is larger than the image
                continue
            layers += [layer, neuron]
        if one_of(True, False):
            pool = cs.SumPool((one_of(1, 2, 3), one_of(1, 2, 4)), gain=1.1 * neuron.theta)
            shape = pool.output_shape(shape)
            layers += [pool, neuron]
        if one_of(True, False, False):
            layers.append(cs.Delay(shape, dt=dt))
    for outputs in (one_of(3, 33, 40), one_of(1, 5, 10))[one_of(0, 1) :]:
        layers += [cs.Dense(shape, outputs), neuron]
        shape = (outputs,)
    net = cs.Sequential(*layers)
    dtype = one_of(np.dtype(np.float32), np.dtype(np.float32), np.dtype(np.float64))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "calibrate: not all neurons fire at the rate")
        cs.calibrate(net, [(generator.random((40, 2, height, width, channels)) < 0.1, None)], rate=150.0)
    for p in net.parameters():
        p.data = p.data.astype(dtype)
    for layer in layers:
        if isinstance(layer, cs.Delay):
            layer.delay.data[...] = generator.integers(0, 4, layer.delay.shape) * dt
    steps, samples = one_of(1, 33, 40, 65), one_of(1, 2, 5)
    return net, generator.random((steps, samples, height, width, channels)) < one_of(0.05, 0.2, 0.6), dtype


def run(net, x):
    for p in net.parameters():
        p.grad = None
    spikes = net(x)
    spikes.backward(np.random.default_rng(1).standard_normal(spikes.shape).astype(np.float32))
    return spikes.numpy(), [p.grad for p in net.parameters()]


@pytest.mark.parametrize("seed", range(COUNT))
def test_spikes_to_the_bit_and_gradients(seed):
    net, x, dtype = drawn(seed)
    spikes, gradients = run(net, x)
    with emulation():
        emulated, emulated_gradients = run(net, x)
    assert emulated.tobytes() == spikes.tobytes()
    for ours, theirs in zip(emulated_gradients, gradients, strict=True):
        assert (ours is None) == (theirs is None)
        if theirs is not None:
            # Pooling sums spikes in float32, and its neurons follow it.
            least = 1e-6 if dtype == np.float32 or any(isinstance(layer, cs.SumPool) for layer in net.layers) else 1e-12
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=10 * least * max(np.abs(theirs).max(), 1e-30))


def test_many_networks_fire():
    assert np.mean([net(x).numpy().any() for net, x, _ in map(drawn, range(COUNT))]) > 0.5
