"""What a network loses in integers, and how fast its C is.

    python benchmarks/deploy.py                       # the embedded digits; five minutes on two cores, with gcc
    python benchmarks/deploy.py --tasks digits qtdb braille spoken-digits --data FOLDER --seeds 0 1 2

The network of `cuslayer train digits` becomes integers of some widths after training, and after some more epochs in
which its weights had these integers (`IntegerWeight`). Accuracy is on the embedded test set, on which nothing was
chosen. C is compiled by gcc -O3 and runs its self-test, checksums of all potentials included; Python steps by
`stream()`.

With `--tasks`, accuracies alone, of `cuslayer train TASK --seed SEED` for each task and seed: on the recordings for
validation, of tasks without on the test set. The weights are those of the last epoch: on the epoch that the validation
chose, any change of the weights loses. A batch of the training set sets the scales.
FOLDER has `qtdb`, `braille` and `spoken-digits/recordings.npz`. Forty minutes on one core; runs in the results are not
repeated.

The figures go to benchmarks/results/deploy.json and docs/deploy.md.
"""

from __future__ import annotations

import argparse
import copy
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import common
import numpy as np

import cuslayer as cs
from cuslayer import training
from cuslayer.interchange import compare_twin
from cuslayer.layers import IntegerWeight
from cuslayer.training.data_of_run import load_data

# What `cuslayer train TASK --data` takes of the folder.
TASKS: dict[str, str | None] = {"digits": None, "qtdb": "qtdb", "braille": "braille"}
TASKS["spoken-digits"] = "spoken-digits/recordings.npz"
WIDTHS = 8, 4, 3
# More epochs with integer weights: a tenth of the run's, at least 3.
EPOCHS = 3
LEARNING_RATE = 0.002


