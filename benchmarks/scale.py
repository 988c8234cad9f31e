"""Measure trainings by 1 to 4 processes, fit a model of a step, and carry it to clusters and cards.

    python benchmarks/scale.py                            # four minutes; needs the extra mpi
    python benchmarks/scale.py --small --out /tmp/scale   # a small network, one process and two

A step of P processes on C cores, with n micro-batches on the core that has most, and W bytes of weights:

    step = n compute + ceil(P / C) fixed + messages latency + bytes / bandwidth
    messages = 2 (P - 1) buckets + P - 1              bytes = 2 W (P - 1) / P

`compute` and `fixed` (the optimizer's step, which every process takes) are fitted to steps of one process, by least
squares of relative errors, `latency` and `bandwidth` to transfers between two; another batch on 1 to 4 tests them.
Writes benchmarks/results/scale.json, scale.png, and tables into docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

import common
import numpy as np

import cuslayer as cs
from cuslayer.data import Digits, Loader
from cuslayer.distributed import Context, DataParallel, world
from cuslayer.distributed.parallel import MICRO
from cuslayer.distributed.sums import share
from cuslayer.training import Callback, Tally, Trainer
from tests.support import mpiexec

NET = "34x34x2-512-10"
FITTED, TESTED, PROCESSES = (64, 96, 128), (160,), (1, 2, 3, 4)
# "alone": one process by whole batches on one core; "one": the same by micro-batches; "ordered": all processes with
# sums in the order of the tree; "fast": all with usual sums.
KINDS = {"alone": 1, "one": 1, "ordered": 2, "fast": 2}
STEPS, SKIPPED = 6, 2
PINGS = (8, 1 << 16, 1 << 20, 1 << 22)
# A cluster: links of 100 Gb/s, of which a process of a machine with a link for 8 has an eighth; MPI's usual latency.
CLUSTER = {"latency": 2e-6, "bandwidth": 12.5e9 / 8}
# Cards of one machine: the model of an H100 in docs/kernels.md (a graph's step of 8 recordings in 0.061 ms, of which
# 0.02 ms are the optimizer's), launches from the host instead of a graph, and NVLink.
CARD = {"compute": 0.3e-3, "fixed": 0.15e-3, "latency": 5e-6, "bandwidth": 200e9}
BATCHES = (1024, 16384)


class Note(Callback):
    """Notes the time after each step, and the seconds of communication so far."""

    def __init__(self, times: list[float], communication: list[float]) -> None:
        self._times = times
        self._communication = communication

    def after_step(self, trainer: Trainer, score: Tally) -> None:
        self._times.append(time.perf_counter())
        self._communication.append(0.0 if trainer.parallel is None else trainer.parallel.seconds)


def train(kind: str, net: str, batch: int, micro: int, rounds: int) -> None:
    """Train in a process that mpiexec has started; process 0 prints what steps and transfers cost as JSON."""
    cs.use("cpu")
    context, parallel = world(), None
    if context.size == 1 and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    if kind != "alone":
        parallel = DataParallel(context if KINDS[kind] > 1 else Context(), micro=micro, fast=kind == "fast")
    cs.seed(0)
    srm = cs.SRM()
    made = cs.Network(net, srm)
    optimizer = cs.Adam(made.parameters(), lr=0.1, relative=True, warmup=30)
    trainer = Trainer(made, cs.SpikeCountLoss(srm, window=(0, 300)), optimizer, parallel=parallel)
    loader = Loader(Digits("train"), batch, steps=300, shuffle=True, seed=0, drop_last=True)
    seconds, waited = list[float](), list[float]()
    for number in range(rounds + 1):
        times, communication = [], []

        trainer.callbacks = [Note(times, communication)]
        trainer.train(loader, steps=SKIPPED + STEPS + 1)
        if number:  # the first round compiles
            seconds += np.diff(times)[SKIPPED:].tolist()
            waited += np.diff(communication)[SKIPPED:].tolist()
    pings = [(size, ping(context, size)) for size in PINGS if context.size > 1]
    megabytes = context.max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
    if context.rank == 0:
        # The least of all steps: what else a machine does only adds to it.
        found = {"seconds": min(seconds), "communication": waited[int(np.argmin(seconds))], "pings": pings}
        found |= {"weights": sum(p.data.nbytes for p in made.parameters()), "megabytes": megabytes}
        print(json.dumps(found))


def ping(context: Context, size: int) -> float:
    """Return the median seconds of sending so many bytes from each process to the next."""
    array, none, one, times = np.zeros(size, np.uint8), np.zeros(0, np.uint8), np.zeros(1, np.uint8), []
    ranks, after, before = range(context.size), context.rank + 1, context.rank - 1
    parts = [array if rank == after % context.size else none for rank in ranks]
    into = [np.zeros_like(array) if rank == before % context.size else none for rank in ranks]
    for _ in range(30):
        # All meet first.
        context.exchange([one] * context.size, [one.copy() for _ in ranks], 99).wait()
        start = time.perf_counter()
        context.exchange(parts, into, 98).wait()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def point(processes: int, kind: str, batch: int, **options: Any) -> dict[str, Any]:
    """Return what `train` finds with a number of processes."""
    given = json.dumps({"kind": kind, "batch": batch, **options})
    with tempfile.TemporaryDirectory() as folder:
        code, words = mpiexec.run(processes, __file__, "--point", given, out=Path(folder) / "log")
    if code:
        raise SystemExit(words)
    return json.loads(words.splitlines()[-1])


def measured(small: bool) -> dict[str, Any]:
    """Return all measured points."""
    options = {"net": "34x34x2-8-10" if small else NET, "micro": MICRO, "rounds": 1 if small else 2}
    batches = (32,) if small else (*FITTED, *TESTED)
    found: dict[str, Any] = {"machine": common.describe("mpi4py"), **options, "points": [], "turns": []}
    # Of several processes the batch that tests the fit: what one process says must carry over to them.
    for processes in (1, 2) if small else PROCESSES:
        for batch in (batch for batch in batches if processes == 1 or batch not in FITTED):
            got = point(processes, "one" if processes == 1 else "ordered", batch, **options)
            if processes == 2:
                found |= {"pings": got["pings"], "weights": got["weights"]}
            found["points"].append({"processes": processes, "batch": batch, "seconds": got["seconds"]})
            print(found["points"][-1], flush=True)
    for micro in (8,) if small else (8, 16):
        kinds: dict[str, dict[str, Any]] = {}
        for _ in range(1 if small else 3):
            for kind, processes in KINDS.items():
                got = point(processes, kind, batches[0], **options | {"micro": micro})
                kinds[kind] = min(got, kinds.get(kind, got), key=lambda each: each["seconds"])
        found["turns"].append({"micro": micro, "kinds": kinds})
        print(micro, {kind: each["seconds"] for kind, each in kinds.items()}, flush=True)
    memory = {kind: point(KINDS[kind], kind, batches[0], **options)["megabytes"] for kind in ("alone", "ordered")}
    return found | {"megabytes": memory, "rows": nonzero_rows(options["net"])}


def nonzero_rows(net: str) -> dict[str, float]:
    """Return the share of inputs whose row of the first layer's gradient is not zero, by the recordings of a batch."""
    cs.seed(0)
    srm = cs.SRM()
    made = cs.Network(net, srm)
    cs.calibrate(made, Loader(Digits("train"), 64, steps=300, seed=0))
    found, weight = {}, made.parameters()[0]
    for size in (8, 16, 32, 64):
        x, labels = Loader(Digits("train"), size, steps=300, shuffle=True, seed=0)[0]
        weight.grad = None
        cs.SpikeCountLoss(srm, window=(0, 300))(made(x), labels).backward()
        found[str(size)] = float((weight.grad != 0).any(axis=1).mean())
    return found


