"""Measure trainings by 1 to 4 processes, fit a model of a step, and carry it to clusters and cards.

    python benchmarks/scale.py         # four minutes; needs the extra mpi. Points that the results have are kept
    python benchmarks/scale.py --anew  # measures all points again

A step of P processes on C cores, with n micro-batches on the core that has most, and W bytes of weights:

    step = n compute + ceil(P / C) fixed + messages latency + bytes / bandwidth
    messages = 2 (P - 1) buckets + P - 1              bytes = 2 W (P - 1) / P

`compute` and `fixed` (the optimizer's step, which every process takes) are fitted to steps of one process, by least
squares of relative errors, `latency` and `bandwidth` to transfers between two; another batch on 1 to 4 tests them.
Writes benchmarks/results/scale.json, scale.png, and tables into docs/scale.md.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from pathlib import Path

import machine
import numpy as np
import page

from cuslayer.distributed.parallel import MICRO
from cuslayer.distributed.sums import share

HERE = Path(__file__).parent
RESULTS, DOCS = HERE / "results" / "scale.json", HERE.parent / "docs" / "scale.md"
NET = "34x34x2-512-10"
FITTED, TESTED, PROCESSES = (64, 96, 128), (160,), (1, 2, 3, 4)
# A cluster: links of 100 Gb/s, of which a process of a machine with a link for 8 has an eighth; MPI's usual latency.
CLUSTER = {"latency": 2e-6, "bandwidth": 12.5e9 / 8}
# Cards of one machine: the model of an H100 in docs/kernels.md (a graph's step of 8 recordings in 0.061 ms, of which
# 0.02 ms are the optimizer's), launches from the host instead of a graph, and NVLink.
CARD = {"compute": 0.3e-3, "fixed": 0.15e-3, "latency": 5e-6, "bandwidth": 200e9}
BATCHES = (1024, 16384)


def point(processes: int, **given: object) -> dict:
    """Return what `scale_point.py` measures."""
    mpiexec = shutil.which("mpiexec", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    command = [str(mpiexec), "-n", str(processes), sys.executable, str(HERE / "scale_point.py"), json.dumps(given)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def turn(batch: int, options: dict, rounds: int) -> dict:
    """Return the fastest of some rounds of one process and of two, each with processes of its own, taken in turns."""
    found: dict = {"micro": options["micro"], "kinds": {}}
    for _ in range(rounds):
        for kind, processes in (("alone", 1), ("one", 1), ("ordered", 2), ("fast", 2)):
            got = point(processes, batch=batch, kinds=[kind], **options)["kinds"][kind]
            found["kinds"][kind] = min(got, found["kinds"].get(kind, got), key=lambda each: each["seconds"])
    return found


def measured(path: Path, small: bool) -> dict:
    """Return all measured points; those that a file has already are not measured again."""
    usual = {"net": "34x34x2-8-10" if small else NET, "micro": MICRO, "rounds": 1 if small else 2}
    batches = (32,) if small else (*FITTED, *TESTED)
    found: dict = json.loads(path.read_text()) if path.exists() else {}
    found = {"points": [], "turns": [], "megabytes": {}, **found, "machine": machine.describe("mpi4py"), **usual}

    def keep() -> None:
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_text(json.dumps(found, indent=2) + "\n")

    # Of several processes the batch that tests the fit: what one process says must carry over to them.
    grid = [(p, batch) for p in ((1, 2) if small else PROCESSES) for batch in batches if p == 1 or batch not in FITTED]
    for processes, batch in grid:
        if any((p["processes"], p["batch"]) == (processes, batch) for p in found["points"]):
            continue
        kind = "one" if processes == 1 else "ordered"
        got = point(processes, batch=batch, kinds=[kind], **usual)
        found["points"].append({"processes": processes, "batch": batch, **got["kinds"][kind]})
        if processes == 2:
            found["pings"], found["weights"] = got["pings"], got["weights"]
        keep()
        print(found["points"][-1], flush=True)
    for micro in (8,) if small else (8, 16):
        if all(turn["micro"] != micro for turn in found["turns"]):
            found["turns"].append(turn(batches[0], {**usual, "micro": micro}, 1 if small else 3))
            keep()
            print(found["turns"][-1], flush=True)
    for number, kind in ((1, "alone"), (2, "ordered")):
        if kind not in found["megabytes"]:
            found["megabytes"][kind] = point(number, batch=batches[0], kinds=[kind], **usual)["megabytes"]
            keep()
    if "rows" not in found:
        given = json.dumps({"net": usual["net"], "rows": [8, 16, 32, 64]})
        command = [sys.executable, str(HERE / "scale_point.py"), given]
        found["rows"] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)
    return found


def fit(found: dict) -> dict:
    """Return compute, fixed, latency and bandwidth, and the largest relative errors of fitted and of other points."""
    sizes, seconds = np.array(found["pings"]).T
    # Of relative errors: the small transfers say what latency is.
    slope, latency = np.linalg.lstsq(
        np.stack([sizes, np.ones_like(sizes)], 1) / seconds[:, None], np.ones(len(sizes)), rcond=None
    )[0]
    model = {"latency": max(float(latency), 0.0), "bandwidth": 1 / float(slope), "cores": found["machine"]["cores"]}
    rows, wanted = [], []
    known = [p for p in found["points"] if p["batch"] in FITTED or len(found["points"]) < 4]
    for p in known:
        rows.append(np.array(busiest(model, p["processes"], p["batch"], found)) / p["seconds"])
        wanted.append(1 - travel(model, p["processes"], found["weights"]) / p["seconds"])
    model["compute"], model["fixed"] = map(float, np.linalg.lstsq(np.array(rows), np.array(wanted), rcond=None)[0])
    for name, chosen in (("fitted", FITTED), ("tested", TESTED)):
        errors = [
            step(model, p["processes"], p["batch"], found) / p["seconds"] - 1
            for p in found["points"]
            if p["batch"] in chosen
        ]
        model[f"error_{name}"] = max(map(abs, errors), default=0.0)
    return model


def travel(model: dict, processes: int, weights: float, buckets: int = 2) -> float:
    """Return the seconds of the transfers of a step."""
    messages = 2 * (processes - 1) * buckets + processes - 1
    return messages * model["latency"] + 2 * weights * (processes - 1) / processes / model["bandwidth"]


def busiest(model: dict, processes: int, batch: int, found: dict) -> tuple[int, int]:
    """Return the most micro-batches of a core, and its number of processes; without a number of cores each has one."""
    leaves, cores = math.ceil(batch / found["micro"]), model.get("cores", processes)
    shares = [len(share(leaves, rank, processes)) for rank in range(processes)]
    return max(sum(shares[core::cores]) for core in range(cores)), math.ceil(processes / cores)


def step(model: dict, processes: int, batch: int, found: dict) -> float:
    """Return the seconds of a step by the model."""
    n, turns = busiest(model, processes, batch, found)
    return n * model["compute"] + turns * model["fixed"] + travel(model, processes, found["weights"])


def carried(model: dict, found: dict) -> dict:
    """Return the speed of 1 to 1,024 processes on a cluster and of cards, relative to one, by batch."""
    cluster = {"compute": model["compute"], "fixed": model["fixed"], **CLUSTER}
    sizes = [2**k for k in range(11)]
    return {
        name: {str(b): [step(m, 1, b, found) / step(m, p, b, found) for p in sizes] for b in BATCHES}
        for name, m in (("cluster", cluster), ("cards", CARD))
    } | {"sizes": sizes}


def draw(found: dict, model: dict, far: dict, path: Path) -> None:
    """Draw measured points with the model, and the speed of many processes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout="constrained")
    left, right = figure.subplots(1, 2)
    for color, batch in enumerate(sorted({p["batch"] for p in found["points"]})):
        points = [p for p in found["points"] if p["batch"] == batch]
        held = " (held out)" if batch in TESTED else ""
        left.plot(
            [p["processes"] for p in points],
            [1e3 * p["seconds"] for p in points],
            "o",
            color=f"C{color}",
            label=f"batch {batch}{held}",
        )
        left.plot(PROCESSES, [1e3 * step(model, p, batch, found) for p in PROCESSES], "-", color=f"C{color}")
    left.set_xlabel("processes, on two cores")
    left.set_ylabel("ms a step")
    left.set_xticks(PROCESSES)
    left.set_ylim(0)
    left.legend(frameon=False, fontsize="small")
    for kind, style in (("cluster", "-"), ("cards", "--")):
        for color, batch in enumerate(BATCHES):
            right.loglog(
                far["sizes"], far[kind][str(batch)], style, color=f"C{color}", label=f"{kind}, batch {batch:,}"
            )
    right.loglog(far["sizes"], far["sizes"], ":", color="0.6", label="ideal")
    right.set_xlabel("processes")
    right.set_ylabel("times as fast as one")
    right.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=110)


