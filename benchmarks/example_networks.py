"""The networks of the examples, which the benchmarks of a GPU train, and a trainer and recordings for them."""

from __future__ import annotations

import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import cuslayer as cs
from cuslayer.data import Arrays, Events, Loader
from cuslayer.training import Trainer

Make = Callable[[], cs.Sequential]

SHAPE = (34, 34, 2)
STEPS = 300
BATCHES = {"MLP": 32, "CNN": 8}
# Of any other network.
BATCH = 8
# Events of a recording in a step of 1 ms: N-MNIST's have 4,172 in 300 ms on average.
EVENTS = 4000 / 300


def example(name: str) -> Make:
    """Return a function that makes the network of an example."""
    path = Path(__file__).parents[1] / "examples" / name
    return lambda: runpy.run_path(str(path))["network"](cs.SRM())


NETWORKS = {"MLP": example("nmnist_mlp.py"), "CNN": example("nmnist_cnn.py")}


def with_float16(make: Make) -> Make:
    """Return a function that makes the same network, whose potentials are saved for backward as float16."""

    def half() -> cs.Sequential:
        net = make()
        net.potentials = "float16"
        return net

    return half


def prepared(
    make: Make,
    shape: tuple[int, ...],
    steps: int,
    batch: int,
    batches: int,
    *,
    resident: str | None = None,
    graph: bool | None = None,
    **options: Any,
) -> tuple[Trainer, Loader]:
    """Return a trainer of a network and a loader of batches of recordings, both on the device in use.

    Args:
        make: makes the network.
        shape: a camera (H, W, 2), or (N,) for N channels.
        steps: of 1 ms.
        batch: recordings of a batch.
        batches: batches of an epoch, all of the same recordings.
        resident: of the `Loader`.
        graph: of the `Trainer`.
        options: of Adam.
    """
    net = make()
    with cs.no_grad():
        outputs = net(np.zeros((1, 1, *shape), bool)).shape[-1]
    recordings = [_recording(number, shape, steps) for number in range(batch)]
    labels = np.arange(batch) % outputs
    data = Arrays(recordings * batches, np.tile(labels, batches), shape=shape)
    loss, optimizer = cs.SpikeCountLoss(cs.SRM()), cs.Adam(net.parameters(), amsgrad=True, **options)
    return Trainer(net, loss, optimizer, calibrate=None, graph=graph), Loader(
        data, batch, steps=steps, resident=resident
    )


def _recording(seed: int, shape: tuple[int, ...], steps: int) -> Events:
    """Return a recording of steps of 1 ms from a camera (H, W, 2), or for shape (N,) from N channels."""
    rng, events = np.random.default_rng(seed), round(EVENTS * steps)
    t, *places = np.sort(rng.uniform(0, steps, events)), *(rng.integers(0, side, events) for side in shape)
    return Events(t, places[0]) if len(shape) == 1 else Events(t, places[1], places[0], places[2])
