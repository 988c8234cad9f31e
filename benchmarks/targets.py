"""Measure accuracy, time and memory of the main jobs: start, training on digits, MLP, CNN, Oxford.

    python benchmarks/targets.py                                       # start-up, the embedded digits, memory
    python benchmarks/targets.py --data NMNISTsmall --oxford oxford    # with recordings: a quarter of an hour
    python benchmarks/targets.py --only memory mlp --data NMNISTsmall

`--data` is a folder of .bs2 recordings with a training and a test list, `--oxford` one with input.bs1 and output.bs1.
Each measurement runs in its own process, one after the other. Prints the figures and writes them, with versions and
machine, to benchmarks/results/targets.json.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import machine

RESULTS = Path(__file__).parent / "results" / "targets.json"


def run(code: str, *arguments: str, **environment: str) -> str:
    command = [sys.executable, "-c", code, *arguments]
    return subprocess.run(
        command, check=True, stdout=subprocess.PIPE, text=True, env={**os.environ, **environment}
    ).stdout


def start() -> dict:
    """Time the import, and the start of a second `cuslayer train` until its first step."""
    quick = "import time; s = time.perf_counter(); import cuslayer; print(time.perf_counter() - s)"
    imports = [float(run(quick)) for _ in range(5)]
    first = (
        "import time, sys; sys.argv = ['cuslayer', 'train']\n"
        "from cuslayer import cli, optim\n"
        "def stop(self): print(time.time()); sys.stdout.flush(); import os; os._exit(0)\n"
        "optim.Optimizer.zero_grad = stop\n"
        "cli.main(['train'])"
    )
    with tempfile.TemporaryDirectory() as folder:
        here = os.getcwd()
        os.chdir(folder)
        try:
            seconds = []
            for _ in range(3):
                began = time.time()
                seconds.append(float(run(first).split()[-1]) - began)
        finally:
            os.chdir(here)
    return {"import_seconds": min(imports), "second_start_seconds": min(seconds[1:])}


def digits() -> dict:
    """Time `cuslayer train` without arguments and with empty caches."""
    with tempfile.TemporaryDirectory() as folder:
        fresh = {"CUSLAYER_CACHE": f"{folder}/cache", "NUMBA_CACHE_DIR": f"{folder}/numba"}
        code = "import sys; from cuslayer.cli import main; sys.exit(main(sys.argv[1:]))"
        began = time.perf_counter()
        run(code, "train", "--out", f"{folder}/out", **fresh)
        whole = time.perf_counter() - began
        with open(f"{folder}/out/metrics.csv", newline="") as file:
            rows = list(csv.DictReader(file))
    return {
        "epochs": len(rows),
        "training_seconds": sum(float(row["seconds"]) for row in rows),
        "seconds_with_compiling_and_testing": whole,
        "test_accuracy": float(rows[-1]["test_accuracy"]),
    }


EXAMPLE = """
import re, sys, io, contextlib, runpy, json
said = io.StringIO()
name, *arguments = sys.argv[1:]
main = runpy.run_path(name)["main"]
with contextlib.redirect_stdout(said):
    main(arguments)
rows = re.findall(r"epoch (\\d+): train ([\\d.]+)%, test ([\\d.]+)%, ([\\d.]+) s", said.getvalue())
print(json.dumps([dict(zip(("epoch", "train", "test", "seconds"), map(float, row))) for row in rows]))
"""


def example(name: str, *arguments: str) -> list[dict]:
    path = Path(__file__).parents[1] / "examples" / name
    return json.loads(run(EXAMPLE, str(path), *arguments))


def mlp(data: str) -> dict:
    """Train 2312-512-10, batch 8, for ten epochs from ten seeds, since the test set is small."""
    runs = [example("nmnist_mlp.py", "--data", data, "--epochs", "10", "--seed", str(seed)) for seed in range(10)]
    seconds = [row["seconds"] for r in runs for row in r[1:]]
    return {
        "train_accuracy_after_two": [r[1]["train"] for r in runs],
        "train_accuracy_after_six": [r[5]["train"] for r in runs],
        "test_accuracy_after_ten": [r[9]["test"] for r in runs],
        "median_seconds_an_epoch": sorted(seconds)[len(seconds) // 2],
    }


def cnn(data: str) -> dict:
    """Train 16c5-2a-32c3-2a-64c3-10, batch 8, for five epochs."""
    rows = example("nmnist_cnn.py", "--data", data, "--epochs", "5")
    return {name: [row[name] for row in rows] for name in ("train", "test", "seconds")}


OXFORD = """
import sys, time, json
import numpy as np
import cuslayer as cs
from cuslayer.data import read_events
folder, iterations = sys.argv[1], int(sys.argv[2])
cs.seed(0)
events = [read_events(f"{folder}/{name}.bs1") for name in ("input", "output")]
x, target = (e.to_spikes((200,), 1900, rounding="nearest")[:, None] for e in events)
srm = cs.SRM()
net, loss = cs.Network("200-256-200", srm), cs.SpikeTimeLoss(srm)
silent = loss(np.zeros_like(target), target).item()
optimizer = cs.Adam(net.parameters(), lr=cs.cosine_decay(0.01, epochs=iterations), amsgrad=True)
losses, times = [], []
for iteration in range(iterations):
    optimizer.epoch = iteration
    start = time.perf_counter()
    value = loss(net(x), target)
    optimizer.zero_grad()
    value.backward()
    optimizer.step()
    times.append(time.perf_counter() - start)
    losses.append(value.item())
at = [n for n in (1000, 10000) if n <= iterations]
print(json.dumps({"silent_loss": silent, "ms_an_iteration": 1e3 * float(np.median(times)),
    **{f"share_of_silent_after_{n}": losses[n - 1] / silent for n in at}}))
"""

MEMORY = """
import resource
import numpy as np
import cuslayer as cs
cs.seed(0)
srm = cs.SRM()
net = cs.Sequential(cs.Dense(2312, 512), srm, cs.Dense(512, 10), srm)
loss, optimizer = cs.SpikeCountLoss(srm), cs.Adam(net.parameters(), lr=0.01, amsgrad=True)
x = np.zeros((300, 32, 2312), bool)
x.reshape(-1)[::167] = True
for _ in range(5):
    optimizer.zero_grad()
    loss(net(x), np.arange(32) % 10).backward()
    optimizer.step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""


def memory() -> dict:
    """Measure the peak memory of a process that trains the MLP at batch 32, with spikes in 0.6 % of the bins."""
    return {"peak_megabytes": float(run(MEMORY))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data")
    parser.add_argument("--oxford")
    parser.add_argument("--iterations", type=int, default=10_000, help="of Oxford")
    parser.add_argument("--only", nargs="*")
    options = parser.parse_args()
    jobs = {"start": start, "digits": digits, "memory": memory}
    if options.data:
        jobs |= {"mlp": lambda: mlp(options.data), "cnn": lambda: cnn(options.data)}
    if options.oxford:
        jobs["oxford"] = lambda: json.loads(run(OXFORD, options.oxford, str(options.iterations)))
    found = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    found["machine"] = machine.describe()
    for name in options.only or jobs:
        found[name] = jobs[name]()
        print(name, json.dumps(found[name]), flush=True)
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
