"""Residual networks of SRM on the embedded digits, without and with normalization, and after the advice of `diagnose`.

    python benchmarks/residual.py        # twenty minutes on two cores

A block has two convolutions of 3 x 3 and a skip connection, which is added after the neurons or before them. Each
network learns for 80 steps of 16 recordings. Its score is the fraction of 144 recordings of the training set, which are
held back, that it then classifies correctly. The figures go to benchmarks/results/residual.json and
docs/coming-from-pytorch.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NamedTuple

import common
import numpy as np

import cuslayer as cs
from cuslayer.data import Digits, Loader, split

CHANNELS, STEPS, BATCH, TIME = 8, 80, 16, 100
HELD_BACK, HELD_BACK_BATCHES = 48, 3
BLOCKS = 2, 4
_SKIPS = {"after": "spikes added after the neurons, as above", "before": "added before the neurons"}
# Rounds of advice that are followed, at most.
_ROUNDS = 4


# The options of BatchNorm in each network, None for none, and what the page says.
_NORMS: dict[str, dict[str, Any] | None] = {
    "none": None,
    "mean": {},
    "scale": {"center": False},
    "trained": {"center": False, "trained": True},
}
_LABELS = {
    "mean": "the same with `BatchNorm`",
    "scale": "the same with `BatchNorm(center=False)`",
    "trained": "the same with `BatchNorm(center=False, trained=True)`",
}


class Work(NamedTuple):
    """A network: where the skip connection is added, the number of blocks, and its normalization."""

    skip: str
    blocks: int
    norm: str


WORKS = [Work(skip, blocks, norm) for skip in _SKIPS for norm in _NORMS for blocks in BLOCKS]
# The network whose advice is followed.
SICK = Work("before", 2, "mean")


def network(work: Work) -> cs.Sequential:
    """Return an untrained network."""
    neuron = cs.SRM()

    def convolution(inputs: int, kernel: int, stride: int) -> Iterator[Any]:
        yield cs.Conv(inputs, CHANNELS, kernel, stride=stride, padding=kernel // 2)
        options = _NORMS[work.norm]
        if options is not None:
            yield cs.BatchNorm(CHANNELS, height=neuron.theta, **options)

    def block() -> Any:
        first = (*convolution(CHANNELS, 3, 1), neuron)
        second = (*convolution(CHANNELS, 3, 1),)
        if work.skip == "before":
            return cs.Sequential(cs.Residual(*first, *second), neuron)
        return cs.Residual(*first, *second, neuron)

    gain = neuron.pool_gain
    return cs.Sequential(
        *(cs.SumPool(2, gain=gain), neuron, *convolution(2, 5, 2), neuron),
        *(block() for _ in range(work.blocks)),
        *(cs.SumPool(3, gain=gain), neuron, cs.Dense((3, 3, CHANNELS), 10), neuron),
    )


def score(work: Work, *, advised: bool = False) -> float:
    """Return the fraction of held-back recordings that a network classifies correctly after its training."""
    cs.seed(0)
    net = network(work)
    recordings, held_back = split(Digits("train"), test=0.2, seed=0)
    batches = Loader(recordings, batch=BATCH, steps=TIME, shuffle=True, seed=0)
    loss = cs.SpikeCountLoss(net[-1], true=30, false=5)
    cs.calibrate(net, batches)
    optimizer = cs.Adam(net.parameters(), lr=0.05, relative=True, warmup=10)
    for _ in range(_ROUNDS if advised else 0):
        found = cs.diagnose(net, [batches[0]], loss=loss, optimizer=optimizer)
        if not found.advice:
            break
        found.apply(net, optimizer)
    left = STEPS
    while left:
        for x, y in islice(batches, left):
            common.stepping(net, loss, optimizer, x, y)()
            left -= 1
    net.eval()
    tests = islice(Loader(held_back, batch=HELD_BACK, steps=TIME), HELD_BACK_BATCHES)
    with cs.no_grad():
        return float(np.mean([(cs.classify(net(x)) == y).mean() for x, y in tests]))


def lines(found: dict[str, Any]) -> list[str]:
    """Return the table of the page."""
    scores = {Work(*row["work"]): row["score"] for row in found["rows"]}
    rows = []
    for skip, name in _SKIPS.items():
        for norm in _NORMS:
            label = _LABELS.get(norm, name)
            rows.append([label, *(f"{scores[Work(skip, blocks, norm)]:.0%}" for blocks in BLOCKS)])
    label = f"{SICK.blocks} blocks, before the neurons, with `BatchNorm`, after the advice of `diagnose`"
    rows.append([label, f"{found['advised']:.0%}", ""])
    heads = ["", *(f"{blocks} blocks" for blocks in BLOCKS)]
    return [*common.table(heads, rows, left=1), "", common.said(found["machine"], found["command"])]


def main(arguments: Sequence[str] | None = None) -> None:
    options = common.parser(__doc__).parse_args(arguments)
    rows = []
    for work in WORKS:
        rows.append({"work": list(work), "score": score(work)})
        print(work, f"{rows[-1]['score']:.0%}", flush=True)
    found = {
        "machine": common.describe(),
        "command": common.command("residual", arguments),
        "rows": rows,
        "advised": score(SICK, advised=True),
    }
    common.save("residual", found, options.out)
    common.show(options.out, "coming-from-pytorch", "residual", lines(found))


if __name__ == "__main__":
    main()