def fit(found: dict) -> dict[str, float]:
    """Return compute, fixed, latency and bandwidth, and the largest relative errors of fitted and of other points."""

    def solved(rows: Any, wanted: Any) -> list[float]:
        return [float(each) for each in np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0]]

    # Of relative errors: the small transfers say what latency is.
    slope, latency = solved(*zip(*(((size / s, 1 / s), 1.0) for size, s in found["pings"]), strict=True))
    model = {"latency": max(latency, 0.0), "bandwidth": 1 / slope, "cores": found["machine"]["cores"]}
    rows, wanted = [], []
    for p in (p for p in found["points"] if p["batch"] in FITTED or len(found["points"]) < 4):
        rows.append(np.array(busiest(model, p["processes"], p["batch"], found)) / p["seconds"])
        wanted.append(1 - travel(model, p["processes"], found["weights"]) / p["seconds"])
    model["compute"], model["fixed"] = solved(rows, wanted)
    return model


def travel(model: dict, processes: int, weights: float, buckets: int = 2) -> float:
    """Return the seconds of the transfers of a step."""
    messages = 2 * (processes - 1) * buckets + processes - 1
    return messages * model["latency"] + 2 * weights * (processes - 1) / processes / model["bandwidth"]


def busiest(model: dict, processes: int, batch: int, found: dict) -> tuple[int, int]:
    """Return the most micro-batches of a core, and its number of processes; without a number of cores each has one."""
    leaves, cores = math.ceil(batch / found["micro"]), model.get("cores", processes)
    shares = [len(share(leaves, rank, processes)) for rank in range(processes)]
    return max(sum(shares[core::cores]) for core in range(cores)), math.ceil(processes / cores)


