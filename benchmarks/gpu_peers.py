"""Stage 4 of benchmarks/gpu.py: training steps of other libraries on the same GPU, each in a process of its own.

The networks are those of benchmarks/peers.py, on torch. Their weights are scaled until their neurons fire as often as
cuslayer's. Each step is timed as it is and, where torch can capture it, as a CUDA graph; the faster one counts.
"""

from __future__ import annotations

import sys
import tempfile
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
# Recordings of which firing rates are the mean.
FEW = 2
# Seconds that a peer may need at least.
LEAST = 8.0


def peers(run: Run) -> None:
    """Time the training steps of cuslayer and of each peer."""
    if find_spec("torch") is None:
        raise Skipped("torch is not installed: pip install torch spikingjelly snntorch")
    with tempfile.TemporaryDirectory() as scratch:
        for name, network in run.sizes.networks.items():
            ours = step_milliseconds(run, network, True)
            description = saved(run, network, Path(scratch) / f"{name}.npz")
            run.add("rows", {"network": name, "peer": "ours", "form": "graph", "rates": description["rates"], **ours})
            demand(run, name, ours["milliseconds"])
            for peer, form in PEERS:
                row = {"network": name, "peer": peer, "form": form}
                run.add("rows", row | measured(run, peer, form, description, Path(scratch) / "log"))
            compare(run, name)


def saved(run: Run, network: Network, path: Path) -> dict[str, Any]:
    """Write a batch to a file, and return the arguments with which a peer builds the network."""
    trainer, loader = trained(network, run.sizes.steps, False, lr=TINY)
    x, labels = next(iter(loader))
    np.savez(path, spikes=cs.Tensor(x).numpy(), labels=labels)
    layers, found = trainer.net.layers, []
    with cs.no_grad():
        few = cs.Tensor(x).numpy()[:, :FEW]
        for count in range(2, len(layers) + 1, 2):
            found.append(float(cs.Sequential(*layers[:count])(few).numpy().mean()))
    work = {"layers": network.layers, "batch": network.batch, "threads": backend.cores(), "device": "cuda"}
    return {"batch": str(path), "work": work, "rates": found}


def measured(run: Run, peer: str, form: str, description: dict[str, Any], log: Path) -> dict[str, Any]:
    """Return the versions, firing rates and milliseconds of a peer's step, or its problem."""
    if run.left() < LEAST:
        return {"problem": "no time left"}
    try:
        with Process(Path(sys.executable), peer, backend.cores(), log) as process:
            found = {"versions": process.ask("hello")["versions"]}
            found |= process.ask("build", form=form, **description)
            times = process.ask("measure")
    except NotRun as problem:
        return {"problem": str(problem)}
    best = min(filter(None, (times["seconds"], times["graph_seconds"])))
    eager, graph = (
        None if seconds is None else 1e3 * seconds for seconds in (times["seconds"], times["graph_seconds"])
    )
    found |= {"eager": eager, "graph": graph, "graph_problem": times.get("graph_problem")}
    return found | {"title": found["form"], "form": form, "milliseconds": 1e3 * best}


def compare(run: Run, name: str) -> None:
    """Check that cuslayer's step is faster than that of every peer that ran."""
    rows = [row for row in run.found["rows"] if row["network"] == name and "milliseconds" in row]
    ours = next(row["milliseconds"] for row in rows if row["peer"] == "ours")
    for row in rows:
        if row["peer"] != "ours":
            row["times"] = row["milliseconds"] / ours
            what = f"{name}: at least {TIMES:g} times as fast as {TITLES[row['peer']]}, {row['form']}"
            run.check(what, row["times"] >= TIMES, f"{row['times']:.1f} times")
    run.note()
