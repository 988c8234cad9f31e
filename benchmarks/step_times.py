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
import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from files_of_a_step import LIMITS, training_step

ROOT = Path(__file__).parents[1]


class Worker:
    """A process that takes training steps with the package of one checkout."""

    def __init__(self, root: Path, options: argparse.Namespace) -> None:
        sizes = [f"--{name}={getattr(options, name)}" for name in ("block", "steps", "batch")]
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).resolve()), str(root), "--worker", *sizes],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONPATH": str(root)},
        )

    def take(self, name: str) -> list[float]:
        """Return the seconds of each step of a block.

        Raises:
            RuntimeError: the process has ended.
        """
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(f"{name}\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"step_times: the process of a checkout ended with {self.process.wait()}")
        return json.loads(line)

    def __enter__(self) -> Worker:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.communicate()


def serve(options: argparse.Namespace) -> None:
    """Take a block of steps of each network whose name is read, and write their seconds."""
    import cuslayer

    if not Path(cuslayer.__file__).is_relative_to(options.other.resolve()):
        raise SystemExit(f"step_times: {options.other} has no package: {cuslayer.__file__} was imported")
    steps = {}
    for line in sys.stdin:
        name = line.strip()
        step = steps[name] = steps.get(name) or training_step(name, options.steps, options.batch)
        seconds = []
        for _ in range(options.block):
            start = time.perf_counter()
            step()
            seconds.append(time.perf_counter() - start)
        print(json.dumps(seconds), flush=True)


def in_turn(name: str, workers: Sequence[Worker], rounds: int) -> list[list[float]]:
    """Return the seconds of the steps of each worker, without those of the first round."""
    seconds: list[list[float]] = [[] for _ in workers]
    for number in range(rounds + 1):
        for place in (0, 1) if number % 2 else (1, 0):
            block = workers[place].take(name)
            if number:
                seconds[place] += block
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("other", type=Path, help="another checkout")
    parser.add_argument("--only", nargs="+", choices=LIMITS, default=list(LIMITS))
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--block", type=int, default=3, help="steps of one checkout in a round")
    parser.add_argument("--steps", type=int, default=300, help="time steps of a sample, of 1 ms")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker:
        serve(options)
        return
    print(f"{'':4}{'':16}{'this, ms':>10}{'other, ms':>11}{'ratio':>8}")
    with Worker(ROOT, options) as this, Worker(options.other.resolve(), options) as other:
        for name in options.only:
            seconds = in_turn(name, [this, other], options.rounds)
            for what, share in (("median", 50), ("lower quartile", 25)):
                mine, theirs = (1e3 * float(np.percentile(s, share)) for s in seconds)
                print(f"{name:4}{what:>16}{mine:>10.2f}{theirs:>11.2f}{mine / theirs:>8.3f}", flush=True)


if __name__ == "__main__":
    main()
