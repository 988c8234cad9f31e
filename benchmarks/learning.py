"""Train networks given by their notation alone, all else by default, and compare test accuracies with bars.

    python benchmarks/learning.py                          # the embedded digits: half an hour
    python benchmarks/learning.py --data NMNISTsmall       # and a folder of recordings
    python benchmarks/learning.py --networks 34x34x2-64-10 --seeds 0 --epochs 5

Each run is `cuslayer train --network NOTATION --epochs 5 --seed SEED` in a folder of its own, in `--jobs` processes at
a time of one thread each. The cost of calibration is measured afterwards, beside training steps on the same batch. The
figures, with versions and machine, go to benchmarks/results/learning.json and docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import machine
import training_run
from page import PERFORMANCE, fill, table

import cuslayer as cs
from cuslayer.data import Digits, Loader, open_folder
from cuslayer.training import Config

RESULTS = Path(__file__).parent / "results" / "learning.json"
# The least test accuracy within five epochs in %, on the digits and on a folder of 1,000 recordings.
BARS = {
    "34x34x2-16c5-2a-32c3-2a-64c3-10": (95, 88),
    "34x34x2-8c5-2a-16c3-2a-10": (95, 80),
    "34x34x2-64-10": (95, 80),
    "34x34x2-256-128-10": (95, 80),
    "34x34x2-12c5-4a-64-10": (95, 80),
    "34x34x2-4a-128-10": (93, 75),
}


def learn(notation: str, seed: int, epochs: int, data: Path | None) -> dict:
    """Return the accuracies in % and the seconds of each epoch of a run of the command line."""
    arguments = ["--network", notation, "--epochs", str(epochs), "--seed", str(seed)]
    arguments += ["--data", str(data.resolve())] if data else []
    threads = dict.fromkeys(("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    name = data.name if data else "digits"
    return {"network": notation, "data": name, "seed": seed, **training_run.metrics(arguments, threads)}


def calibration_steps(notation: str, data: Path | None) -> float:
    """Return the time of a calibration, divided by that of a training step with the calibrated network."""
    recordings = open_folder(data)[0] if data else Digits("train")
    batch = next(iter(Loader(recordings, 16, steps=300, shuffle=True, seed=0)))
    calibrating, stepping = [], []
    for _ in range(2):  # the first round compiles
        cs.seed(0)
        config = Config().with_options(network=notation)
        net, loss = config.network(), config.loss()
        start = time.perf_counter()
        cs.calibrate(net, [batch])
        calibrating.append(time.perf_counter() - start)
        optimizer = config.make_optimizer(net.parameters())
        for _ in range(4):
            start = time.perf_counter()
            value = loss(net(batch[0]), batch[1])
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            stepping.append(time.perf_counter() - start)
    return calibrating[-1] / min(stepping)


def row(network: str, data: str, runs: list[dict], steps: float) -> dict:
    """Return the figures of a network on a data set: the best test accuracy of each seed within the epochs."""
    best = [max(run["test"]) for run in sorted(runs, key=lambda run: run["seed"])]
    bars = BARS.get(network)
    return {
        "network": network,
        "data": data,
        "bar": None if bars is None else bars[data != "digits"],
        "best": best,
        "last": [run["test"][-1] for run in sorted(runs, key=lambda run: run["seed"])],
        "seconds": min(min(run["seconds"]) for run in runs),
        "calibration_steps": steps,
    }


def lines(rows: list[dict], said: str) -> list[str]:
    """Return the lines of the table."""
    heads = ["network", "data", "bar, %", "best test accuracy of each seed, %", "last epoch, %", "calibration, steps"]
    cells = [
        [
            r["network"],
            r["data"],
            "" if r["bar"] is None else str(r["bar"]),
            ", ".join(f"{a:.1f}" for a in r["best"]),
            ", ".join(f"{a:.1f}" for a in r["last"]),
            f"{r['calibration_steps']:.1f}",
        ]
        for r in rows
    ]
    return [*table(heads, cells, 2), "", said]


def write(path: Path, results: dict) -> None:
    """Write the results."""
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a folder of recordings with a training and a test list")
    parser.add_argument("--networks", nargs="+", default=list(BARS), metavar="NOTATION")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--reuse", action="store_true", help="do not repeat the runs that the results have already")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=PERFORMANCE)
    options = parser.parse_args(arguments)
    sets = [None, options.data] if options.data else [None]
    tasks = [(n, seed, options.epochs, data) for data in sets for n in options.networks for seed in options.seeds]
    results = {"machine": machine.describe(), "epochs": options.epochs, "runs": [], "rows": []}
    if options.reuse:
        results |= json.loads(options.out.read_text(encoding="utf-8"))
    runs = results["runs"]
    known = {(run["network"], run["data"], run["seed"], len(run["test"])) for run in runs}
    tasks = [t for t in tasks if (t[0], t[3].name if t[3] else "digits", t[1], t[2]) not in known]
    with ThreadPoolExecutor(options.jobs) as pool:
        for found in pool.map(lambda task: learn(*task), tasks):
            runs.append(found)
            write(options.out, results)
            print(found["network"], found["data"], found["seed"], [round(a, 1) for a in found["test"]], flush=True)
    rows = []
    for data in sets:
        name = data.name if data else "digits"
        for n in options.networks:
            mine = [run for run in runs if (run["network"], run["data"]) == (n, name)]
            rows.append(row(n, name, mine, calibration_steps(n, data)))
    results["rows"] = rows
    write(options.out, results)
    text = lines(rows, machine.said(results["machine"], "python benchmarks/learning.py"))
    fill(options.docs, "learning", text, None, "")
    print("\n".join(text))
    missed = [r for r in rows if r["bar"] is not None and min(r["best"]) < r["bar"]]
    print("\n".join(f"missed: {r['network']} on {r['data']}" for r in missed) or "every bar is reached")


if __name__ == "__main__":
    main()
