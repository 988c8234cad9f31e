"""Measure how a training step's time and memory grow with steps, batch, width, firing rate and time constants.

    python benchmarks/scaling.py                 # about ten minutes
    python benchmarks/scaling.py --only T tau    # two of the sweeps
    python benchmarks/scaling.py --small         # a few seconds: a trial

The network is 2312-WIDTH-10, its input random spikes. Each point is measured in its own process: two steps that do not
count, after which the memory pool has its size, the median time of the others, and the peak memory above that of the
imports. The exponent is that of a power law fitted to the upper half of each sweep, where the constant cost of a step
no longer matters, with its standard error. Prints a table and writes it, with versions and machine, to
benchmarks/results/scaling.json, the plots to scaling.png, and both into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import machine
import numpy as np
import page

RESULTS = Path(__file__).parent / "results" / "scaling.json"
USUAL = {"T": 300, "batch": 8, "width": 512, "rate": 0.006, "tau": 10.0}
SWEEPS = {
    "T": [100, 300, 1000, 3000, 10000, 30000],
    "batch": [1, 2, 4, 8, 16, 32, 64, 128],
    "width": [128, 256, 512, 1024, 2048, 4096],
    "rate": [0.001, 0.003, 0.01, 0.03, 0.1, 0.3],
    "tau": [1.0, 3.0, 10.0, 30.0, 100.0],
}
SMALL = {"T": [20, 40], "batch": [1, 2], "width": [16, 32], "rate": [0.01, 0.1], "tau": [1.0, 10.0]}

LABELS = {
    "T": "steps T",
    "batch": "batch",
    "width": "hidden neurons",
    "rate": "firing rate of the input",
    "tau": "tau, ms",
}

POINT = """
import json, resource, sys, time
import numpy as np
import cuslayer as cs
from cuslayer import kernels
kernels.cpu.spikes.synapse_input(np.zeros((1, 1), bool))  # Numba is imported at the first call of a loop
base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
p = json.loads(sys.argv[1])
cs.use("cpu")
cs.seed(0)
srm = cs.SRM(tau_sr=p["tau"], tau_ref=p["tau"] / 10)
net = cs.Sequential(cs.Dense(2312, int(p["width"])), srm, cs.Dense(int(p["width"]), 10), srm)
loss, optimizer = cs.SpikeCountLoss(srm), cs.Adam(net.parameters(), lr=1e-4)
generator = np.random.default_rng(0)
x = np.zeros((int(p["T"]), int(p["batch"]), 2312), bool)
for step in x:
    step.reshape(-1)[generator.integers(0, step.size, int(step.size * p["rate"]))] = True
labels = np.arange(int(p["batch"])) % 10
times, spent = [], 0.0
while len(times) < 6 or (len(times) < 12 and spent < 4):
    start = time.perf_counter()
    optimizer.zero_grad()
    loss(net(x), labels).backward()
    optimizer.step()
    times.append(time.perf_counter() - start)
    spent += times[-1]
