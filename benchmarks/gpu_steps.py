"""Stages of gpu.py: training steps, here and in other libraries, equal bits of equal steps, and an epoch.

A step is that of a `Trainer`: input bits from events on the device, forward, loss, backward, gradient flow, optimizer
and score; launched one by one, or as the Trainer's own CUDA graph. The peers' networks are those of peers.py, on torch:
their weights are scaled until their neurons fire as often as cuslayer's; each step is timed as it is and, where torch
can capture it, as a CUDA graph, and the faster one counts.
"""

from __future__ import annotations

import hashlib
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from itertools import chain, islice, pairwise, repeat
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from card import Run, Skipped
from comparison.process import NotRun, Worker
from comparison.works import NAMES
from example_networks import NETWORKS, STEPS, Network, prepared

import cuslayer as cs
from cuslayer import backend
from cuslayer.data import Loader
from cuslayer.data.packed import PackedEvents, Resident
from cuslayer.kernels.spikes.packed import event_fields
from cuslayer.training import Trainer

# The training steps before those that are timed, those that are timed together, and how often; those after which bits
# are compared.
WARM, TIMED, WINDOWS, COMPARED = 20, 40, 5, 12
# Hz of each layer's neurons in the steps that are timed, by calibration.
RATE = 30.0
# A learning rate so small that they stay what they are.
TINY = 1e-7
# Batches that are on the device, one after another.
HELD = 4
# The recordings of the epoch and the events of each; recordings that are drawn at a time, and the bytes of the GPU's
# memory that they leave for the training step.
RECORDINGS, EVENTS, DRAWN, SPARED = 60_000, 4172, 1000, 2 << 30
DEMANDED_EPOCH = 2.0
# Library and form, the most important first.
PEERS = (("spikingjelly", "multi-step"), ("snntorch", "hoisted"), ("snntorch", "plain"))
TIMES = 2.0
# Recordings of which firing rates are the mean, in both libraries; seconds that a peer may need at least.
FEW, LEAST = 2, 8.0


def trained(network: Network, graph: bool, **options: Any) -> tuple[Trainer, Loader]:
    """Return a calibrated trainer of a network and a loader of recordings that are on the device."""
    cs.seed(0)
    trainer, loader = prepared(network, HELD, resident="cuda", graph=graph, **options)
    trainer.calibrate = RATE
    trainer.prepare(loader)
    return trainer, loader


def endless(loader: Loader, count: int) -> Iterator[Any]:
    """Yield so many batches of a loader, epoch after epoch."""
    return islice(chain.from_iterable(repeat(loader)), count)


def step_milliseconds(run: Run, network: Network, graph: bool) -> dict[str, Any]:
    """Return the median and the least time of a training step, and why it is no graph if it should be one."""
    trainer, loader = trained(network, graph, lr=TINY)
    marks = []

    def batches() -> Iterator[Any]:
        for number, batch in enumerate(endless(loader, WARM + TIMED * WINDOWS)):
            if number >= WARM and (number - WARM) % TIMED == 0:
                marks.append(run.card.mark())
            yield batch
        marks.append(run.card.mark())

    trainer.train(batches())
    times = [1e3 * run.card.between(begin, end) / TIMED for begin, end in pairwise(marks)]
    return {"milliseconds": median(times), "least": min(times), "problem": trainer.graph_problem if graph else None}


def steps(run: Run) -> None:
    """Time the training step of each network, eager and as a graph, with both formats of potentials."""
    for name, network in NETWORKS.items():
        for potentials, made in (("full", network), ("float16", network.half())):
            eager, graph = (step_milliseconds(run, made, way) for way in (False, True))
            row = {"network": name, "batch": network.batch, "potentials": potentials, "eager": eager, "graph": graph}
            run.add("rows", row)
            if potentials == "full":
                run.check(f"{name}: the step is a graph", graph["problem"] is None, graph["problem"] or "")
                demand(run, name, graph["milliseconds"])


def demand(run: Run, name: str, milliseconds: float) -> None:
    """Check the time of a network's step as a graph, which is demanded of an H100."""
    most = NETWORKS[name].milliseconds
    if "H100" in run.card.name:
        what = f"{name}: a step as a graph takes under {most:g} ms on an H100"
        run.check(what, milliseconds < most, f"{milliseconds:.3f} ms")


def bits(run: Run) -> None:
    """Train each network several times from one seed, eager and as a graph: the bits must be equal."""
    for name, network in NETWORKS.items():
        found = {way: [digest(network, way == "graph") for _ in range(2)] for way in ("eager", "graph")}
        run.add("rows", {"network": name, **found})
        for way, (first, second) in found.items():
            run.check(f"{name}: {way}, two runs from one seed have equal bits", first == second)
        run.check(f"{name}: eager and graph have equal bits", found["eager"] == found["graph"])


def digest(network: Network, graph: bool) -> str:
    """Return a digest of the weights and the score after some steps, which are not those before."""
    trainer, loader = trained(network, graph)
    before = [p.numpy().copy() for p in trainer.net.parameters()]
    score = trainer.train(endless(loader, COMPARED))
    if graph and trainer.graph_problem:
        raise ValueError(f"the step is not a graph: {trainer.graph_problem}")
    after = [p.numpy() for p in trainer.net.parameters()]
    if any((x == y).all() for x, y in zip(before, after, strict=True)):
        raise ValueError("a weight was not trained")
    found = hashlib.sha256(repr(score).encode())
    for weights in after:
        found.update(weights.tobytes())
    return found.hexdigest()[:16]