def trained(run: training.Run, bits: int) -> Any:
    """Return the network of a run after more epochs with integer weights."""
    cs.seed(bits)
    net = copy.deepcopy(run.net)
    for layer in net.layers_within():
        if layer.weighted:
            layer.weight_hook = IntegerWeight(bits)
            layer.weight_hook.attach(layer)
    config = run.config
    train = load_data(config, net, train=True).train
    trainer = cs.Trainer(net, config.loss(), cs.Adam(net.parameters(), lr=LEARNING_RATE), calibrate=None)
    for _ in range(max(EPOCHS, config.epochs // 10)):
        trainer.train(train)
    return net.eval()


def row(run: training.Run, label: str, net: Any, bits: int | None, x: Any) -> dict[str, Any]:
    """Return the figures of a network in float, or of its twin."""
    used = net if bits is None else cs.quantize(net, x, weights=bits)
    score, recordings = training.evaluate(replace(run, net=used))
    moved = {} if bits is None else {m.layer: m.share for m in compare_twin(net, used, x).moved}
    with tempfile.TemporaryDirectory() as folder:
        exported = cs.export_c(used, f"{folder}/net", recording=x)
        seconds = seconds_of_c(exported.source, len(x))
    figures = {"label": label, "bits": bits, "accuracy": score.accuracy, "recordings": recordings, "moved": moved}
    figures |= {"ram": exported.memory, "flash": exported.flash, "c": seconds, "stream": seconds_of_stream(used, x)}
    return figures


def seconds_of_c(source: Path, steps: int, repeats: int = 50) -> float:
    """Return the seconds of a step of compiled C."""
    library = source.with_suffix(".so")
    command = ["gcc", "-std=c99", "-O3", "-march=native", "-shared", "-fPIC", str(source), "-o", str(library)]
    subprocess.run(command, check=True)
    selftest = ctypes.CDLL(str(library)).net_selftest
    begin = time.perf_counter()
    for _ in range(repeats):
        if selftest() != 0:
            raise RuntimeError("C differs from Python")
    return (time.perf_counter() - begin) / repeats / steps


def seconds_of_stream(net: Any, x: Any, repeats: int = 5) -> float:
    """Return the seconds of a step of a stream, the least of some recordings."""
    stream = net.stream()
    frames = list(np.asarray(x))
    times = []
    for _ in range(repeats):
        stream.reset()
        begin = time.perf_counter()
        for frame in frames:
            stream.step(frame)
        times.append(time.perf_counter() - begin)
    return min(times) / len(frames)


def lines(rows: Sequence[dict[str, Any]]) -> list[str]:
    """Return the table of the page."""
    layers = list(rows[1]["moved"])
    heads = ["weights", "accuracy, %", *(f"moved, layer {layer}, %" for layer in layers)]
    heads += ["RAM, bytes", "flash, bytes", "C, us a step", "faster than `stream()`"]
    table = []
    for figures in rows:
        moved = [f"{100 * figures['moved'][layer]:.1f}" if figures["moved"] else "" for layer in layers]
        cells = [figures["label"], f"{100 * figures['accuracy']:.2f}", *moved]
        cells += [f"{figures['ram']:,}", f"{figures['flash']:,}", f"{1e6 * figures['c']:.2f}"]
        table.append([*cells, f"{figures['stream'] / figures['c']:.0f} times"])
    return common.table(heads, table, 1)


def lost(task: str, seed: int, data: Path | None) -> dict[str, Any]:
    """Return the accuracies of a task's network in float and in integers."""
    with tempfile.TemporaryDirectory() as folder:
        within = TASKS[task]
        of_data = [] if data is None or within is None else ["--data", str(data / within)]
        command = [sys.executable, str(common.ROOT / "cuslayer_main.py"), "train", task, "--seed", str(seed)]
        environment = {**os.environ, "PYTHONPATH": str(common.ROOT)}
        subprocess.run([*command, *of_data, "--out", f"{folder}/run"], check=True, env=environment)
        return figures_of(training.load_run(f"{folder}/run"), task, seed)


def figures_of(run: training.Run, task: str, seed: int) -> dict[str, Any]:
    """Return the accuracies of a run's last epoch, in float and in integers."""
    validated = run.config.validation is not None
    cs.seed(seed)
    batches = load_data(run.config, run.net, train=True)
    held = batches.validation if validated else batches.test
    x = next(iter(batches.train))[0]
    x = x.numpy() if isinstance(x, cs.Tensor) else x

    def accuracy(net: Any) -> float:
        trainer = cs.Trainer(net, run.config.loss(), cs.Adam(net.parameters(), lr=LEARNING_RATE), calibrate=None)
        return float(trainer.test(held).accuracy)

    figures = {"task": task, "seed": seed, "recordings": len(held.dataset), "validation": validated}
    figures |= {"float": accuracy(run.net), "8 bits": accuracy(cs.quantize(run.net, x))}
    figures["4 bits"] = accuracy(cs.quantize(run.net, x, weights=4))
    figures["4 bits, trained"] = accuracy(cs.quantize(trained(run, 4), x, weights=4))
    return figures


def lines_of_tasks(runs: Sequence[dict[str, Any]]) -> list[str]:
    """Return the table of accuracies lost."""
    kinds = ["8 bits", "4 bits", "4 bits, trained"]
    table = []
    for task in TASKS:
        of_task = [run for run in runs if run["task"] == task]
        if of_task:
            first = of_task[0]
            share = "validation" if first["validation"] else "test"
            losses = [[100 * (run["float"] - run[kind]) for run in of_task] for kind in kinds]
            cells = [f"{mean(loss):.2f} ({', '.join(f'{points:.2f}' for points in loss)})" for loss in losses]
            accuracy = f"{100 * mean(run['float'] for run in of_task):.2f}"
            table.append([task, f"{first['recordings']} of {share}", accuracy, *cells])
    heads = ["task", "recordings", "float, %", *(f"lost with {kind}, points" for kind in kinds)]
    return common.table(heads, table, 2)


def measure_tasks(options: argparse.Namespace, arguments: Sequence[str] | None) -> None:
    """Train each task with each seed, and write what is lost."""
    results = {"tasks": []} | common.load("deploy", options.out)
    data = None if options.data is None else options.data.resolve()
    for task in options.tasks:
        for seed in options.seeds:
            if any((run["task"], run["seed"]) == (task, seed) for run in results["tasks"]):
                continue
            results["tasks"].append(lost(task, seed, data))
            results["tasks where"] = common.describe()
            common.save("deploy", results, options.out)
            print(results["tasks"][-1], flush=True)
    said = common.said(results["tasks where"], common.command("deploy", arguments))
    common.show(options.out, "deploy", "deploy-tasks", [*lines_of_tasks(results["tasks"]), "", said])


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, quantize, compile and measure."""
    parser = common.parser(__doc__)
    parser.add_argument("--tasks", nargs="+", choices=list(TASKS), default=[], help="measure accuracies alone")
    parser.add_argument("--data", type=Path, help="the folder with the data of the tasks")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    options = parser.parse_args(arguments)
    if options.data is None and {*options.tasks} - {"digits"}:
        parser.error("--data is needed for all tasks but digits")
    if options.tasks:
        measure_tasks(options, arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "cuslayer", "train", "digits", "--out", f"{folder}/run"], check=True)
        run = training.load_run(f"{folder}/run")
        x, _, _ = training.example(run)
        rows = [row(run, "float", run.net, None, x)]
        rows += [row(run, f"{bits} bits", run.net, bits, x) for bits in WIDTHS]
        rows += [row(run, f"{bits} bits, trained", trained(run, bits), bits, x) for bits in WIDTHS[1:]]
    command = common.command("deploy", arguments)
    where = common.describe()
    results = common.load("deploy", options.out)
    common.save("deploy", results | {"rows": rows, "where": where, "command": command}, options.out)
    common.show(options.out, "deploy", "deploy", [*lines(rows), "", common.said(where, command)])
    if options.out == common.RESULTS:
        after_training = [figures for figures in rows if "trained" not in figures["label"]]
        figure = cs.plot.integer_widths(after_training).figure
        figure.savefig(common.DOCS / "images/deploy.png", dpi=100, facecolor="white", metadata={"Software": None})


if __name__ == "__main__":
    main()
