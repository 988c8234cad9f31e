"""Compare the times of a training step in two checkouts, measured in turn within one run.

    python benchmarks/step_times.py OTHER_CHECKOUT                        # about a minute
    python benchmarks/step_times.py OTHER_CHECKOUT --only MLP --rounds 40

Each checkout runs in a process of its own, on the same random spikes from the same seed. In each round both take a few
steps, one checkout after the other, in an order that alternates, so that other work on the machine disturbs both alike.
The first round, in which kernels are compiled, does not count. The networks are those of `files_of_a_step.py`.

Prints the median and the lower quartile of a step's time in both checkouts, and the ratios of this checkout to the
other: below 1, this one is faster. The lower quartile varies less between runs, since other work only adds to a time.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from common import ROOT, Process, answers
from files_of_a_step import NETWORKS, training_step


def serve(root: Path) -> None:
    """Take steps of a network with the package of a checkout, as often as asked, and answer with their seconds."""
    import cuslayer

    if not Path(cuslayer.__file__).is_relative_to(root):
        raise SystemExit(f"step_times: {root} has no package: {cuslayer.__file__} was imported")
    made = {}

    def answer(given: list) -> list[float]:
        name, count = given
        step = made[name] = made.get(name) or training_step(name)
        times = [time.perf_counter()]
        for _ in range(count):
            step()
            times.append(time.perf_counter())
        return np.diff(times).tolist()

    answers(answer)


def in_turn(name: str, workers: Sequence[Process], rounds: int, block: int) -> list[list[float]]:
    """Return the seconds of the steps of each worker, without those of the first round."""
    seconds: list[list[float]] = [[] for _ in workers]
    for number in range(rounds + 1):
        for place in (0, 1) if number % 2 else (1, 0):
            found = workers[place].request([name, block])
            if number:
                seconds[place] += found
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("other", type=Path, help="another checkout")
    parser.add_argument("--only", nargs="+", choices=NETWORKS, default=NETWORKS)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--block", type=int, default=3, help="steps of one checkout in a round")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        serve(options.other)
        return

    def start(root: Path) -> Process:
        command = [sys.executable, str(Path(__file__).resolve()), str(root), "--worker"]
        return Process(command, os.environ | {"PYTHONPATH": str(root)})

    print(f"{'':4}{'':16}{'this, ms':>10}{'other, ms':>11}{'ratio':>8}")
    with start(ROOT) as this, start(options.other.resolve()) as other:
        for name in options.only:
            seconds = in_turn(name, [this, other], options.rounds, options.block)
            for what, share in (("median", 50), ("lower quartile", 25)):
                mine, theirs = (1e3 * float(np.percentile(s, share)) for s in seconds)
                print(f"{name:4}{what:>16}{mine:>10.2f}{theirs:>11.2f}{mine / theirs:>8.3f}", flush=True)


if __name__ == "__main__":
    main()
