"""Train networks given by their notation alone, all else by default, and compare test accuracies with bars.

    python benchmarks/learning.py                          # the embedded digits: half an hour
    python benchmarks/learning.py --data NMNISTsmall       # and a folder of recordings
    python benchmarks/learning.py --networks 34x34x2-64-10 --seeds 0 --epochs 5

Each run is `cuslayer train --network NOTATION --epochs 5 --seed SEED` in a folder of its own, in `--jobs` processes at
a time of one thread each. The cost of calibration is measured afterwards, beside training steps on the same batch. The
figures, with versions and machine, go to benchmarks/results/learning.json and docs/performance.md.
"""

from __future__ import annotations

import csv
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import common

import cuslayer as cs
from cuslayer.data import Digits, Loader, open_folder
from cuslayer.training import Config

# The least test accuracy after five epochs in %, on the digits and on a folder of 1,000 recordings.
BARS = {
    "34x34x2-16c5-2a-32c3-2a-64c3-10": (95, 88),
    "34x34x2-8c5-2a-16c3-2a-10": (95, 80),
    "34x34x2-64-10": (95, 80),
    "34x34x2-256-128-10": (95, 80),
    "34x34x2-12c5-4a-64-10": (95, 80),
    "34x34x2-4a-128-10": (93, 75),
}


def trained(
    *arguments: str, threads: int | None = None, look: Callable[[Path], None] | None = None, more: Sequence[str] = ()
) -> dict[str, list[float]]:
    """Run `cuslayer train`, resume it with `more`, look at its folder, and return accuracies in % and seconds."""
    names = ("NUMBA_NUM_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if threads else ()
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, str(common.ROOT / "cuslayer_main.py"), "train", "--out", f"{folder}/run"]
        environment = {**os.environ, "PYTHONPATH": str(common.ROOT), **dict.fromkeys(names, str(threads))}
        for given in (arguments, *([("--resume", *more)] if more else [])):
            subprocess.run([*command, *given], check=True, stdout=subprocess.DEVNULL, env=environment)
        rows = list(csv.DictReader(Path(folder, "run", "metrics.csv").read_text("utf-8").splitlines()))
        if look is not None:
            look(Path(folder) / "run")
    accuracies = {part: [row[f"{part}_accuracy"] for row in rows] for part in ("train", "validation", "test")}
    found = {part: [100 * float(each) for each in given if each] for part, given in accuracies.items()}
    return found | {"seconds": [float(row["seconds"]) for row in rows]}


def calibration_steps(notation: str, data: Path | None) -> float:
    """Return the time of a calibration, divided by that of a training step with the calibrated network."""
    recordings = open_folder(data)[0] if data else Digits("train")
    batch = next(iter(Loader(recordings, 16, steps=300, shuffle=True, seed=0)))
    times = []
    for _ in range(2):  # the first round compiles
        cs.seed(0)
        config = Config().with_options(network=notation)
        net, loss = config.network(), config.loss()
        start = time.perf_counter()
        cs.calibrate(net, [batch])
        calibrating = time.perf_counter() - start
        step = common.stepping(net, loss, config.make_optimizer(net.parameters()), *batch)
        for _ in range(4):
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
    return calibrating / min(times)


def lines(rows: list[dict], said: str) -> list[str]:
    """Return the lines of the table."""
    sets = list(dict.fromkeys(r["data"] for r in rows))
    found = {(r["network"], r["data"]): r for r in rows}
    heads = ["network", *(f"{name}: test accuracy of each seed, %" for name in sets), "calibration, steps"]
    cells = []
    for network in dict.fromkeys(r["network"] for r in rows):
        each = [found.get((network, name), {}) for name in sets]
        accuracies = [", ".join(f"{accuracy:.1f}" for accuracy in r.get("last", ())) for r in each]
        longest = max(r["calibration_steps"] for r in each if r)
        cells.append([network, *accuracies, f"{longest:.1f}"])
    return [*common.table(heads, cells, 1), "", said]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--data", type=Path, help="a folder of recordings with a training and a test list")
    parser.add_argument("--networks", nargs="+", default=list(BARS), metavar="NOTATION")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args(arguments)
    sets = {"digits": None, **({options.data.name: options.data.resolve()} if options.data else {})}
    results = {"machine": common.describe(), "epochs": options.epochs, "runs": [], "rows": []}

    def learn(task: tuple[str, str, int]) -> dict:
        name, notation, seed = task
        given = ["--network", notation, "--epochs", str(options.epochs), "--seed", str(seed)]
        given += ["--data", str(sets[name])] if sets[name] else []
        return {"network": notation, "data": name, "seed": seed, **trained(*given, threads=1)}

    with ThreadPoolExecutor(options.jobs) as pool:
        for run in pool.map(learn, [(d, n, seed) for d in sets for n in options.networks for seed in options.seeds]):
            results["runs"].append(run)
            common.save("learning", results, options.out)
            print(run["network"], run["data"], run["seed"], [round(a, 1) for a in run["test"]], flush=True)
    for name, data in sets.items():
        for notation in options.networks:
            tests = [run["test"] for run in results["runs"] if (run["network"], run["data"]) == (notation, name)]
            row = {"network": notation, "data": name, "bar": BARS.get(notation, (None, None))[name != "digits"]}
            row |= {"last": [test[-1] for test in tests], "calibration_steps": calibration_steps(notation, data)}
            results["rows"].append(row)
    common.save("learning", results, options.out)
    text = lines(results["rows"], common.said(results["machine"], "python benchmarks/learning.py"))
    common.show(options.out, "performance", "learning", text)
    missed = [r for r in results["rows"] if r["bar"] is not None and min(r["last"]) < r["bar"]]
    print("\n".join(f"missed: {r['network']} on {r['data']}" for r in missed) or "every bar is reached")


if __name__ == "__main__":
    main()
