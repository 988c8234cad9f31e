"""Measured points of `scale.py`: trainings by the processes that mpiexec has started with this script, taken in turns.

    mpiexec -n 2 python benchmarks/scale_point.py '{"net": "34x34x2-512-10", "batch": 64, "micro": 8, "rounds": 3}'

In each round every kind of training takes some steps, so that a slow moment of the machine meets all: "alone", one
process by whole batches on one core, while the others sleep; "one", the same by micro-batches; "ordered", all processes
with sums in the order of the tree; "fast", all with usual sums. Process 0 prints JSON.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time

import numpy as np

import cuslayer as cs
from cuslayer.data import Digits, Loader
from cuslayer.distributed import Context, DataParallel, world
from cuslayer.training import Trainer

KINDS = ("alone", "one", "ordered", "fast")
STEPS, SKIPPED = 6, 2
PINGS = (8, 1 << 16, 1 << 20, 1 << 22)


class Point:
    """A training that goes on from round to round."""

    def __init__(self, kind: str, context: Context, given: dict) -> None:
        self.together = kind in ("ordered", "fast")
        self.parallel = None
        if kind != "alone":
            options = {"micro": given["micro"], "fast": kind == "fast", "bucket": given.get("bucket", 4.0)}
            self.parallel = DataParallel(context if self.together else Context(), **options)
        cs.seed(0)
        srm = cs.SRM()
        net = cs.Network(given["net"], srm)
        optimizer = cs.Adam(net.parameters(), lr=0.1, relative=True, warmup=30)
        self.trainer = Trainer(net, cs.SpikeCountLoss(srm, region=(0, 300)), optimizer, parallel=self.parallel)
        self.loader = Loader(Digits("train"), given["batch"], steps=300, shuffle=True, seed=0, drop_last=True)
        self.bytes = sum(p.data.nbytes for p in net.parameters())

    def round(self) -> tuple[list[float], list[float]]:
        """Take steps; return the seconds of each, and those spent on communication."""
        times, waited = [], []

        def note(score: object) -> None:
            times.append(time.perf_counter())
            waited.append(0.0 if self.parallel is None else self.parallel.seconds)

        self.trainer.train(self.loader, steps=SKIPPED + STEPS + 1, after_step=note)
        return np.diff(times)[SKIPPED:].tolist(), np.diff(waited)[SKIPPED:].tolist()


def meet(context: Context) -> None:
    """Wait for all processes, asleep most of the time."""
    into = [np.zeros(1, np.uint8) for _ in range(context.size)]
    context.exchange([np.zeros(1, np.uint8)] * context.size, into, 99).wait()


def ping(context: Context) -> list[tuple[int, float]]:
    """Return the bytes that each process sends to the next, and the median seconds of it."""
    found = []
    for size in PINGS:
        array, none = np.zeros(size, np.uint8), np.zeros(0, np.uint8)
        parts = [array if rank == (context.rank + 1) % context.size else none for rank in range(context.size)]
        into = [
            np.zeros_like(array) if rank == (context.rank - 1) % context.size else none for rank in range(context.size)
        ]
        times = []
        for _ in range(30):
            meet(context)
            start = time.perf_counter()
            context.exchange(parts, into, 98).wait()
            times.append(time.perf_counter() - start)
        found.append((size, float(np.median(times))))
    return found


def nonzero_rows(net: str, sizes: list[int]) -> dict[str, float]:
    """Return the share of inputs whose row of the first layer's gradient is not zero, by the recordings of a batch."""
    cs.use("cpu")
    cs.seed(0)
    srm = cs.SRM()
    made = cs.Network(net, srm)
    cs.calibrate(made, Loader(Digits("train"), 64, steps=300, seed=0))
    found = {}
    for size in sizes:
        x, labels = Loader(Digits("train"), size, steps=300, shuffle=True, seed=0)[0]
        cs.SpikeCountLoss(srm, region=(0, 300))(made(x), labels).backward()
        weight = made.parameters()[0]
        found[str(size)] = float((weight.grad != 0).any(axis=1).mean())
        weight.grad = None
    return found


def main(given: dict) -> None:
    cs.use("cpu")
    context = world()
    if context.size == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    found: dict = {}
    points = {}
    for kind in given.get("kinds", KINDS):
        if kind in ("ordered", "fast") or context.rank == 0:
            points[kind] = Point(kind, context, given)
    for number in range(given.get("rounds", 3) + 1):
        for kind in given.get("kinds", KINDS):
            meet(context)
            if kind in points:
                seconds, waited = points[kind].round()
                if number:  # the first round compiles
                    found.setdefault(kind, ([], []))
                    found[kind][0].append(seconds)
                    found[kind][1].append(waited)
            meet(context)
    pings = ping(context) if context.size > 1 else []
    megabytes = context.max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    if context.rank == 0:
        rows = {
            kind: {
                # The least of all steps: what else a machine does only adds to it.
                "seconds": float(np.min(seconds)),
                "median": float(np.median(seconds)),
                "communication": float(np.reshape(waited, -1)[np.argmin(seconds)]),
            }
            for kind, (seconds, waited) in found.items()
        }
        size = next(iter(points.values())).bytes
        print(
            json.dumps(
                given
                | {"processes": context.size, "weights": size, "kinds": rows, "pings": pings, "megabytes": megabytes}
            )
        )


if __name__ == "__main__":
    options = json.loads(sys.argv[1])
    if "rows" in options:
        print(json.dumps(nonzero_rows(options["net"], options["rows"])))
    else:
        main(options)
