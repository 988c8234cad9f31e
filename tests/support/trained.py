"""Train small networks, and print a hash of each array: spikes, loss, gradients and weights of every step.

Run as `python -m tests.support.trained CORES`, by tests/training/test_determinism.py, in processes that differ in the
number of cores, the seed of Python's hashes and the threads of the matrix library.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

STEPS, BATCH = 30, 4


def use_cores(count: int) -> None:
    """Give the process so many cores, and the package so many threads, more than there are cores if need be."""
    if hasattr(os, "sched_getaffinity"):
        there = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, there[:count])
    os.sched_getaffinity = lambda pid: set(range(count))  # type: ignore[assignment,attr-defined]


def networks() -> dict[str, tuple[Any, Any, Any]]:
    """Return networks with a loss and an optimizer: each kind of layer that draws, sums or runs in parallel."""
    import cuslayer as cs

    srm, exact, loihi = cs.SRM(), cs.SRM(gradient="exact"), cs.Loihi()
    delayed = [cs.Dense((6, 6, 2), 64), srm, cs.Delay(64, dt=1.0), cs.Dropout(0.2), cs.Dense(64, 3), srm]
    branches = cs.Parallel(cs.Dense((6, 6, 2), 40), cs.Dense((6, 6, 2), 40), join="concatenate")
    found = {
        "MLP": (cs.Network("6x6x2-300-3", srm), srm, cs.Adam),
        "CNN": (cs.Network("6x6x2-8c3-2a-16c1-3", exact), exact, cs.Adam),
        "delays and dropout": (cs.Sequential(*delayed), srm, cs.NAdam),
        "branches, Loihi": (cs.Sequential(branches, loihi, cs.Dense(80, 3), loihi), loihi, cs.SGD),
    }
    for net, _, _ in found.values():
        cs.calibrate(net, batches(), rate=60.0)
    return {
        name: (net, cs.SpikeCountLoss(neuron, true=8, false=1), optimizer(net.parameters(), lr=0.01))
        for name, (net, neuron, optimizer) in found.items()
    }


def batches() -> list[tuple[Any, Any]]:
    """Return three batches in a drawn order."""
    import numpy as np

    from cuslayer.data import Arrays, Loader

    r = np.random.default_rng(1)
    x = r.random((3 * BATCH, STEPS, 6, 6, 2)) < 0.2
    return list(Loader(Arrays(x, np.arange(3 * BATCH) % 3), batch=BATCH, steps=STEPS, shuffle=True, seed=2))


def hashes(*names: str) -> dict[str, dict[str, str]]:
    """Return the hashes of the trainings of networks, by default all."""
    import cuslayer as cs
    from benchmarks.same_bits import trained

    cs.seed(0)
    return {name: trained(*parts, batches()) for name, parts in networks().items() if not names or name in names}


if __name__ == "__main__":
    use_cores(int(sys.argv[1]))
    print(json.dumps(hashes()))
