"""Kill a random process of a training at random moments, until the run is complete, and compare its bits: 20 times.

    python benchmarks/kill_processes.py              # ten minutes; needs the extra mpi
    python benchmarks/kill_processes.py --runs 2

Each time a run of 1 to 4 processes begins, is killed, and goes on with another number of processes. Every end is
compared with that of one process that nobody killed: weights, the optimizer's state, statistics, the generator.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support import mpiexec
from tests.support.deaths import results, tiny


def killed_to_the_end(yaml: Path, out: Path, chance: random.Random, longest: float) -> tuple[int, float]:
    """Return how many processes were killed until the run was complete, and the longest time in which all ended."""
    deaths, slowest = 0, 0.0
    while not (out / "raster.png").exists():
        resume = ["--resume"] if (out / "checkpoint.npz").exists() else [str(yaml)]
        size = chance.randint(2, 4)
        seconds, text = mpiexec.kill_one(
            *(size, chance.randrange(size), *resume, "--out", str(out)),
            out=out.with_suffix(".log"),
            when=lambda: True,
            delay=chance.uniform(0.0, longest),
        )
        if "Killed" in text or "signal 9" in text or "has ended" in text:
            deaths, slowest = deaths + 1, max(slowest, seconds)
    return deaths, slowest


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(arguments)
    why = mpiexec.missing()
    if why:
        print(why)
        return 1
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "run.yaml").write_text(tiny(folder, epochs=30, micro=1).to_yaml())
        code, text = mpiexec.train(1, str(folder / "run.yaml"), "--out", str(folder / "whole"), out=folder / "log")
        if code:
            print(text)
            return 1
        wanted, wrong = results(folder / "whole"), 0
        for number in range(options.runs):
            out = folder / f"run{number}"
            deaths, slowest = killed_to_the_end(folder / "run.yaml", out, chance, 1.5)
            same = results(out) == wanted
            wrong += not same
            print(f"run {number + 1}: {deaths} killed, all ended within {slowest:.1f} s, same bits: {same}", flush=True)
    print(f"{options.runs - wrong} of {options.runs} runs have the bits of one that nobody killed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
