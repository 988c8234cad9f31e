"""Train small networks by several processes, and return digests of all that they compute."""

from __future__ import annotations

import hashlib
import json
import sys
from typing import Any

import numpy as np

import cuslayer as cs
from cuslayer.backend import generator_state
from cuslayer.data import Arrays, Loader
from cuslayer.distributed import Context, DataParallel, world
from cuslayer.training import Trainer

STEPS, SAMPLES = 16, 25


def networks(*names: str) -> dict[str, Any]:
    """Return functions that make a network, by name."""
    srm = cs.SRM(theta=3.0)
    found = {
        "MLP": lambda: cs.Network("6x6x2-12-3", srm),
        "CNN": lambda: cs.Network("6x6x2-4c3-2a-3", srm),
        "delays and dropout": lambda: cs.Sequential(
            cs.Dense((6, 6, 2), 12), srm, cs.Delay(12, dt=1.0), cs.Dropout(0.3), cs.Dense(12, 3), srm
        ),
        "batch normalization": lambda: cs.Sequential(
            cs.Dense((6, 6, 2), 12), cs.BatchNorm(12, height=6.0, trained=True), srm, cs.Dense(12, 3), srm
        ),
    }
    return {name: make for name, make in found.items() if not names or name in names}


def loader(samples: int = SAMPLES, batch: int = 10, steps: int = STEPS, *, shuffle: bool = True) -> Loader:
    """Return recordings in batches, by default of 10, 10 and 5."""
    x = np.random.default_rng(1).random((samples, steps, 6, 6, 2)) < 0.2
    return Loader(Arrays(x, np.arange(samples) % 3), batch=batch, steps=steps, shuffle=shuffle, seed=2)


def trainer(make: Any, context: Context | None = None, **options: Any) -> Trainer:
    """Return a trainer of a new network, whose weights a seed determines."""
    cs.seed(3)
    net = make()
    optimizer = cs.Adam(net.parameters(), lr=0.05, relative=True)
    loss = cs.SpikeCountLoss(cs.SRM(theta=3.0), true=6, false=1)
    given = {"micro": 2, "bucket": 1e-4, **options}
    parallel = DataParallel(context or Context(), **given)
    return Trainer(net, loss, optimizer, parallel=parallel, log=lambda line: None)


def trained(
    make: Any, context: Context | None = None, *, epochs: int = 7, data: tuple[int, ...] = (), **options: Any
) -> dict[str, Any]:
    """Return the scores of epochs, and digests of weights, optimizer and generator; `data` goes to `loader`."""
    mine, batches = trainer(make, context, **options), loader(*data)
    scores = [tuple(mine.train(batches)) for _ in range(epochs)]
    scores.append(tuple(mine.test(loader(*data, shuffle=False))))
    return {
        "scores": scores,
        "gradients": mine.gradients.epochs,
        "weights": {name: digest(a) for name, a in mine.net.state().items()},
        "optimizer": {name: digest(a) for name, a in mine.optimizer.state().items()},
        "generator": generator_state(),
    }


def digest(a: Any) -> str:
    return hashlib.sha256(np.ascontiguousarray(a).tobytes()).hexdigest()


def emulated(make: Any, context: Context | None = None) -> dict[str, Any]:
    """Return what `trained` does of 20 steps of a batch of 4 on emulated CUDA, where threads have one order."""
    from tools import fake_cupy
    from tools.emulator.driver import in_one_order

    with in_one_order(), fake_cupy.in_use():
        return trained(make, context, epochs=20, data=(4, 4, 8))


def main() -> None:
    """Train by the processes of mpiexec; process 0 prints what each has computed, as JSON."""
    cs.use("cpu")
    context, (way, *names) = world(), sys.argv[1:]
    work = {"cpu": trained, "cuda": emulated}[way]
    found = {name: context.gather(work(make, context)) for name, make in networks(*names).items()}
    if context.rank == 0:
        print(json.dumps(found))


if __name__ == "__main__":
    main()
