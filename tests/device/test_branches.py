"""Networks with branches on a device: the spikes of the CPU, its gradients, and records."""

from __future__ import annotations

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend, functions
from tests.support.branches import FRAMES, NETWORKS, spikes
from tests.support.fake_cupy import in_use


def on_both(run):
    """Return what a function returns on the CPU and on the device, as NumPy arrays."""
    here = run()
    with in_use():
        there = [backend.to_numpy(x) for x in run()]
    return zip(here, there, strict=True)


@pytest.mark.parametrize("how", ["add", "concatenate"])
@pytest.mark.parametrize("kinds", [(bool, bool), (bool, np.float32), (np.float32, np.float64), (bool, np.float64)])
def test_a_join(how, kinds):
    rng = np.random.default_rng(0)
    arrays = [(rng.standard_normal((4, 2, 3)) > 0.3).astype(kind) for kind in kinds]

    def run():
        leaves = [cs.Tensor(x, requires_grad=True) for x in arrays]
        y = functions.join(*leaves, how=how)
        y.backward(np.random.default_rng(1).standard_normal(y.shape).astype(y.dtype if y.dtype != bool else np.float32))
        return [y.data, *(leaf.grad for leaf in leaves)]

    for here, there in on_both(run):
        assert here.dtype == there.dtype
        np.testing.assert_array_equal(here, there)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_with_branches(name):
    def run():
        cs.seed(6)
        net = NETWORKS[name]()
        with cs.record(net) as seen:
            y = net(spikes(*FRAMES, steps=12))
        (y * 1.0).sum().backward()
        potentials = [np.asarray(record.potential) for record in seen if "potential" in repr(record)]
        return [y.data, *potentials, *(p.grad for p in net.parameters())]

    for here, there in on_both(run):
        np.testing.assert_allclose(here, there, rtol=1e-3, atol=1e-4 * (1 + abs(here).max()))