def text(found: dict, model: dict, far: dict) -> list[str]:
    """Return the tables of the page."""
    rows = []
    for p in found["points"]:
        seconds = step(model, p["processes"], p["batch"], found)
        held = "held out" if p["batch"] in TESTED else "fitted"
        rows.append(
            [
                held,
                str(p["batch"]),
                str(p["processes"]),
                f"{1e3 * p['seconds']:.1f}",
                f"{1e3 * seconds:.1f}",
                f"{100 * (seconds / p['seconds'] - 1):+.0f} %",
            ]
        )
    lines = page.table(["point", "batch", "processes", "ms a step", "model", "error"], rows, 1)
    fitted = [
        f"compute {1e3 * model['compute']:.2f} ms a micro-batch of {found['micro']}",
        f"fixed {1e3 * model['fixed']:.2f} ms a step",
        f"latency {1e6 * model['latency']:.1f} us",
        f"bandwidth {model['bandwidth'] / 1e9:.1f} GB/s",
    ]
    lines += ["", f"Fitted: {', '.join(fitted)}.", ""]
    rows = []
    for turn in found["turns"]:
        kinds = {k: v["seconds"] for k, v in turn["kinds"].items()}
        share = turn["kinds"]["ordered"]["communication"] / kinds["ordered"]
        rows.append(
            [
                str(turn["micro"]),
                *(f"{1e3 * kinds[k]:.1f}" for k in ("alone", "one", "ordered", "fast")),
                f"{kinds['alone'] / kinds['ordered']:.2f}",
                f"{100 * (kinds['ordered'] / kinds['fast'] - 1):+.0f} %",
                f"{100 * share:.0f} %",
            ]
        )
    heads = [
        "micro",
        "one, whole batches",
        "one",
        "two",
        "two, --fast",
        "times as fast",
        "fixed order costs",
        "communication",
    ]
    lines += [*page.table(heads, rows, 0), ""]
    megabytes = found["megabytes"]
    lines += [
        f"Peak memory of a process: {megabytes['alone']:.0f} MB alone by whole batches, {megabytes['ordered']:.0f} MB "
        f"of each of two; a gradient has {found['weights'] / 1e6:.1f} MB.",
        "",
    ]
    shares = ", ".join(f"{100 * share:.0f} % of {size}" for size, share in found["rows"].items())
    lines += [f"Inputs with a gradient in the first layer, by recordings of a batch: {shares}.", ""]
    rows = [
        [kind, f"{batch:,}", *(f"{far[kind][str(batch)][k]:.1f}" for k in (1, 3, 6, 8, 10))]
        for kind in ("cluster", "cards")
        for batch in BATCHES
    ]
    lines += [*page.table(["model of", "batch", "2", "8", "64", "256", "1,024 processes"], rows, 1), ""]
    return [*lines, machine.said(found["machine"], "python benchmarks/scale.py")]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--anew", action="store_true")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=DOCS)
    options = parser.parse_args(arguments)
    if options.anew:
        options.out.unlink(missing_ok=True)
    found = measured(options.out, options.small)
    model = fit(found)
    far = carried(model, found)
    options.out.write_text(json.dumps(found | {"model": model, "carried": far}, indent=2) + "\n")
    chart = options.out.with_suffix(".png")
    draw(found, model, far, chart)
    page.fill(
        options.docs, "scale", text(found, model, far), chart, "Measured steps and the model; speed of many processes"
    )
    print("\n".join(text(found, model, far)))


if __name__ == "__main__":
    main()