# Memory below the peak of the imports counts as one unit, since the axis is logarithmic.
peak = max(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base, 1)
scale = 1024 * 1024 if sys.platform == "darwin" else 1024
print(json.dumps({"seconds": float(np.median(times[2:])), "megabytes": peak / scale}))
"""


def point(**changed: float) -> dict:
    """Return time and memory of a step, measured in a new process."""
    command = [sys.executable, "-c", POINT, json.dumps(USUAL | changed)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout)


def exponent(sizes: list[float], values: list[float]) -> tuple[float, float]:
    """Return the slope of log values over log sizes, by least squares over the upper half, and its standard error.

    The error of two points is unknown, and returned as 0.
    """
    half = len(sizes) // 2 if len(sizes) > 3 else 0
    x, y = np.log(sizes[half:]), np.log(values[half:])
    slope, at_one = np.polyfit(x, y, 1)
    residues = y - slope * x - at_one
    return float(slope), float(np.sqrt((residues**2).sum() / max(len(x) - 2, 1) / ((x - x.mean()) ** 2).sum()))


def sweep(name: str, sizes: list[float]) -> dict:
    """Return the points of a sweep and the exponents of time and memory."""
    points = [point(**{name: size}) for size in sizes]
    found = {"sizes": sizes, "seconds": [p["seconds"] for p in points], "megabytes": [p["megabytes"] for p in points]}
    for what in ("seconds", "megabytes"):
        found[f"exponent_of_{what}"], found[f"error_of_{what}"] = exponent(sizes, found[what])
    return found


def draw(found: dict, path: Path) -> None:
    """Draw each sweep, time above and memory below, with its exponent."""
    from matplotlib.figure import Figure

    names = [name for name in SWEEPS if name in found]
    figure = Figure(figsize=(3.2 * len(names), 6), layout="constrained")
    axes = figure.subplots(2, len(names), squeeze=False)
    for column, name in enumerate(names):
        for row, (what, unit, factor) in enumerate(
            (("seconds", "ms a step", 1e3), ("megabytes", "MB above imports", 1))
        ):
            ax, values = axes[row, column], [factor * v for v in found[name][what]]
            ax.loglog(found[name]["sizes"], values, "o-", color="C0" if row == 0 else "C1")
            ax.set_title(f"exponent {found[name][f'exponent_of_{what}']:.2f}", fontsize=10)
            ax.set_xlabel(LABELS[name])
            ax.grid(alpha=0.3, which="both")
            if column == 0:
                ax.set_ylabel(unit)
    figure.savefig(path, dpi=110)


def text(found: dict) -> list[str]:
    """Return the table of all sweeps, and the machine."""
    rows = []
    for name in (n for n in SWEEPS if n in found):
        of, last = found[name], len(found[name]["sizes"]) - 1
        ends = [f"{of['sizes'][0]:g}", f"{of['sizes'][last]:g}"]
        ms = [f"{1e3 * of['seconds'][k]:.1f}" for k in (0, last)]
        mb = [f"{of['megabytes'][k]:.0f}" for k in (0, last)]
        fits = [f"{of[f'exponent_of_{what}']:.2f} ± {of[f'error_of_{what}']:.2f}" for what in ("seconds", "megabytes")]
        rows.append([LABELS[name], *(" to ".join(pair) for pair in (ends, ms, mb)), *fits])
    heads = ["what grows", "from, to", "ms a step", "MB above imports", "exponent of time", "of memory"]
    return [*page.table(heads, rows, 1), "", machine.said(found["machine"], "python benchmarks/scaling.py")]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=list(SWEEPS))
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=page.PERFORMANCE)
    options = parser.parse_args(arguments)
    found = {}
    for name in options.only or SWEEPS:
        found[name] = sweep(name, (SMALL if options.small else SWEEPS)[name])
        for size, s, mb in zip(found[name]["sizes"], found[name]["seconds"], found[name]["megabytes"], strict=True):
            print(f"{name:6}{size:>10g}{1e3 * s:10.1f} ms{mb:9.0f} MB", flush=True)
        print(
            f"{name:6} exponents: "
            + ", ".join(
                f"{what} {found[name][f'exponent_of_{key}']:.2f} ± {found[name][f'error_of_{key}']:.2f}"
                for what, key in (("time", "seconds"), ("memory", "megabytes"))
            ),
            flush=True,
        )
    options.out.parent.mkdir(exist_ok=True, parents=True)
    found |= {"machine": machine.describe(), "usual": USUAL}
    options.out.write_text(json.dumps(found, indent=2) + "\n")
    chart = options.out.with_suffix(".png")
    draw(found, chart)
    page.fill(options.docs, "scaling", text(found), chart, "Time and memory of a step, log-log, with exponents")


if __name__ == "__main__":
    main()
