"""Resident memory over many steps of training."""

from __future__ import annotations

import os
from pathlib import Path
from statistics import median

import numpy as np

import cuslayer as cs
from cuslayer.training import Trainer

NETWORKS = {
    "MLP": {"notation": "34x34x2-256-10", "batch": 8, "steps": 100},
    "CNN": {"notation": "34x34x2-8c5-2a-16c3-2a-10", "batch": 2, "steps": 50},
}
# The first steps compile kernels and fill the pool of memory.
_WARM = 0.1
_SAMPLES = 40


def resident() -> int:
    """Return the resident memory of this process in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def growth(name: str, count: int) -> dict[str, float]:
    """Train so many steps; return the resident memory at the start and at the end in MB, and the growth as a share.

    The memory at an end is the median of a tenth of the samples after the first steps.
    """
    work = NETWORKS[name]
    r = np.random.default_rng(0)
    cs.seed(0)
    neuron = cs.SRM()
    net = cs.Network(work["notation"], neuron)
    loss = cs.SpikeCountLoss(neuron, true=20, false=2, region=(0, work["steps"]))
    trainer = Trainer(net, loss, cs.Adam(net.parameters(), lr=1e-3))

    def batches():
        for _ in range(count):
            x = r.random((work["steps"], work["batch"], *net.input_shape), dtype=np.float32) < 0.01
            yield x, r.integers(10, size=work["batch"])

    found: list[int] = []
    every = max(1, round(count * (1 - _WARM)) // _SAMPLES)

    def sampled():
        for number, batch in enumerate(batches()):
            if number >= _WARM * count and number % every == 0:
                found.append(resident())
            yield batch

    trainer.train(sampled())
    tenth = max(1, len(found) // 10)
    first, last = median(found[:tenth]), median(found[-tenth:])
    return {
        "steps": count,
        "first_mb": first / 1e6,
        "last_mb": last / 1e6,
        "most_mb": max(found) / 1e6,
        "growth": (last - first) / first,
    }
