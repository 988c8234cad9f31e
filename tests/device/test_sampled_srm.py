"""Neurons with responses of one's own, and the current of Loihi's, on a device against the CPU."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from tests.device.test_operations import device as device
from tests.device.test_operations import module, normal, run

OWN = cs.SampledSRM([1.0, 0.8, -0.2, 0.4], [0.0, -9.0, -5.0, 1.0], theta=5.0)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("gradient", ["slayer", "exact"])
@pytest.mark.parametrize("shape", [(40, 2, 5), (1, 1, 1), (0, 2, 5), (40, 0, 5)])
def test_the_spikes_are_the_cpus_to_the_bit(gradient: str, dtype: str, shape: tuple[int, ...]) -> None:
    neuron, x = OWN.with_gradient(gradient), normal(*shape, scale=5).astype(dtype)
    (s, g), (spikes, expected) = (run(where, neuron, [x]) for where in ("cuda", "cpu"))
    assert (s == spikes).all()
    assert spikes.any() or shape != (40, 2, 5)
    assert g.dtype == expected.dtype == np.dtype(dtype)
    np.testing.assert_allclose(g, expected, rtol=0, atol={"float32": 1e-6, "float64": 1e-12}[dtype])


def test_a_network_is_recorded_and_explained() -> None:
    found = []
    for where in ("cuda", "cpu"):
        cs.use(where)
        cs.seed(1)
        net = cs.Network("6-5-3", OWN)
        x = np.random.default_rng(0).random((30, 2, 6)) < 0.4
        with cs.record(net, window=(5, 25)) as seen:
            cs.SpikeCountLoss(OWN, true=9, false=2)(net(x), [0, 2]).backward()
        why = cs.explain(net, x, 1, 0, 20)
        found.append(
            (*(getattr(seen[1], name).values for name in ("potential", "refractory", "spikes")), why.potential)
        )
    for mine, other in zip(*found, strict=True):
        np.testing.assert_allclose(mine, other, rtol=1e-4, atol=1e-4)


def test_the_current_is_the_cpus() -> None:
    neuron, x = cs.Loihi(first_bin=False), np.rint(normal(30, 2, 4, scale=50)).astype(np.float32)
    found = neuron.current(backend.to_device(x))
    assert module(found) == "cupy"
    np.testing.assert_array_equal(backend.to_numpy(found), neuron.current(x))
