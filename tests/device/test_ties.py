"""Exact ties: a potential at the threshold, a sum of zero, the edge of a surrogate; the same on both devices."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._tape import on_potential
from cuslayer.kernels import cpu, gpu
from tests.kernels.test_twins import fire_adjoint
from tools.emulator.driver import emulation

# Neurons by their threshold; an exact gradient has the path through what a spike changes, that of time constants too.
NEURONS = {
    "SRM": lambda theta: cs.SRM(theta, gradient="exact"),
    "SRM, slayer": cs.SRM,
    "SampledSRM": lambda theta: cs.neurons.SampledSRM(
        [0.0, 1.0, 0.5], [0.0, -2.0, -1.0], theta=theta, gradient="exact"
    ),
    "LIF": lambda theta: cs.LIF(theta=theta, reset="subtract", gradient="exact", trained=True),
    "LIF to zero": lambda theta: cs.LIF(theta=theta, gradient="exact", trained=True),
    "CUBA": lambda theta: cs.CUBA(3.0, 5.0, theta=theta, gradient="exact", trained=True),
    "AdaptiveLIF": lambda theta: cs.AdaptiveLIF(3.0, 5.0, 20.0, 4.0, 0.3, theta=theta, gradient="exact", trained=True),
    "ResonateAndFire": lambda theta: cs.neurons.ResonateAndFire(theta=theta, gradient="exact", trained=True),
    "AdLIF": lambda theta: cs.AdLIF(theta=theta, trained=True),
    "BalancedResonateAndFire": lambda theta: cs.neurons.BalancedResonateAndFire(
        theta=theta, trained=True, scale_rho=1e-4
    ),
    "NormalizedALIF": lambda theta: cs.neurons.NormalizedALIF(theta=theta, trained=True),
}


def recurrent(neuron):
    cs.seed(1)
    return cs.Recurrent(cs.Dense(7, 7), neuron)


CASES = {
    **{name: ((20,), lambda: cs.Dense(20, 7), make) for name, make in NEURONS.items()},
    **{
        f"{name}, recurrent": ((20,), lambda: cs.Dense(20, 7), lambda theta, make=make: recurrent(make(theta)))
        for name, make in NEURONS.items()
        if name in ("SRM", "LIF", "CUBA", "AdaptiveLIF", "AdLIF", "BalancedResonateAndFire", "NormalizedALIF")
    },
    "convolution": ((5, 5, 2), lambda: cs.Conv(2, 3, 3), NEURONS["SRM"]),
    "pooling": ((6, 6, 2), lambda: cs.SumPool(2, gain=1.5), NEURONS["SRM"]),
}


def run(net, x, highest=False):
    """Return the spikes, the gradients, and if it is asked for the highest potential."""
    seen = []
    if highest:
        with on_potential(lambda u: seen.append(float(u.values.max()))):
            net[1](net[0](x))
    for p in net.parameters():
        p.grad = None
    spikes = net(x)
    if net.parameters():
        spikes.backward(np.random.default_rng(1).standard_normal(spikes.shape).astype(np.float32))
    return spikes.numpy(), [p.grad for p in net.parameters()], max(seen, default=0.0)


@pytest.mark.parametrize("name", CASES)
def test_a_potential_at_the_threshold_fires(name):
    shape, layer, neuron = CASES[name]
    x = np.random.default_rng(0).random((50, 2, *shape)) < 0.3
    x[15:] = False  # steps follow the highest potential, so that what its spike changes has a gradient

    def net(theta):
        cs.seed(0)
        return cs.Sequential(layer(), neuron(theta))

    silent, _, highest = run(net(1e9), x, highest=True)
    assert not silent.any()
    assert highest > 0
    spikes, gradients, _ = run(net(highest), x)
    assert spikes.sum() >= 1
    above = float(np.nextafter(np.float32(highest), np.float32(np.inf)))
    assert not run(net(above), x)[0].any()
    with emulation() as emulator:
        found, of_device, _ = run(net(highest), x)
        assert emulator.launches
        assert not run(net(above), x)[0].any()
    assert found.tobytes() == spikes.tobytes()
    for ours, theirs in zip(of_device, gradients, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-5 * np.abs(theirs).max())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("sums", [True, False])
def test_a_rectified_sum_of_zero_passes_no_gradient(sums, dtype):
    x = np.array([[0.0], [-0.0], [2.0], [-2.0], [3.0], [-3.0], [0.0], [-1.0], [1.0]], dtype)
    value = np.cumsum(x, axis=0) if sums else x
    g = np.arange(1.0, 10.0, dtype=dtype)[:, None]
    expected, of_change = np.zeros_like(g), np.zeros(1, dtype)
    for t in range(len(x) - 1, -1, -1):
        # What is sent later is less by what is sent now.
        of_change = (g[t] - (g[t + 1] if t + 1 < len(x) else 0)) * (value[t] > 0)
        expected[t] = of_change + (expected[t + 1] if sums and t + 1 < len(x) else 0)
    with emulation():
        for device in (cpu, gpu):
            for rectifies in (True, False):
                neuron = cs.neurons.SigmaDelta(theta=1.0, sums=sums, activation="relu" if rectifies else "none")
                none = np.empty((0, 1), dtype)
                u, _, kept = device.scan.forward(x[None], none, neuron.spiking, None, neuron.spiking.saved(False))
                np.testing.assert_array_equal(kept[0], value > 0 if rectifies else np.ones_like(value))
                if rectifies:
                    y, _ = device.scan.adjoint(g, u, kept, none, neuron.spiking)
                    np.testing.assert_array_equal(y[0], expected)


def test_a_change_at_the_threshold_passes_an_exact_gradient():
    """Of either sign; the surrogate is 0 at such a distance from its middle."""
    options = {"gradient": "exact", "surrogate": "triangle", "tau_rho": 0.5, "scale_rho": 0.05}
    spiking = cs.neurons.SigmaDelta(theta=1.0, sums=False, activation="none", **options).spiking
    beside = np.nextafter(1.0, 0.0)
    u = np.array([[1.0, -1.0, beside, -beside, 0.0]])
    with emulation():
        for device in (cpu, gpu):
            y, _ = device.scan.adjoint(np.ones_like(u), u, np.ones((1, *u.shape)), np.empty((0, 1)), spiking)
            np.testing.assert_allclose(y[0], [[1.1, 1.1, 0.1, 0.1, 0.0]], rtol=1e-9)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_edges_of_surrogates(dtype):
    """A box is closed: at its edges it has its height."""
    eps = np.finfo(dtype).eps
    u = np.array([[1.0, 1 - eps, 3.0, 3 + 2 * eps, 2.0]], dtype)
    expected = {"triangle": [0.0, 0.0, 0.0, 0.0, 0.25], "boxcar": [0.25, 0.0, 0.25, 0.0, 0.25]}
    with emulation():
        for device in (cpu, gpu):
            for surrogate, values in expected.items():
                options = {"tau_rho": 0.5, "scale_rho": 0.25, "scale_ref": 0.0, "gradient": "exact"}
                srm = cs.SRM(theta=2.0, surrogate=surrogate, **options)
                plain = device.sampled_srm.surrogate_adjoint(np.ones_like(u), u, srm.spiking)
                np.testing.assert_array_equal(plain[0], values)
                np.testing.assert_array_equal(fire_adjoint(device, np.ones_like(u), u, srm.refracting)[0], values)
