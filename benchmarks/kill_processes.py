"""Kill a random process of a training at a random moment, go on with another number of processes, compare the bits.

    python benchmarks/kill_processes.py     # 20 runs in five minutes; needs the extra mpi; Linux

A run of 2 to 4 processes has one of them killed, and another number of processes, 1 to 4, completes it. The moment is
drawn from the whole life of the processes in odd runs, from that after the first checkpoint in even ones. Each end is
compared with that of one process that nobody killed: weights, the optimizer's state, statistics, the generator, and the
names of the files. Writes benchmarks/results/kills.json, and what it found into docs/scale.md.
"""

from __future__ import annotations

import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import common

from cuslayer.training import load_checkpoint
from tests.support import mpiexec
from tests.support.deaths import results, tiny

EPOCHS = 40


def where(out: Path) -> str:
    """Return where a run stands that was killed."""
    if out.is_dir() and any(path.name.startswith(".") for path in out.iterdir()):
        return "while a file was written"
    if not (out / "checkpoint.npz").exists():
        return "before the first checkpoint"
    found = load_checkpoint(out / "checkpoint.npz")
    if found.epoch == EPOCHS:
        return "after the last epoch"
    if found.place is None:
        return "between epochs"
    return "within an epoch" if found.place.tested is None else "within an evaluation"


def life(yaml: Path, folder: Path) -> tuple[float, float]:
    """Return the seconds until the first checkpoint of a run that nobody kills, and those of all of it."""
    start, first = time.monotonic(), 0.0
    program = mpiexec.start_train(3, str(yaml), "--out", str(folder / "life"), out=folder / "log")
    while program.poll() is None:
        if not first and (folder / "life" / "checkpoint.npz").exists():
            first = time.monotonic() - start
        time.sleep(0.005)
    return first, time.monotonic() - start


def killed_once(number: int, yaml: Path, folder: Path, times: tuple[float, float]) -> dict:
    """Return what became of a run."""
    chance, out, (first, whole), seconds = random.Random(number), folder / f"run{number}", times, None
    while seconds is None:
        for path in out.glob("*"):  # a run that was over before it was killed
            path.unlink()
        size = chance.randint(2, 4)
        rank, later = chance.randrange(size), number % 2 == 0
        seconds, text = mpiexec.kill_one(
            *(size, rank, str(yaml), "--out", str(out)),
            out=folder / "log",
            when=(out / "checkpoint.npz").exists if later else lambda: True,
            delay=chance.uniform(0.0, whole - first if later else whole),
        )
    found = {"processes": size, "rank": rank, "where": where(out), "seconds": seconds}
    found["named"] = any(words in text for words in ("Killed", "signal 9", "has ended"))
    resumed_by = chance.choice([n for n in range(1, 5) if n != size])
    resume = ["--resume"] if (out / "checkpoint.npz").exists() else [str(yaml)]
    code, text = mpiexec.train(resumed_by, *resume, "--out", str(out), out=folder / "log")
    if code:
        print(text)
    return {**found, "resumed_by": resumed_by, "code": code}


def text(found: dict) -> list[str]:
    """Return the lines of the page."""
    runs = list(found["runs"].values())
    same = sum(run["same"] for run in runs)
    places = Counter(run["where"] for run in runs)
    said = ", ".join(f"{count} {place}" for place, count in places.most_common())
    slowest = max(run["seconds"] for run in runs)
    return [
        f"{same} of {len(runs)} runs, of 2 to 4 processes and completed by 1 to 4 others, have the bits of one that "
        f"nobody killed. The kills fell {said}. All processes had ended within {slowest:.1f} s.",
        "",
        common.said(found["machine"], "python benchmarks/kill_processes.py"),
    ]


def main(arguments: list[str] | None = None) -> int:
    parser = common.parser(__doc__)
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args(arguments)
    why = mpiexec.missing()
    if why:
        print(why)
        return 1
    found: dict = {"machine": common.describe("mpi4py", "mpich"), "runs": {}}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        yaml = folder / "run.yaml"
        yaml.write_text(tiny(folder, epochs=EPOCHS, micro=1).to_yaml())
        code, said = mpiexec.train(1, str(yaml), "--out", str(folder / "whole"), out=folder / "log")
        if code:
            print(said)
            return 1
        wanted, times = results(folder / "whole"), life(yaml, folder)
        for number in range(1, options.runs + 1):
            run = killed_once(number, yaml, folder, times)
            run["same"] = run["code"] == 0 and results(folder / f"run{number}") == wanted
            found["runs"][str(number)] = run
            common.save("kills", found, options.out)
            print(number, run, flush=True)
    common.show(options.out, "scale", "kills", text(found))
    return 0 if all(run["same"] for run in found["runs"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
