"""What the benchmarks of a GPU share: the networks of the examples, a trainer and recordings; what kernels update."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from common import ROOT
from comparison.works import TRAINING

import cuslayer as cs
from cuslayer.data import Arrays, Events, Loader
from cuslayer.training import Trainer

# Bytes a second of an H100's memory (SXM, HBM3), from its data sheet.
BANDWIDTH = 3.35e12
# The arrays that a kernel reads as well as writes, by its name; all kernels read or write any other array once.
UPDATED = {"adam_all": {"w", "m", "v", "peak"}, "sgd_all": {"w", "v"}}
STEPS = 300
# Events of a recording in a step of 1 ms: N-MNIST's have 4,172 in 300 ms on average.
EVENTS = 4000 / 300


class Network(NamedTuple):
    """A network that is trained."""

    make: Callable[[], cs.Sequential]
    batch: int
    shape: tuple[int, ...] = (34, 34, 2)
    # For other libraries, see `comparison.models.stages`.
    layers: list[list[Any]] = []  # noqa: RUF012
    # The time of a step that is demanded on an H100.
    milliseconds: float = 0.0

    def half(self) -> Network:
        """Return the same network, whose potentials are saved for backward as float16."""

        def make() -> cs.Sequential:
            net = self.make()
            net.potentials = "float16"
            return net

        return self._replace(make=make)


def _example(name: str) -> Callable[[], cs.Sequential]:
    return lambda: runpy.run_path(str(ROOT / "examples" / name))["network"](cs.SRM())


NETWORKS = {
    "MLP": Network(_example("nmnist_mlp.py"), 32, layers=TRAINING["mlp32"].layers, milliseconds=0.4),
    "CNN": Network(_example("nmnist_cnn.py"), 8, layers=TRAINING["cnn8"].layers, milliseconds=1.6),
}


def prepared(
    network: Network, batches: int, *, resident: str | None = None, graph: bool | None = None, **options: Any
) -> tuple[Trainer, Loader]:
    """Return a trainer of a network and a loader of batches of the same recordings, both on the device in use."""
    net, shape = network.make(), network.shape
    with cs.no_grad():
        outputs = net(np.zeros((1, 1, *shape), bool)).shape[-1]
    recordings = [_recording(number, shape) for number in range(network.batch)]
    labels = np.arange(network.batch) % outputs
    data = Arrays(recordings * batches, np.tile(labels, batches), shape=shape)
    loss, optimizer = cs.SpikeCountLoss(cs.SRM()), cs.Adam(net.parameters(), amsgrad=True, **options)
    loader = Loader(data, network.batch, steps=STEPS, resident=resident)
    return Trainer(net, loss, optimizer, calibrate=None, graph=graph), loader


def _recording(seed: int, shape: tuple[int, ...]) -> Events:
    """Return a recording of steps of 1 ms."""
    rng, events = np.random.default_rng(seed), round(EVENTS * STEPS)
    t, y, x, p = np.sort(rng.uniform(0, STEPS, events)), *(rng.integers(0, side, events) for side in shape)
    return Events(t, x, y, p)
