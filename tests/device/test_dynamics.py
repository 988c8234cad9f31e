"""Neurons with states of their own, and every surrogate, on a device against the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from cuslayer.surrogates import SURROGATES
from tests.device.test_operations import device as device
from tests.device.test_operations import module, normal, run

TAUS = np.linspace(2.0, 9.0, 5)
NEURONS: dict[str, Any] = {
    "LIF": lambda **options: cs.LIF(TAUS, theta=2.0, **options),
    "CUBA": lambda **options: cs.CUBA(3.0, TAUS, theta=2.0, reset="subtract", **options),
    "ResonateAndFire": lambda **options: cs.ResonateAndFire(TAUS, 50 * TAUS, theta=2.0, reset="zero", **options),
    "AdaptiveLIF": lambda **options: cs.AdaptiveLIF(3.0, TAUS, 20.0, 4.0, rise=0.3, theta=2.0, **options),
}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gradient", ["slayer", "exact"])
@pytest.mark.parametrize("shape", [(40, 2, 5), (1, 1, 5), (0, 2, 5), (40, 0, 5)])
@pytest.mark.parametrize("kind", NEURONS)
def test_the_spikes_are_the_cpus_to_the_bit(kind: str, gradient: str, dtype: str, shape: tuple[int, ...]) -> None:
    neuron, x = NEURONS[kind](gradient=gradient), normal(*shape, scale=2).astype(dtype)
    (s, g), (spikes, expected) = (run(where, neuron, [x]) for where in ("cuda", "cpu"))
    assert (s == spikes).all()
    assert spikes.any() or shape != (40, 2, 5)
    assert g.dtype == expected.dtype == np.dtype(dtype)
    np.testing.assert_allclose(g, expected, rtol=0, atol={"float32": 1e-5, "float64": 1e-12}[dtype])


@pytest.mark.parametrize("kind", NEURONS)
def test_time_constants_are_trained_and_states_kept(kind: str) -> None:
    found = []
    x = normal(30, 2, 5, scale=2).astype(np.float32)
    for where in ("cuda", "cpu"):
        cs.use(where)
        neuron = NEURONS[kind](trained=True, stateful=True, graded=True, gradient="exact")
        first, second = neuron(backend.to_device(x[:9])), neuron(backend.to_device(x[9:]))
        assert module(second.data) == ("cupy" if where == "cuda" else "numpy")
        second.backward(backend.to_device(np.ones(second.shape, np.float32)))
        grads = [backend.to_numpy(p.grad) for p in neuron.parameters()]
        found.append([backend.to_numpy(first.data), backend.to_numpy(second.data), *grads])
    assert len(found[0]) == 2 + len(NEURONS[kind]().time_constants)
    for mine, other in zip(*found, strict=True):
        assert mine.shape == other.shape
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", NEURONS)
def test_a_network_is_recorded_and_explained(kind: str) -> None:
    found = []
    for where in ("cuda", "cpu"):
        cs.use(where)
        cs.seed(1)
        net = cs.Sequential(cs.Dense(6, 5, weight_scale=6.0), NEURONS[kind]())
        x = np.random.default_rng(0).random((30, 2, 6)) < 0.4
        with cs.record(net, window=(5, 25)) as seen:
            cs.SpikeCountLoss(net[1], true=9, false=2)(net(x), [0, 2]).backward()
        why = cs.explain(net, x, 1, 0, 20)
        assert why.exact
        found.append(
            (*(getattr(seen[1], name).values for name in ("potential", "spikes")), why.potential, why.filtered)
        )
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("name", SURROGATES)
def test_every_surrogate(name: str, exact: bool) -> None:
    mode = "exact" if exact else "slayer"
    neurons = [
        cs.SRM(theta=2.0, gradient=mode, surrogate=name),
        cs.SampledSRM([1.0, 0.5], [0.0, -3.0], theta=2.0, gradient=mode, surrogate=name),
        cs.LIF(gradient=mode, surrogate=name),
        cs.Loihi(vth_mant=2, surrogate=name),
    ]
    for neuron in neurons:
        x = normal(20, 2, 5, scale=2).astype(np.float32)
        (s, g), (spikes, expected) = (run(where, neuron, [x]) for where in ("cuda", "cpu"))
        assert (s == spikes).all()
        np.testing.assert_allclose(g, expected, rtol=1e-4, atol=1e-5 * max(1.0, abs(expected).max()))
