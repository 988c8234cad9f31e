"""Streams on a device: the bits of the CPU's streams, and of the whole input."""

import copy

import numpy as np
import pytest

import cuslayer as cs
from cuslayer import backend
from tests.device.test_operations import device as device
from tests.network.test_stream import NETWORKS, STAGES, dense, in_chunks, spikes

SIZES = [1, 2, 17, 0, 20]


def recurrent():
    """Return populations with a convolution and with delays to themselves."""
    images = cs.Conv(4, 4, (3, 1), padding=(2, 0), dilation=(2, 1), groups=2)
    delays = cs.Dense(5, 5, delays=cs.SynapticDelays(4.0, dt=0.5))
    return cs.Sequential(
        *(cs.Conv(2, 4, 3, padding=1, weight_scale=40.0), cs.Recurrent(images, cs.SRM(dt=0.5), delay=1.0)),
        *(dense((6, 5, 4), 5), cs.Recurrent(delays, cs.LIF(theta=2.0, dt=0.5))),
    )


def run(where, make, x):
    """Return the output of a stream on a device, and of the whole input."""
    cs.use(where)
    cs.seed(3)
    net = make()
    x = backend.to_device(x)
    found = [backend.to_numpy(part) for part in in_chunks(net.stream(), x, SIZES, join=list)]
    net.train(False)
    with cs.no_grad():
        return np.concatenate(found), net(x).numpy()


@pytest.mark.parametrize("name", [*NETWORKS, "recurrent"])
def test_the_spikes_are_the_cpus(name):
    make, x = NETWORKS.get(name, recurrent), spikes(steps=40, share=0.2)
    (ours, whole), (theirs, _) = (run(where, make, x) for where in ("cuda", "cpu"))
    np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(ours, whole)
    assert 0 < ours.mean() < 1


@pytest.mark.parametrize("stage", [stage for stages in STAGES.values() for stage in stages], ids=repr)
def test_every_stage_that_the_docstring_promises(stage):
    x = spikes(steps=40).astype(np.float32)

    def make():
        net = cs.Sequential(copy.deepcopy(stage))
        for p in net.parameters():
            p.data = backend.to_device(p.data)
        return net

    (ours, whole), (theirs, _) = (run(where, make, x) for where in ("cuda", "cpu"))
    for other in (whole, theirs):
        np.testing.assert_allclose(ours, other, rtol=1e-5, atol=1e-5 * max(1.0, abs(other).max()))
    assert ours.any()


def test_one_step_at_a_time_and_anew():
    net, x = cs.Network("6x5x2-9-3", cs.SRM()), spikes(steps=9, share=0.3)
    stream = net.stream()
    for _ in range(2):
        found = [backend.to_numpy(stream.step(backend.to_device(frame))) for frame in x]
        np.testing.assert_array_equal(found, net(x).numpy())
        assert stream.steps == 9
        stream.reset()
