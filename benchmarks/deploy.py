"""What a network loses in integers, and how fast its C is.

    python benchmarks/deploy.py          # the embedded digits; five minutes on two cores, with gcc

The network of `cuslayer train digits` becomes integers of some widths after training, and after three more epochs in
which its weights had these integers (`IntegerWeight`). Accuracy is on the embedded test set, on which nothing was
chosen. C is compiled by gcc -O3 and runs its self-test, checksums of all potentials included; Python steps by
`stream()`. The figures go to benchmarks/results/deploy.json and docs/deploy.md.
"""

from __future__ import annotations

import copy
import ctypes
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import common
import numpy as np

import cuslayer as cs
from cuslayer import training
from cuslayer.interchange import compare_twin
from cuslayer.layers import IntegerWeight

WIDTHS = 8, 4, 3
EPOCHS = 3
LEARNING_RATE = 0.002


def trained(run: training.Run, bits: int) -> Any:
    """Return the network of a run after more epochs with integer weights."""
    cs.seed(bits)
    net = copy.deepcopy(run.net)
    for layer in net.layers:
        if hasattr(layer, "weight_hook"):
            layer.weight_hook = IntegerWeight(bits)
            layer.weight_hook.attach(layer)
    config = run.config
    train = cs.Loader(cs.Digits("train"), 16, shuffle=True, steps=config.steps, dt=config.neuron.dt)
    trainer = cs.Trainer(net, config.loss(), cs.Adam(net.parameters(), lr=LEARNING_RATE), calibrate=None)
    for _ in range(EPOCHS):
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, quantize, compile and measure."""
    options = common.parser(__doc__).parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, "-m", "cuslayer", "train", "digits", "--out", f"{folder}/run"], check=True)
        run = training.load_run(f"{folder}/run")
        x, _, _ = training.example(run)
        rows = [row(run, "float", run.net, None, x)]
        rows += [row(run, f"{bits} bits", run.net, bits, x) for bits in WIDTHS]
        rows += [row(run, f"{bits} bits, trained", trained(run, bits), bits, x) for bits in WIDTHS[1:]]
    command = common.command("deploy", arguments)
    where = common.describe()
    common.save("deploy", {"rows": rows, "where": where, "command": command}, options.out)
    common.show(options.out, "deploy", "deploy", [*lines(rows), "", common.said(where, command)])
    if options.out == common.RESULTS:
        after_training = [figures for figures in rows if "trained" not in figures["label"]]
        figure = cs.plot.integer_widths(after_training).figure
        figure.savefig(common.DOCS / "images/deploy.png", dpi=100, facecolor="white", metadata={"Software": None})


if __name__ == "__main__":
    main()
