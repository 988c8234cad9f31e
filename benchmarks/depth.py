"""Deep residual networks at the defaults: the size of errors from the last layer to the first, and what they learn.

    python benchmarks/depth.py                          # half an hour on two cores
    python benchmarks/depth.py --kinds LIF --depths 8

A network has a convolution, blocks of two convolutions with a skip connection, and a dense layer: 4, 8 or 18 layers
with weights, calibrated, without and with `BatchNorm(center=False)`. It learns for 80 steps of 16 of the embedded
digits. The factor is that between the largest and the smallest error of a layer of neurons, by `diagnose`, before and
after. The accuracy is that of the training batches of the last 20 steps. The figures go to
benchmarks/results/depth.json and docs/coming-from-pytorch.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, islice, repeat
from statistics import mean
from typing import Any

import common

import cuslayer as cs
from cuslayer.data import Digits, Loader
from cuslayer.network import Word

KINDS = "SRM", "LIF", "CUBA", "AdaptiveLIF"
DEPTHS = 4, 8, 18
NORMS = None, "rms"
STEPS, LAST, BATCH, TIME = 80, 20, 16, 100


def network(kind: str, depth: int, norm: str | None) -> cs.Network:
    """Return an untrained network of so many layers with weights."""
    options: dict[str, Any] = {} if norm is None else {"norm": norm}
    words = [Word("34x34x2"), Word("2a"), Word("8c5", stride=2, **options)]
    words += [Word("8b3", **options)] * ((depth - 2) // 2)
    return cs.Network([*words, Word("3a"), Word("10")], getattr(cs, kind)())


def factor(net: cs.Network, batch: Any, loss: Any) -> float:
    """Return the largest error of a layer of neurons, divided by the smallest."""
    errors = [layer.error for layer in cs.diagnose(net, [batch], loss=loss).layers]
    return max(errors) / min(errors)


def measure(kind: str, depth: int, norm: str | None) -> dict[str, Any]:
    """Return the factors before and after training, and the accuracy."""
    cs.seed(0)
    net = network(kind, depth, norm)
    batches = Loader(Digits("train"), batch=BATCH, steps=TIME, shuffle=True, seed=0)
    loss = cs.SpikeCountLoss(net[-1], true=30, false=5)
    cs.calibrate(net, batches)
    before = factor(net, batches[0], loss)
    trainer = cs.Trainer(net, loss, cs.Adam(net.parameters(), lr=0.05, relative=True, warmup=10))
    steps = islice(chain.from_iterable(repeat(batches)), STEPS)
    accuracies = [trainer.train([batch]).accuracy for batch in steps]
    after = factor(net, batches[0], loss)
    row = {"kind": kind, "depth": depth, "norm": norm, "before": before, "after": after}
    return row | {"accuracy": mean(accuracies[-LAST:])}


def lines(found: dict[str, Any]) -> list[str]:
    """Return the table of the page."""
    cells = [
        [
            f"{row['kind']}{', `norm: rms`' if row['norm'] else ''}",
            str(row["depth"]),
            f"{row['before']:.1f}",
            f"{row['after']:.1f}",
            f"{row['accuracy']:.0%}",
        ]
        for row in found["rows"]
    ]
    heads = ["neurons", "layers", "errors before, factor", "after", "accuracy"]
    return [*common.table(heads, cells, left=1), "", common.said(found["machine"], found["command"])]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS))
    parser.add_argument("--depths", nargs="+", type=int, default=list(DEPTHS))
    options = parser.parse_args(arguments)
    rows = []
    for kind in options.kinds:
        for depth in options.depths:
            for norm in NORMS:
                rows.append(measure(kind, depth, norm))
                print(rows[-1], flush=True)
    found = {"machine": common.describe(), "command": common.command("depth", arguments), "rows": rows}
    common.save("depth", found, options.out)
    common.show(options.out, "coming-from-pytorch", "depth", lines(found))


if __name__ == "__main__":
    main()
