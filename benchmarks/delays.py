"""Compare trained delays of synapses, trained delays of axons, and recurrent neurons, in networks of one size.

    python benchmarks/delays.py order                                  # two spikes in either order: half an hour
    python benchmarks/delays.py spoken-digits --data recordings.npz    # half an hour; once more with --neuron AdLIF

Networks and tasks are those of examples/delays.py. Each network takes the rate of `RATES` that is best on validation
recordings. Each seed then trains, and is tested with other recordings. Runs in the results are not repeated.

The figures, with versions and machine, go to benchmarks/results/delays.json, docs/delays.md and its picture.
"""

from __future__ import annotations

import runpy
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from types import SimpleNamespace
from typing import Any

import common
import matplotlib
import matplotlib.pyplot as plt
import numpy as np

matplotlib.use("Agg")
EXAMPLE = SimpleNamespace(**runpy.run_path(str(common.ROOT / "examples" / "delays.py")))
KINDS = {"synapses": "a delay for each synapse", "axons": "a delay for each axon", "recurrent": "recurrent, no delays"}
RATES = {"order": (0.001, 0.003, 0.01), "spoken-digits": (0.04, 0.08, 0.16)}


def picture(net: Any) -> None:
    """Draw two recordings of the made task, and the delays that a network has learned."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    x, labels = EXAMPLE.recordings(np.random.default_rng(4), 20)
    for row, label in enumerate((0, 1)):
        sample = int(np.flatnonzero(labels == label)[0])
        for number, colour in enumerate(("#0072B2", "#D55E00")):
            at = np.flatnonzero(x[:, sample, number])
            left.vlines(at, row - 0.25 + 0.3 * number, row + 0.3 * number, colour, label=f"input {number}" * (not row))
    left.set(xlabel="time, ms", yticks=[0, 1], yticklabels=["class 0", "class 1"], title="One recording of each class")
    left.set(xlim=(0, 360), ylim=(-0.5, 1.7))
    left.legend(loc="upper right", ncols=2)
    first, second = net[0].delays.delay.data
    vote = net[-1].weight.data[:, 0] - net[-1].weight.data[:, 1]
    most = float(abs(vote).max())
    points = right.scatter(first, second, c=vote, s=15 + 60 * abs(vote) / most, cmap="RdBu", vmin=-most, vmax=most)
    right.plot([0, EXAMPLE.ORDER.longest], [0, EXAMPLE.ORDER.longest], color="lightgrey", zorder=0)
    right.set(xlabel="delay of input 0, ms", ylabel="delay of input 1, ms", title="Each hidden neuron's two delays")
    figure.colorbar(points, label="weight for class 0 - for class 1")
    figure.savefig(common.DOCS / "images/delays.png", dpi=100, facecolor="white", metadata={"Software": None})


def lines(name: str, results: dict[str, Any]) -> list[str]:
    """Return the table of a task and its neurons, such as `order LIF`."""
    found, rows = results[name], []
    for kind, text in KINDS.items():
        runs = [run for run in found["runs"] if run["kind"] == kind]
        if runs:
            accuracies = [run["accuracy"] for run in runs]
            each, spread = ", ".join(f"{a:.1f}" for a in accuracies), stdev(accuracies) if len(runs) > 1 else 0.0
            size, rate = f"{runs[0]['parameters']:,}", f"{runs[0]['rate']:g}"
            seconds = f"{min(run['seconds'] for run in runs):.0f}"
            rows.append([text, each, f"{mean(accuracies):.1f} ± {spread:.1f}", size, rate, seconds])
    heads = ["", "accuracy of each seed, %", "mean, %", "weights and delays", "rate", "seconds"]
    task, neuron = name.split()
    of_neuron = "" if neuron == "LIF" else f" --neuron {neuron}"
    said = common.said(results["machine"], f"python benchmarks/delays.py {task}{of_neuron}")
    return [*common.table(heads, rows, 2), "", f"One thread, beside other work; {said}"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("task", choices=list(RATES))
    parser.add_argument("--data", type=Path, help="the file of recordings")
    parser.add_argument("--neuron", choices=["LIF", "AdLIF"], default="LIF")
    parser.add_argument("--kinds", nargs="+", choices=list(KINDS), default=list(KINDS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    options = parser.parse_args(arguments)
    task, name = EXAMPLE.ORDER if options.task == "order" else EXAMPLE.DIGITS, f"{options.task} {options.neuron}"
    results = common.load("delays", options.out) | {"machine": common.describe()}
    found = results.setdefault(name, {"rates": {}, "runs": []})

    def learn(kind: str, seed: int, rate: float, testing: bool) -> tuple[Any, float]:
        given = EXAMPLE.digits(options.data, seed, testing) if task.digits else EXAMPLE.order(seed, testing)
        net, accuracy = EXAMPLE.learn(task, kind, options.neuron, seed, rate, *given)
        print(name, kind, seed, rate, f"{accuracy:.2f} % of the {'test' if testing else 'validation'}", flush=True)
        return net, accuracy

    for kind in options.kinds:
        tried = found["rates"].setdefault(kind, {})
        for rate in [each for each in RATES[options.task] if str(each) not in tried]:
            tried[str(rate)] = learn(kind, 100, rate, False)[1]
            common.save("delays", results, options.out)
        best = float(max(tried, key=tried.__getitem__))
        found["runs"] = [run for run in found["runs"] if run["kind"] != kind or run["rate"] == best]
        known = {run["seed"] for run in found["runs"] if run["kind"] == kind}
        for seed in [each for each in options.seeds if each not in known]:
            start, (net, accuracy) = time.perf_counter(), learn(kind, seed, best, True)
            run = {"kind": kind, "seed": seed, "rate": best, "accuracy": accuracy}
            run["parameters"] = EXAMPLE.parameters(task, kind, net[-1].in_features[0])
            found["runs"].append(run | {"seconds": time.perf_counter() - start})
            common.save("delays", results, options.out)
            if (name, kind, seed) == ("order LIF", "synapses", 0) and options.out == common.RESULTS:
                picture(net)
    common.show(options.out, "delays", name, lines(name, results))


if __name__ == "__main__":
    main()
