"""The same seed gives the same bits: in another process, on other numbers of threads, with other seeds of hashes.

On a GPU the spikes are those of the CPU to the bit and the gradients differ by rounding, because their sums have
another order, which is fixed too: tests/device/test_drawn_networks.py and tests/device/test_emulated_networks.py.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cuslayer as cs
from benchmarks import same_bits
from cuslayer.data import Arrays, Loader
from tools.emulator.driver import emulation

pytestmark = pytest.mark.all

ROOT = Path(__file__).parents[2]


STEPS, BATCH = 30, 4


def networks():
    """Return networks with a loss and an optimizer: each kind of layer that draws, sums or runs in parallel."""
    srm, exact, loihi = cs.SRM(), cs.SRM(gradient="exact"), cs.Loihi()
    delayed = [cs.Dense((6, 6, 2), 64), srm, cs.Delay(64, dt=1.0), cs.Dropout(0.2), cs.Dense(64, 3), srm]
    branches = cs.Parallel(cs.Dense((6, 6, 2), 40), cs.Dense((6, 6, 2), 40), join="concatenate")
    found = {
        "MLP": (cs.Network("6x6x2-300-3", srm), srm, cs.Adam),
        "CNN": (cs.Network("6x6x2-8c3-2a-16c1-3", exact), exact, cs.Adam),
        "delays and dropout": (cs.Sequential(*delayed), srm, cs.optim.NAdam),
        "branches, Loihi": (cs.Sequential(branches, loihi, cs.Dense(80, 3), loihi), loihi, cs.SGD),
    }
    for net, _, _ in found.values():
        cs.calibrate(net, batches(), rate=60.0)
    return {
        name: (net, cs.SpikeCountLoss(neuron, true=8, false=1), optimizer(net.parameters(), lr=0.01))
        for name, (net, neuron, optimizer) in found.items()
    }


def batches():
    """Return three batches in a drawn order."""
    x = np.random.default_rng(1).random((3 * BATCH, STEPS, 6, 6, 2)) < 0.2
    return list(Loader(Arrays(x, np.arange(3 * BATCH) % 3), batch=BATCH, steps=STEPS, shuffle=True, seed=2))


def hashes():
    """Return a hash of each array of the trainings: spikes, loss, gradients and weights of every step."""
    cs.seed(0)
    return {name: same_bits.trained(*parts, batches()) for name, parts in networks().items()}


PROGRAM = """
import json
from tests.training.test_determinism import hashes
print(json.dumps(hashes()))
"""


def in_a_process(threads, *, hash_seed, blas):
    """Return the hashes of a process with a number of threads, which may exceed the number of cores."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PYTHONHASHSEED": hash_seed,
        "OMP_NUM_THREADS": str(threads),
        "OPENBLAS_NUM_THREADS": blas,
        "CUSLAYER_DEVICE": "cpu",
    }
    command = [sys.executable, "-c", PROGRAM]
    found = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.fixture(scope="module")
def one_thread():
    return in_a_process(1, hash_seed="0", blas="1")


@pytest.mark.parametrize(("threads", "hash_seed", "blas"), [(2, "1", "2"), (5, "random", "4")])
def test_threads_and_hash_seeds_change_no_bit(one_thread, threads, hash_seed, blas):
    other = in_a_process(threads, hash_seed=hash_seed, blas=blas)
    assert other.keys() == one_thread.keys()
    for name, hashes in one_thread.items():
        assert [each for each in hashes if other[name][each] != hashes[each]] == [], name
        assert len(hashes) > 10


def test_a_process_that_has_done_other_things_has_the_same_bits(one_thread):
    """Nothing of an earlier training is left in caches, pools of memory or generators."""
    np.random.default_rng().random(3)
    assert hashes() == one_thread


def test_emulated_cuda_twice_and_beside_the_cpu():
    """Two runs on emulated CUDA have the same bits; the first spikes are the CPU's."""

    def run():
        cs.seed(0)
        net = cs.Network("6x6x2-40-3", cs.SRM())
        for p in net.parameters():
            p.data = p.data * 3
        assert net(batches()[0][0]).numpy().any()
        loss = cs.SpikeCountLoss(cs.SRM(), true=8, false=1)
        return same_bits.trained(net, loss, cs.Adam(net.parameters(), lr=0.01), batches()[:2])

    with emulation():
        once, again = run(), run()
    assert once == again
    assert once["0 spikes"] == run()["0 spikes"]
