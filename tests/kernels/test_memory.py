"""The memory pool of large CPU arrays, and matrix products on the library's threads."""

import os

import numpy as np
import pytest

import cuslayer as cs
from cuslayer._base.parallel import parallel_for
from cuslayer.kernels import cpu
from cuslayer.kernels.host import memory
from cuslayer.neurons.adaptive_lif import AdaptiveLIF
from cuslayer.neurons.lif import LIF
from cuslayer.neurons.sampled_srm import SampledSRM
from cuslayer.neurons.srm import SRM
from tests.kernels.test_twins import fire_adjoint

MEGABYTE = 1 << 20


@pytest.fixture
def pool(monkeypatch):
    fresh = memory.MemoryPool()
    monkeypatch.setattr(memory, "_pool", fresh)
    return fresh


def test_released_memory_is_used_again(pool):
    a = memory.empty((MEGABYTE,), np.float32)
    place = a.ctypes.data
    a[:] = 1
    del a
    b = memory.empty((2, MEGABYTE // 2), np.float32)
    assert b.ctypes.data == place
    assert pool.size == 4 * MEGABYTE
    view = memory.empty((MEGABYTE,), np.float32)[10:20].reshape(2, 5)
    view[:] = 7
    other = memory.empty((MEGABYTE,), np.float32)
    other[:] = 0
    assert (view == 7).all()
    assert not np.shares_memory(view, other)


def test_allocations_never_overlap(pool):
    generator = np.random.default_rng(0)
    kept = []
    for number in range(300):
        size = int(generator.integers(MEGABYTE, 6 * MEGABYTE))
        x = memory.empty((size,), np.uint8)
        x[:] = number % 251
        kept.append((number, x))
        if len(kept) > 6:
            kept.pop(int(generator.integers(len(kept))))
        for n, y in kept:
            assert y[0] == y[-1] == n % 251
    assert pool.size <= 2 * pool.peak


def test_several_blocks_become_one(pool):
    """The first round does not know the peak use; soon one block is enough for a round."""
    held = []
    for _ in range(12):
        a, b = memory.empty((3 * MEGABYTE,), np.uint8), memory.empty((2 * MEGABYTE,), np.uint8)
        del a
        c = memory.empty((MEGABYTE + 64,), np.uint8)  # splits what a has released
        a = memory.empty((2 * MEGABYTE,), np.uint8)
        held.append((len(pool.blocks), pool.size))
        del a, b, c
    assert held[0][0] > 1
    assert held[-1] == held[-2]
    assert held[-1][0] == 1
    assert pool.peak <= held[-1][1] < held[0][1]


def test_an_error_in_a_part_reaches_the_caller():
    def fails(first, last):
        if first <= 50 < last:
            raise KeyError(first)

    with pytest.raises(KeyError):
        parallel_for(fails, 100, grain=1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_child_of_fork_has_memory_of_its_own():
    x = memory.empty((1 << 21,), np.uint8)
    x[:] = 0
    child = os.fork()
    if child == 0:
        x[:] = 1
        os._exit(0)
    os.waitpid(child, 0)
    assert not x.any()


def stepped(spiking, x, g, constants):
    states = np.stack([abs(x[0])] * len(spiking.kind.states))
    u, s, kept = cpu.scan.forward(x[None], constants, spiking, states, spiking.saved(True))
    alone = cpu.scan.forward(x[None], constants, spiking)[:2]
    y, sums = cpu.scan.adjoint(g, u, kept, constants, spiking, None, True)
    return [states, u, s, *kept, *alone, *y, *sums]


def adaptive(x, g, keep):
    return stepped(AdaptiveLIF(theta=1.0, gradient="exact").spiking, x, g, np.stack([keep] * 4))


def leaky(x, g, keep):
    return stepped(LIF(theta=1.0, gradient="exact").spiking, x, g, keep[None])


def srm(x, g, keep):
    neuron = SRM(theta=1.0)
    both = (neuron.with_gradient(gradient).spiking for gradient in ("slayer", "exact"))
    return [fire_adjoint(cpu, g, x, spiking) for spiking in both]


def sampled(x, g, keep):
    neuron = SRM(theta=1.0)
    return [*cpu.sampled_srm.sampled_spike(x, SampledSRM(neuron.response, neuron.refractory, theta=1.0).spiking)]


@pytest.mark.parametrize("results", [adaptive, leaky, srm, sampled])
@pytest.mark.parametrize("begin", [1, 512, 2100])
def test_a_column_does_not_know_where_its_part_begins(results, begin):
    # One part of all columns, whatever the machine.
    cs.threads(1)
    generator = np.random.default_rng(5)
    x, g = (generator.standard_normal((11, 3001), np.float32) for _ in range(2))
    keep = generator.random(3001, np.float32)
    parts = [np.ascontiguousarray(array[..., begin:]) for array in (x, g, keep)]
    for one, other in zip(results(x, g, keep), results(parts[0], parts[1], parts[2]), strict=True):
        assert one[..., begin:].tobytes() == other.tobytes()