def step(model: dict, processes: int, batch: int, found: dict) -> float:
    """Return the seconds of a step by the model."""
    n, turns = busiest(model, processes, batch, found)
    return n * model["compute"] + turns * model["fixed"] + travel(model, processes, found["weights"])


def carried(model: dict, found: dict) -> dict:
    """Return the speed of 1 to 1,024 processes on a cluster and of cards, relative to one, by batch."""
    cluster = {"compute": model["compute"], "fixed": model["fixed"], **CLUSTER}
    sizes = [2**k for k in range(11)]
    return {
        name: {str(b): [step(m, 1, b, found) / step(m, p, b, found) for p in sizes] for b in BATCHES}
        for name, m in (("cluster", cluster), ("cards", CARD))
    } | {"sizes": sizes}


def draw(found: dict, model: dict, far: dict, path: Path) -> None:
    """Draw measured points with the model, and the speed of many processes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for color, batch in enumerate(sorted({p["batch"] for p in found["points"]})):
        points = [(p["processes"], 1e3 * p["seconds"]) for p in found["points"] if p["batch"] == batch]
        label = f"batch {batch}{' (held out)' if batch in TESTED else ''}"
        left.plot(*zip(*points, strict=True), "o", color=f"C{color}", label=label)
        left.plot(PROCESSES, [1e3 * step(model, p, batch, found) for p in PROCESSES], "-", color=f"C{color}")
    left.set(xlabel="processes, on two cores", ylabel="ms a step", xticks=PROCESSES, ylim=(0, None))
    for kind, style in (("cluster", "-"), ("cards", "--")):
        for color, batch in enumerate(BATCHES):
            label = f"{kind}, batch {batch:,}"
            right.loglog(far["sizes"], far[kind][str(batch)], style, color=f"C{color}", label=label)
    right.loglog(far["sizes"], far["sizes"], ":", color="0.6", label="ideal")
    right.set(xlabel="processes", ylabel="times as fast as one")
    for axes in (left, right):
        axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=110)


def text(found: dict, model: dict, far: dict) -> list[str]:
    """Return the tables of the page."""
    rows = []
    for turn in found["turns"]:
        s = {kind: each["seconds"] for kind, each in turn["kinds"].items()}
        waited = turn["kinds"]["ordered"]["communication"] / s["ordered"]
        cells = [str(turn["micro"]), *(f"{1e3 * s[kind]:.1f}" for kind in ("alone", "ordered"))]
        cells += [f"{s['alone'] / s['ordered']:.2f}", f"{100 * (s['ordered'] / s['fast'] - 1):+.0f} %"]
        rows.append([*cells, f"{100 * waited:.0f} %"])
    heads = ["micro", "one process, ms a step", "two, ms", "times as fast", "fixed order costs", "communication"]
    lines = [*common.table(heads, rows, 0), ""]
    alone, ordered = found["megabytes"]["alone"], found["megabytes"]["ordered"]
    errors = [
        abs(step(model, p["processes"], p["batch"], found) / p["seconds"] - 1)
        for p in found["points"]
        if p["batch"] in TESTED
    ]
    lines += [
        f"Peak memory of a process: {alone:.0f} MB alone, {ordered:.0f} MB of each of two. On a batch that it was not "
        f"fitted to, by one to four processes, the model is off by at most {100 * max(errors, default=0):.0f} %.",
        "",
    ]
    rows = [
        [kind, f"{batch:,}", *(f"{far[kind][str(batch)][k]:.1f}" for k in (3, 6, 8, 10))]
        for kind in ("cluster", "cards")
        for batch in BATCHES
    ]
    lines += [*common.table(["times as fast by the model", "batch", "8", "64", "256", "1,024 processes"], rows, 1), ""]
    return [*lines, common.said(found["machine"], "python benchmarks/scale.py")]


def main(arguments: list[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--point", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.point:
        train(**options.point)
        return
    found = measured(options.small)
    model = fit(found)
    far = carried(model, found)
    common.save("scale", found | {"model": model, "carried": far}, options.out)
    draw(found, model, far, options.out / "scale.png")
    caption = "Measured steps and the model; speed of many processes"
    common.show(options.out, "scale", "scale", text(found, model, far), "scale", caption)


if __name__ == "__main__":
    main()
