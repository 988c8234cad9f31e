"""What looking inside costs: a training step without a recorder, with one on one neuron, and on everything; `explain`.

    python benchmarks/recording.py                  # the MLP 2312-512-10, batch 8, 300 steps; and the CNN
    python benchmarks/recording.py --only mlp

The steps that differ by little are run in turn, one of each kind in an order that is drawn anew, so that what disturbs
the machine disturbs all. Recording everything comes last: it moves so much memory that it would slow down whatever came
after it. The figures are medians. `free` is a step that never asks whether somebody watches the network, `closed` one
that asks and finds nobody: what the question costs is their difference, beyond chance. Prints what it finds and writes
it, with versions and machine, to benchmarks/results/recording.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path

import machine
import numpy as np

import cuslayer as cs
from cuslayer.functions.potential import storing
from cuslayer.network import _one_pass, _run

RESULTS = Path(__file__).parent / "results" / "recording.json"
NETWORKS = {"mlp": "34x34x2-512-10", "cnn": "34x34x2-16c5-2a-32c3-2a-64c3-10"}


def unwatched(net: cs.Network, x: np.ndarray) -> cs.Tensor:
    """Run a network as its call does, with no question asked."""
    out, at = cs.Tensor(x), 0
    with storing(net.store):
        while at < len(net.layers):
            stages = _one_pass(net.layers[at : at + 4])
            out = _run(at, stages, out)
            at += len(stages)
    return out


def measure(notation: str, steps: int, batch: int, repeats: int) -> dict:
    """Return milliseconds of a training step by kind, and of `explain`."""
    srm = cs.SRM()
    cs.seed(0)
    net = cs.Network(notation, srm)
    x = np.random.default_rng(0).random((steps, batch, *net.input_shape)) < 0.006
    labels, loss = np.arange(batch) % 10, cs.SpikeCountLoss(srm)
    optimizer = cs.Adam(net.parameters(), lr=0.001, amsgrad=True)

    def step(run: Callable[[np.ndarray], cs.Tensor], asked: dict | None) -> None:
        with nullcontext() if asked is None else cs.record(net, **asked):
            value = loss(run(x), labels)
            optimizer.zero_grad()
            value.backward()
        optimizer.step()

    kinds: dict[str, Callable[[], None]] = {
        "free": lambda: step(lambda x: unwatched(net, x), None),
        "closed": lambda: step(net, None),
        "one_neuron": lambda: step(net, {"layers": [1], "neurons": [7]}),
        "everything": lambda: step(net, {}),
    }
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    little = [kind for kind in kinds if kind != "everything"]
    shuffled = np.random.default_rng(1)
    turns = [kind for _ in range(repeats) for kind in shuffled.permutation(little).tolist()]
    for kind in [*little, *turns, *["everything"] * repeats]:
        start = time.perf_counter()
        kinds[kind]()
        seconds[kind].append(time.perf_counter() - start)
    found = {f"{kind}_ms": 1e3 * float(np.median(s)) for kind, s in seconds.items()}
    for kind in ("free", "one_neuron", "everything"):
        found[f"{kind}_over_closed"] = found[f"{kind}_ms"] / found["closed_ms"]
    explained = []
    for _ in range(max(3, repeats // 10)):
        start = time.perf_counter()
        why = cs.explain(net, x, 1, 7, steps - 1)
        explained.append(time.perf_counter() - start)
    found["explain_ms"] = 1e3 * float(np.median(explained))
    found["explain_sum_error"] = abs(why.filtered + why.refractory - why.potential)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=NETWORKS)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=100)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    found = {"machine": machine.describe()}
    for name in [options.only] if options.only else NETWORKS:
        found[name] = measure(NETWORKS[name], options.steps, options.batch, options.repeats)
        print(name, json.dumps(found[name]), flush=True)
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
