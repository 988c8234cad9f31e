"""Stage 4 of benchmarks/gpu.py: training steps of other libraries on the same GPU, each in a process of its own.

The networks are those of benchmarks/peers.py, on torch. Their weights are scaled until their neurons fire as often as
cuslayer's. Each step is timed as it is and, where torch can capture it, as a CUDA graph; the faster one counts.
"""

from __future__ import annotations

import sys
import tempfile
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from comparison.processes import NotRun, Process
from comparison.works import NAMES
from gpu_stages import Network, Run, Skipped
from gpu_steps import TINY, demand, step_milliseconds, trained

import cuslayer as cs
from cuslayer import backend

# Library and form, the most important first.
PEERS = (
    ("spikingjelly", "multi-step"),
    ("slayer", "kernel"),
    ("snntorch", "hoisted"),
    ("snntorch", "plain"),
    ("slayer", "loop"),
)
TITLES = NAMES | {"slayer": "SLAYER's equations in torch"}
TIMES = 2.0
# Recordings of which firing rates are the mean, in both libraries.
FEW = 2
# Seconds that a peer may need at least.
LEAST = 8.0


def peers(run: Run) -> None:
    """Time the training steps of cuslayer and of each peer."""
    if find_spec("torch") is None:
        raise Skipped("torch is not installed: pip install torch spikingjelly snntorch")
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        described = {}
        for name, network in run.sizes.networks.items():
            ours = step_milliseconds(run, network, True)
            described[name] = saved(run, network, Path(scratch) / f"{name}.npz")
            rates = described[name]["rates"]
            run.add("rows", {"network": name, "peer": "ours", "form": "graph", "rates": rates, **ours})
            demand(run, name, ours["milliseconds"])
        started: dict[str, Process] = {}
        for peer, form in PEERS:
            for name, description in described.items():
                row = {"network": name, "peer": peer, "form": form}
                if run.left() < LEAST:
                    run.add("rows", row | {"problem": "no time left"})
                    continue
                if peer not in started:
                    log = Path(scratch) / f"{peer}.log"
                    process = Process(Path(sys.executable), peer, backend.cores(), log)
                    started[peer] = stack.enter_context(process)
                run.add("rows", row | measured(started[peer], form, description))
                compare(run)


def saved(run: Run, network: Network, path: Path) -> dict[str, Any]:
    """Write a batch to a file, and return the arguments with which a peer builds the network."""
    trainer, loader = trained(network, run.sizes.steps, False, lr=TINY)
    x, labels = next(iter(loader))
    spikes = cs.Tensor(x).numpy()
    np.savez(path, spikes=spikes, labels=labels)
    layers, rates = trainer.net.layers, []
    with cs.no_grad():
        for count in range(2, len(layers) + 1, 2):
            rates.append(float(cs.Sequential(*layers[:count])(spikes[:, :FEW]).numpy().mean()))
    work = {"layers": network.layers, "batch": network.batch, "threads": backend.cores(), "device": "cuda"}
    return {"batch": str(path), "work": work, "rates": rates, "samples": FEW}


def measured(process: Process, form: str, description: dict[str, Any]) -> dict[str, Any]:
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


def compare(run: Run) -> None:
    """Note how many times as long as cuslayer's a step of the last peer takes, and check that it is enough."""
    row = run.found["rows"][-1]
    if "milliseconds" in row:
        of_network = (each for each in run.found["rows"] if each["network"] == row["network"])
        row["times"] = row["milliseconds"] / next(of_network)["milliseconds"]
        what = f"{row['network']}: at least {TIMES:g} times as fast as {TITLES[row['peer']]}, {row['form']}"
        run.check(what, row["times"] >= TIMES, f"{row['times']:.1f} times")
