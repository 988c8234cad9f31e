"""Measure conversion: points lost by the number of steps, mismatches of exact counts, and training afterwards.

    python benchmarks/conversion.py --mnist DIR --fashion DIR

DIR are folders of idx files; it takes an hour on two cores.

Networks:

- `mnist`: 3 x (32c3-BN-ReLU-2mean)-10, as in SpikingJelly's tutorial of conversion.
- `fashion`: 28x28x1-32c3-BN-ReLU-2mean-64c3-BN-ReLU-2mean-256-ReLU-10.

Stages:

- `lost`: the points that conversion loses, by method and number of steps.
- `afterwards`: Fashion-MNIST at T = 4, after training of the converted network.
- `quantized`: both networks with `QuantizedReLU`, converted exactly.

10,000 recordings of the training set are held back and show all figures; 500 of the others set the units. The figures,
with versions and machine, go to benchmarks/results/conversion.json and docs/conversion.md.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import common
import numpy as np
from matplotlib.figure import Figure

import cuslayer as cs
from cuslayer.data import Loader, load, split
from cuslayer.data.pictures import OtherPicture
from cuslayer.optim import cosine_decay

STAGES = "lost", "afterwards", "quantized"
STEPS = 4, 8, 16, 32
LEVELS = 4
HELD_BACK = 1 / 6
# Epochs of each network of numbers, and of training after conversion.
EPOCHS = {"mnist": 12, "fashion": 12}
AFTERWARDS = 12
TITLES = {"mnist": "MNIST, 3 x (32c3-BN-ReLU-2a)-10", "fashion": "Fashion-MNIST, 32c3-2a-64c3-2a-256-10"}


def rectifier(levels: int | None) -> Any:
    """Return a rectifier, or a quantized one."""
    return cs.ReLU() if levels is None else cs.QuantizedReLU(levels)


def network(name: str, levels: int | None) -> Any:
    """Return the network of numbers of a data set."""
    cs.seed(0)
    if name == "mnist":
        stages: list[Any] = []
        for inputs in (1, 32, 32):
            conv = cs.Conv(inputs, 32, 3, weight_scale=2.4)
            stages += [conv, cs.BatchNorm(32, trained=True), rectifier(levels), cs.AvgPool(2)]
        return cs.Sequential(*stages, cs.Dense((1, 1, 32), 10, weight_scale=1.0, bias=True))
    stages = []
    for inputs, maps in ((1, 32), (32, 64)):
        conv = cs.Conv(inputs, maps, 3, padding=1, weight_scale=2.4)
        stages += [conv, cs.BatchNorm(maps, trained=True), rectifier(levels), cs.AvgPool(2)]
    hidden = cs.Dense((7, 7, 64), 256, weight_scale=2.4, bias=True)
    stages += [hidden, rectifier(levels), cs.Dropout(0.3)]
    return cs.Sequential(*stages, cs.Dense(256, 10, weight_scale=1.0, bias=True))


def fit(net: Any, batches: Any, lr: float, epochs: int) -> None:
    """Train a network by cross-entropy."""
    optimizer = cs.Adam(net.parameters(), lr=cosine_decay(lr, epochs=epochs))
    cs.Trainer(net, cs.CrossEntropyLoss("mean"), optimizer, calibrate=None).fit(batches, epochs=epochs)
    net.eval()


def loader(name: str, data: Any, batch: int = 128) -> Any:
    """Return batches of a data set, of Fashion-MNIST with changed pictures."""
    transform = OtherPicture(shift=1, mirror=0.5) if name == "fashion" else None
    return Loader(data, batch, shuffle=True, seed=0, transform=transform)


def measure(name: str, root: Path, stages: Sequence[str]) -> dict[str, Any]:
    """Return the figures of a data set: accuracies in per cent, and points that are lost."""
    data_name = {"mnist": "mnist", "fashion": "fashion-mnist"}[name]
    train, held_back = split(load(data_name, root, duration=1.0), HELD_BACK)
    rows: dict[str, Any] = {}
    if "lost" in stages or ("afterwards" in stages and name == "fashion"):
        net = network(name, None)
        fit(net, loader(name, train), 0.002, EPOCHS[name])
        if "lost" in stages:
            rows |= lost(name, net, train, held_back)
        if "afterwards" in stages and name == "fashion":
            rows["lost after training"] = lost_afterwards(net, train, held_back)
            print(name, "after training", rows["lost after training"], flush=True)
    if "quantized" in stages:
        rows["quantized"] = quantized(name, train, held_back)
    return rows


def lost(name: str, net: Any, train: Any, held_back: Any) -> dict[str, Any]:
    """Return the accuracy of a network of numbers, and the points that conversion loses."""
    rows: dict[str, Any] = {"lost": {}}
    for method in ("squares", "percentile"):
        for steps in STEPS:
            accuracy = cs.convert(net, train, steps=steps, method=method).test(held_back)
            rows["numbers"] = 100 * accuracy.numbers
            points = float(100 * (accuracy.numbers - accuracy.spiking[-1]))
            rows["lost"][f"{method} {steps}"] = points
            print(name, method, steps, f"{rows['numbers']:.2f}", f"{points:.2f}", flush=True)
            if method == "squares" and steps == STEPS[-1]:
                rows["curve"] = (100 * accuracy.spiking).tolist()
    return rows


def lost_afterwards(net: Any, train: Any, held_back: Any) -> float:
    """Return the points that are lost at four steps after training."""
    conversion = cs.convert(net, train, steps=4)
    fit(conversion.net, conversion.batches(loader("fashion", train, 64)), 1e-3, AFTERWARDS)
    accuracy = conversion.test(held_back)
    return float(100 * (accuracy.numbers - accuracy.spiking[-1]))


def quantized(name: str, train: Any, held_back: Any) -> dict[str, Any]:
    """Return the figures of exact conversion: accuracies in per cent, steps, and counts that differ."""
    net = network(name, LEVELS)
    fit(net, loader(name, train), 0.002, EPOCHS[name])
    conversion = cs.convert(net, train, method="qcfs")
    accuracy = conversion.test(held_back)
    different = total = 0
    for x, _ in Loader(held_back, 100, shuffle=False):
        of_batch, counts = conversion.mismatches(np.asarray(x)[0])
        different += of_batch
        total += counts
    row = {
        "numbers": 100 * accuracy.numbers,
        "spiking": float(100 * accuracy.spiking[-1]),
        "steps": conversion.steps,
        "counts": total,
        "mismatches": different,
    }
    print(name, "quantized", row, flush=True)
    return row


def lines(found: dict[str, Any], said: str) -> list[str]:
    """Return the tables of the page."""
    rows = []
    for name, of_set in found.items():
        for method in ("squares", "percentile"):
            lost = [f"{of_set['lost'][f'{method} {steps}']:.2f}" for steps in STEPS]
            after = of_set.get("lost after training") if method == "squares" else None
            rows.append(
                [TITLES[name], method, f"{of_set['numbers']:.2f}", *lost, "" if after is None else f"{after:.2f}"]
            )
    heads = ["network", "method", "numbers, %", *(f"T = {steps}" for steps in STEPS), "T = 4, trained on"]
    exact = [
        [
            TITLES[name],
            f"{row['numbers']:.2f}",
            f"{row['spiking']:.2f}",
            str(row["steps"]),
            f"{row['counts']:,}",
            f"{row['mismatches']:,}",
        ]
        for name, row in ((name, of_set["quantized"]) for name, of_set in found.items())
    ]
    return [
        *common.table(heads, rows, 2),
        "",
        f'With `QuantizedReLU({LEVELS})` and `method="qcfs"`:',
        "",
        *common.table(["network", "numbers, %", "spiking, %", "steps", "spike counts", "mismatches"], exact, 1),
        "",
        said,
    ]


def draw(found: dict[str, Any], path: Path) -> None:
    """Draw the accuracy over the number of steps."""
    figure = Figure(figsize=(8.0, 3.0), layout="constrained")
    for ax, (name, of_set) in zip(figure.subplots(1, len(found), squeeze=False)[0], found.items(), strict=True):
        ax.plot(range(1, STEPS[-1] + 1), of_set["curve"], label="spiking network")
        ax.axhline(of_set["numbers"], color="black", linestyle="--", label="network of numbers")
        ax.set_title(TITLES[name], loc="left", fontsize="small")
        ax.set(xlabel="steps", ylabel="accuracy (%)", ylim=(of_set["numbers"] - 20, 100))
        ax.legend(loc="lower right")
    figure.savefig(path, dpi=120)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = common.parser(__doc__)
    parser.add_argument("--mnist", type=Path, help="folder of MNIST's idx files")
    parser.add_argument("--fashion", type=Path, help="folder of Fashion-MNIST's idx files")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=STAGES, help="what to measure, by default all")
    options = parser.parse_args(arguments)
    roots = {name: getattr(options, name) for name in ("mnist", "fashion") if getattr(options, name)}
    if not roots:
        parser.error("--mnist or --fashion must be given")
    results = common.load("conversion", options.out)
    found = results.get("networks", {})
    for name, root in roots.items():
        found[name] = found.get(name, {}) | measure(name, root, options.stages)
        commands = [*results.get("commands", []), common.command("conversion", arguments)]
        results = {"commands": list(dict.fromkeys(commands)), "where": common.describe(), "networks": found}
        common.save("conversion", results, options.out)
    draw(found, options.out / "conversion.png")
    said = common.said(results["where"], "; ".join(results["commands"]))
    common.show(options.out, "conversion", "conversion", lines(found, said), "conversion", "Accuracy by steps")


if __name__ == "__main__":
    sys.exit(main())