def epoch(run: Run) -> None:
    """Train the MLP for an epoch of drawn recordings, all of them on the device."""
    network = NETWORKS["MLP"]
    fit = max(network.batch, (backend.free_memory() - SPARED) // (4 * EVENTS))
    count = min(RECORDINGS, int(fit))
    run.note(recordings=count, of=RECORDINGS, events=EVENTS, batch=network.batch)
    held = Resident(drawn(count, network.shape), STEPS, network.shape)
    trainer, _ = trained(network, True, lr=1e-4)
    order = np.random.default_rng(0).permutation(count)
    parts = [order[first : first + network.batch] for first in range(0, count, network.batch)]
    trainer.train(map(held.batch, parts[:WARM]))
    start = time.perf_counter()
    score = trainer.train(map(held.batch, parts))
    seconds = time.perf_counter() - start
    run.note(epoch_seconds=seconds, steps=len(parts), loss=score.loss, problem=trainer.graph_problem)
    if count == RECORDINGS:
        what = f"MLP: an epoch of {count:,} recordings takes under {DEMANDED_EPOCH:g} s"
        run.check(what, seconds < DEMANDED_EPOCH, f"{seconds:.2f} s")


def drawn(count: int, shape: tuple[int, ...]) -> Iterator[tuple[PackedEvents, Any]]:
    """Yield recordings, in the order of time, and their labels of ten classes."""
    features, generator = int(np.prod(shape)), np.random.default_rng(0)
    bits = event_fields(STEPS, features)[1]
    for first in range(0, count, DRAWN):
        recordings = min(DRAWN, count - first)
        size = recordings, EVENTS
        step, feature = (generator.integers(0, most, size, np.uint32) for most in (STEPS, features))
        packed = np.sort(step << np.uint32(bits) | feature, axis=1)
        labels = np.arange(first, first + recordings) % 10
        yield PackedEvents(packed.reshape(-1, 1), np.arange(recordings + 1) * EVENTS), labels


def peers(run: Run) -> None:
    """Time the training steps of cuslayer and of each peer."""
    if find_spec("torch") is None:
        raise Skipped("torch is not installed: pip install torch spikingjelly snntorch")
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        described, ours = {}, {}
        for name, network in NETWORKS.items():
            ours[name] = step_milliseconds(run, network, True)
            described[name] = saved(network, Path(scratch) / f"{name}.npz")
            run.add("rows", {"network": name, "peer": "ours", "form": "graph", **ours[name]})
            demand(run, name, ours[name]["milliseconds"])
        started: dict[str, Worker] = {}
        for peer, form in PEERS:
            for name, description in described.items():
                row = {"network": name, "peer": peer, "form": form}
                if run.left() < LEAST:
                    run.add("rows", row | {"problem": "no time left"})
                    continue
                if peer not in started:
                    worker = Worker(Path(sys.executable), peer, cs.threads(), Path(scratch))
                    started[peer] = stack.enter_context(worker)
                row |= measured(started[peer], form, description)
                if "milliseconds" in row:
                    run.note(timed=run.found.get("timed", 0) + 1)
                    row["times"] = row["milliseconds"] / ours[name]["milliseconds"]
                    what = f"{name}: at least {TIMES:g} times as fast as {NAMES[peer]}, {form}"
                    run.check(what, row["times"] >= TIMES, f"{row['times']:.1f} times")
                run.add("rows", row)


def saved(network: Network, path: Path) -> dict[str, Any]:
    """Write a batch to a file, and return the arguments with which a peer builds the network."""
    trainer, loader = trained(network, False, lr=TINY)
    x, labels = next(iter(loader))
    spikes = cs.Tensor(x).numpy()
    np.savez(path, spikes=spikes, labels=labels)
    layers, rates = trainer.net.layers, []
    with cs.no_grad():
        for count in range(2, len(layers) + 1, 2):
            rates.append(float(cs.Sequential(*layers[:count])(spikes[:, :FEW]).numpy().mean()))
    work = {"layers": network.layers, "batch": network.batch, "threads": cs.threads(), "device": "cuda"}
    return {"batch": str(path), "work": work, "rates": rates, "samples": FEW}


def measured(process: Worker, form: str, description: dict[str, Any]) -> dict[str, Any]:
    """Return the versions, firing rates and milliseconds of a peer's step, or its problem."""
    try:
        versions = process.ask("hello")["versions"]
        built = process.ask("build", form=form, **description)
        times = process.ask("measure")
    except NotRun as problem:
        return {"problem": str(problem)}
    eager, graph = (None if each is None else 1e3 * each for each in (times["seconds"], times["graph_seconds"]))
    found = {"title": built["form"], "rates": built["rates"], "versions": versions, "eager": eager, "graph": graph}
    fastest = min(each for each in (eager, graph) if each is not None)
    return found | {"graph_problem": times.get("graph_problem"), "milliseconds": fastest}
