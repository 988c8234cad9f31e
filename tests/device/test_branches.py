"""Networks with branches on a device: the spikes of the CPU, its gradients, and records."""

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend, functions
from tests.support.branches import FRAMES, NETWORKS, SRM, spikes
from tools.fake_cupy import in_use


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


def test_spikes_are_unpacked_once_for_all_branches():
    """The booleans are those of the first branch that takes no packed spikes; dense branches take them packed."""

    def network():
        cs.seed(0)
        dense = cs.Sequential(cs.Dense(4, 4, weight_scale=30.0), SRM)
        branches = cs.Parallel(cs.Sequential(), cs.Delay(4, dt=1.0), dense, cs.Delay(4, dt=1.0), join="concatenate")
        return dense, branches, cs.Sequential(dense, branches, cs.Dense(16, 2, weight_scale=30.0), SRM)

    x = spikes(4)
    here = network()[2](x).data
    assert here.any()
    with in_use() as emulator:
        dense, branches, net = network()
        for given, call, unpacked, packed in ((x, net, 2, 2), (dense(x), branches, 2, 0)):
            emulator.launches.clear()
            out = call(given)
            assert emulator.launches.count("unpack_bits") == unpacked
            assert emulator.launches.count("pack_bits") == packed
            assert out.unpacked is None
        assert given.unpacked is None
        np.testing.assert_array_equal(backend.to_numpy(net(x).data), here)


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
