"""Measure the memory of a training step against the number of steps: whole, in chunks, and in chunks that run again.

    python benchmarks/memory.py        # 3 minutes on two cores, and 7 GB

The network is 1-256r-10 of `AdaptiveLIF`, batch 64. Each measurement is a process of its own: its peak while it takes
two training steps, minus its memory after the imports. The figures go to benchmarks/results/memory.json and
docs/recurrent.md.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any

import common
import numpy as np

STEPS, CHUNK, BATCH, NEURONS = (784, 3000, 10_000), 100, 64, 256
WAYS = {"whole": {}, "recompute=100": {"recompute": CHUNK}, "truncate=100": {"truncate": CHUNK}}


def measured(steps: int, options: dict[str, int]) -> dict[str, float]:
    """Return the peak of memory of a training step in this process, and its seconds."""
    import cuslayer as cs

    cs.seed(0)
    population = cs.Recurrent(cs.Dense(NEURONS, NEURONS), cs.AdaptiveLIF())
    net = cs.Sequential(cs.Dense(1, NEURONS, weight_scale=20.0), population, cs.ReadOut(NEURONS, 10))
    optimizer = cs.Adam(net.parameters(), 1e-4)
    trainer = cs.training.Trainer(net, cs.CrossEntropyLoss("mean"), optimizer, calibrate=None, **options)
    before = common.memory("VmRSS")
    rng = np.random.default_rng(0)
    batch = rng.random((steps, BATCH, 1), np.float32), rng.integers(0, 10, BATCH)
    trainer.train([batch])
    start = time.perf_counter()
    trainer.train([batch])
    return {"bytes": common.memory("VmHWM") - before, "seconds": time.perf_counter() - start}


def lines(found: dict[str, Any]) -> list[str]:
    """Return the table of what was found, in Markdown."""
    rows = []
    for way, of_steps in found["ways"].items():
        peaks = [of_steps[str(steps)]["bytes"] for steps in STEPS]
        cells = [f"{peak / 2**20:,.0f}" for peak in peaks]
        rows.append([f"`{way}`" if "=" in way else way, *cells, f"{peaks[-1] / peaks[0]:.1f}"])
    heads = ["MB of a training step", *(f"T = {steps:,}" for steps in STEPS), "last / first"]
    return [*common.table(heads, rows, 1), "", found["where"]]


def main(arguments: Sequence[str] | None = None) -> None:
    options = common.parser(__doc__).parse_args(arguments)
    ways: dict[str, dict[str, Any]] = {}
    for way, given in WAYS.items():
        for steps in STEPS:
            code = f"import json, memory; print(json.dumps(memory.measured({steps}, {given})))"
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(common.ROOT), "."])}
            command, folder = [sys.executable, "-c", code], common.ROOT / "benchmarks"
            run = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, check=True)
            ways.setdefault(way, {})[str(steps)] = json.loads(run.stdout.splitlines()[-1])
            print(way, steps, ways[way][str(steps)], flush=True)
    where = common.said(common.describe(), common.command("memory", arguments))
    found = {"ways": ways, "where": where}
    common.save("memory", found, options.out)
    common.show(options.out, "recurrent", "memory", lines(found))


if __name__ == "__main__":
    main()
