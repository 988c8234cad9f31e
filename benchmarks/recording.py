"""Measure the cost of recording one neuron or everything in a training step, and of `explain`.

    python benchmarks/recording.py --only mlp                  # 2312-512-10, batch 8, 300 steps
    python benchmarks/recording.py --only cnn --rounds 1       # a few minutes

Steps of one kind run in blocks, with one recorder open around a block, and the kinds run in turn, in a new random order
each round, so that other work on the machine disturbs all alike. The first steps of a block, which find memory and
caches as another kind left them, do not count; recording everything, which moves most memory, runs in turn with
`closed` only. The figures are lower quartiles, since other work only adds to a time. `free` is a step that does not
look for observers of the network, `closed` one that looks and finds none. Prints the figures and writes them, with
versions and machine, to benchmarks/results/recording.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TypeAlias

import machine
import numpy as np

import cuslayer as cs
from cuslayer.network.container import graph_of
from cuslayer.network.fusion import plan
from cuslayer.neurons.potential import potential_format

RESULTS = Path(__file__).parent / "results" / "recording.json"
# A step, and a context around the steps of a block.
Kind: TypeAlias = "tuple[Callable[[], None], Callable[[], AbstractContextManager]]"
# Steps of a block that do not count, and steps that do.
SETTLING, BLOCK = 4, 16
NETWORKS = {"mlp": "34x34x2-512-10", "cnn": "34x34x2-16c5-2a-32c3-2a-64c3-10"}


def unwatched(net: cs.Network, x: np.ndarray) -> cs.Tensor:
    """Run a network as its call does, without looking for observers."""
    out = cs.Tensor(x)
    with potential_format(net.potentials):
        for step in plan(graph_of(net)):
            out = step(out)
    return out


def in_turn(kinds: dict[str, Kind], rounds: int) -> dict[str, float]:
    """Return the lower quartile of the milliseconds that each kind of step takes."""
    seconds: dict[str, list[float]] = {kind: [] for kind in kinds}
    shuffled = np.random.default_rng(1)
    for _ in range(rounds):
        for kind in shuffled.permutation(list(kinds)).tolist():
            step, around = kinds[kind]
            with around():
                for number in range(SETTLING + BLOCK):
                    start = time.perf_counter()
                    step()
                    if number >= SETTLING:
                        seconds[kind].append(time.perf_counter() - start)
    return {kind: 1e3 * float(np.percentile(s, 25)) for kind, s in seconds.items()}


def measure(notation: str, steps: int, batch: int, rounds: int) -> dict:
    """Return the milliseconds of a training step by kind, and of `explain`."""
    srm = cs.SRM()
    cs.seed(0)
    net = cs.Network(notation, srm)
    x = np.random.default_rng(0).random((steps, batch, *net.input_shape)) < 0.006
    labels, loss = np.arange(batch) % 10, cs.SpikeCountLoss(srm)
    # The learning rate is so small that firing rates, and with them the cost of a step, stay the same.
    optimizer = cs.Adam(net.parameters(), lr=1e-12, amsgrad=True)

    def step(run: Callable[[np.ndarray], cs.Tensor] = net) -> None:
        value = loss(run(x), labels)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()

    kinds: dict[str, Kind] = {
        "free": (lambda: step(lambda x: unwatched(net, x)), nullcontext),
        "closed": (step, nullcontext),
        "one_neuron": (step, lambda: cs.record(net, layers=[1], neurons=[7])),
        "everything": (step, lambda: cs.record(net)),
    }
    found: dict[str, float] = {}
    for others in (("free", "one_neuron"), ("everything",)):
        quartiles = in_turn({kind: kinds[kind] for kind in ("closed", *others)}, rounds)
        found.setdefault("closed_ms", quartiles["closed"])
        found |= {f"{kind}_ms": quartiles[kind] for kind in others}
        found |= {f"{kind}_over_closed": quartiles[kind] / quartiles["closed"] for kind in others}
    explained = []
    for _ in range(max(3, rounds)):
        start = time.perf_counter()
        why = cs.explain(net, x, 1, 7, steps - 1)
        explained.append(time.perf_counter() - start)
    found["explain_ms"] = 1e3 * float(np.percentile(explained, 25))
    found["explain_sum_error"] = abs(why.filtered + why.refractory - why.potential)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=NETWORKS)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    found = json.loads(options.out.read_text()) if options.out.exists() else {}
    found["machine"] = machine.describe()
    for name in [options.only] if options.only else NETWORKS:
        found[name] = measure(NETWORKS[name], options.steps, options.batch, options.rounds)
        print(name, json.dumps(found[name]), flush=True)
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
