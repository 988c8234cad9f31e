"""Compare the speed of odd sizes, strides, groups, silences, time constants and types with that of their neighbours.

    python benchmarks/cliffs.py                      # about a minute and a half
    python benchmarks/cliffs.py --only inputs silence

Each case is timed in turn with its neighbour, a network that differs in that one option, forward without gradients and
in a training step (forward and backward). The ratio is that of the times per unit of work, each time the smallest of
its rounds, since other work on the machine only adds to a time. Above 1.3 it counts as a cliff.

The work is counted for the spikes that occur: an addition for each synapse that a spike reaches, ten for each neuron
and step (two filters and a threshold), two for each bin of a layer's input, a byte of memory that is read twice, and
one for each spike or silence that a neuron writes, a byte.
Training adds as many additions again for the gradient of the weights, twelve for each neuron and step, and a quarter
for each multiplication of a gradient of an input, since matrix products use whole registers. It also adds one for each
byte that must pass through memory: of each neuron and step a potential that is written and read, the gradient of its
spikes that is read and that of its input that is written and read, four bytes each; each gradient of a weight and of an
input that is written. A silent network does nothing else: of 2312 inputs, 512 neurons and 2,400 rows, 25 MB of
potentials and gradients and 5 MB of weights' gradients, which take the time of a copy, whatever fires. In float64 all
count twice.

Prints a table and writes it, with versions and machine, to benchmarks/results/cliffs.json and
docs/performance.md.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

import machine
import numpy as np
import page

import cuslayer as cs

RESULTS = Path(__file__).parent / "results" / "cliffs.json"
CLIFF = 1.3
# Costs in additions; see above.
NEURON, NEURON_BACK, BIN, PRODUCT = 10.0, 12.0, 2.0, 1 / 4
# Bytes of a number, and the numbers of a neuron and step that are written or read between forward and backward.
NUMBER, PASSED = 4.0, 5


@cs.differentiable
def hidden(leaf: np.ndarray, /, *, spikes: np.ndarray) -> tuple[np.ndarray, Callable[[Any], Any]]:
    """Return spikes as if a layer had made them, so that the gradient of this input is computed."""
    return spikes, lambda grad: np.zeros_like(leaf)


@dataclass(frozen=True)
class Setup:
    """A network with its input: dense layers (inputs, hidden, 10), or a convolution with or without pooling after it.

    Attributes:
        spikes: "random", "start" (only the first eightieth of the steps have input), "zeros", "ones".
        rate: the share of bins with a spike.
    """

    steps: int = 300
    batch: int = 8
    dtype: str = "float32"
    rate: float = 0.01
    spikes: str = "random"
    neuron: dict[str, float] = field(default_factory=dict)

    def stages(self, srm: cs.SRM) -> list[Any]:
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, ...]:
        raise NotImplementedError

    def input(self) -> np.ndarray:
        shape = (self.steps, self.batch, *self.shape)
        if self.spikes in ("zeros", "ones"):
            return np.full(shape, self.spikes == "ones")
        x = np.random.default_rng(0).random(shape, np.float32) < self.rate
        if self.spikes == "start":
            x[self.steps // 80 :] = False
        return x

    def network(self) -> cs.Sequential:
        cs.seed(0)
        net = cs.Sequential(*self.stages(cs.SRM(**self.neuron)))
        for p in net.parameters():
            p.data = p.data.astype(self.dtype)
        return net


@dataclass(frozen=True)
class Dense(Setup):
    inputs: int = 2312
    hidden: int = 512

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.inputs,)

    def stages(self, srm: cs.SRM) -> list[Any]:
        return [cs.Dense(self.inputs, self.hidden), srm, cs.Dense(self.hidden, 10), srm]


@dataclass(frozen=True)
class Conv(Setup):
    steps: int = 100
    batch: int = 4
    rate: float = 0.03
    side: tuple[int, int] = (34, 34)
    channels: int = 8
    outputs: int = 16
    kernel: int = 3
    stride: int = 1
    padding: int = 1
    dilation: int = 1
    groups: int = 1
    pool: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.side, self.channels)

    def stages(self, srm: cs.SRM) -> list[Any]:
        options = {name: getattr(self, name) for name in ("stride", "padding", "dilation", "groups")}
        conv = [cs.Conv(self.channels, self.outputs, self.kernel, weight_scale=30.0, **options), srm]
        return [*conv, cs.Pool(self.pool, gain=srm.pool_gain), srm] if self.pool else conv


def work(setup: Setup, x: np.ndarray) -> tuple[float, float]:
    """Return the additions that a network needs for an input, forward and in a training step."""
    net = setup.network()
    forward = backward = 0.0
    first = isinstance(setup, Dense)  # it needs no gradient of its input
    with cs.no_grad():
        for layer, neuron in zip(net.layers[::2], net.layers[1::2], strict=True):
            y = layer(x)
            reach = y.size / x.size  # of an input on average, the share of the windows that a stride leaves
            if isinstance(layer, cs.Dense):
                reach = layer.weight.shape[1]
            elif isinstance(layer, cs.Conv):
                reach *= math.prod(layer.weight.shape[:3])
            synapses = x.sum() * reach if not isinstance(layer, cs.Pool) else x.size / 4
            weights = sum(p.data.size for p in layer.parameters())
            forward += synapses + (NEURON + 1) * y.size + BIN * x.size
            backward += (NEURON_BACK + NUMBER * PASSED) * y.size + (synapses if weights else 0) + NUMBER * weights
            backward += 0 if first else (PRODUCT * reach + NUMBER) * x.size
            first, x = False, neuron(y).data
    size = np.dtype(setup.dtype).itemsize // 4
    return size * forward, size * (forward + backward)


class Job:
    """A network and its input, ready to be timed."""

    def __init__(self, setup: Setup) -> None:
        self.net, self.x = setup.network(), setup.input()
        self.work = work(setup, self.x)
        self.leaf = cs.Tensor(np.zeros(1, np.float32), requires_grad=True)
        self.first = isinstance(setup, Dense)
        self.grad: np.ndarray | None = None

    def forward(self) -> None:
        with cs.no_grad():
            self.net(self.x)

    def training(self) -> None:
        y = self.net(self.x if self.first else hidden(self.leaf, spikes=self.x))
        if self.grad is None:
            self.grad = np.random.default_rng(1).standard_normal(y.shape, np.float32)
        y.backward(self.grad)
        for p in self.net.parameters():
            p.grad = None


class Case(NamedTuple):
    """An odd network and its neighbour."""

    name: str
    odd: Setup
    smooth: Setup


def changed(usual: Setup, text: str, **options: Any) -> Case:
    return Case(text, replace(usual, **options), usual)


def cases() -> dict[str, list[Case]]:
    """Return the cases by group."""
    mlp, conv, pooled, small = Dense(), Conv(), Conv(pool=2), Conv(side=(16, 16), steps=300)
    wide = Conv(channels=16, outputs=32, side=(16, 16))
    long_mlp = Dense(steps=4000, batch=4, inputs=512, rate=0.02)
    long_conv = Conv(steps=4000, batch=1, side=(8, 8))
    uncut = {"cutoff": 0.0, "ref_cutoff": 0.0}
    taus = {tau: {"tau_sr": tau, "tau_ref": max(1.0, tau / 10)} for tau in (1.0, 3.0, 100.0, 1000.0)}
    images = [*((17, 17), (15, 15), (16, 15), (16, 17), (15, 16), (17, 16))]
    return {
        "inputs": [changed(mlp, f"{n} inputs against 2312", inputs=n) for n in (2311, 2313)],
        "hidden": [changed(mlp, f"{n} hidden against 512", hidden=n) for n in (511, 513)],
        "images": [
            *(changed(small, f"conv, {h} x {w} against 16 x 16", side=(h, w)) for h, w in images),
            changed(conv, "conv, 33 x 33 against 34 x 34", side=(33, 33)),
            changed(pooled, "conv and pool, 33 x 33 against 34 x 34", side=(33, 33)),
            changed(pooled, "conv and pool, 35 x 35 against 34 x 34", side=(35, 35)),
            changed(pooled, "conv and pool of 3 against 2", pool=3),
        ],
        "channels": [
            *(changed(conv, f"conv, {n} channels in against 8", channels=n) for n in (7, 9)),
            *(changed(conv, f"conv, {n} channels out against 16", outputs=n) for n in (15, 17)),
            *(changed(replace(conv, outputs=8), f"conv, {n} channels out against 8", outputs=n) for n in (7, 9)),
        ],
        "windows": [
            *(changed(wide, f"conv, kernel {n} against 3", kernel=n, padding=n // 2) for n in (4, 5)),
            changed(wide, "conv, kernel 1 against 3", kernel=1, padding=0),
            *(changed(wide, f"conv, stride {n} against 1", stride=n) for n in (2, 3)),
            *(changed(wide, f"conv, dilation {n} against 1", dilation=n, padding=n) for n in (2, 3)),
            *(changed(wide, f"conv, {n} groups against 1", groups=n) for n in (2, 4, 16)),
        ],
        "silence": [
            changed(long_mlp, "dense, input in 50 of 4000 steps against all", spikes="start"),
            changed(long_conv, "conv, input in 50 of 4000 steps against all", spikes="start"),
            changed(mlp, "dense, no spikes against 1 %", spikes="zeros"),
            changed(conv, "conv, no spikes against 3 %", spikes="zeros"),
            changed(replace(mlp, rate=0.5), "dense, all bins against 50 %", spikes="ones"),
            changed(replace(conv, rate=0.5), "conv, all bins against 50 %", spikes="ones"),
            changed(mlp, "dense, 50 % against 1 %", rate=0.5),
            changed(conv, "conv, 50 % against 3 %", rate=0.5),
        ],
        "tau": [
            *(changed(mlp, f"dense, tau {tau:g} against 10", neuron=of) for tau, of in taus.items()),
            *(
                changed(mlp, f"dense, tau {tau:g}, not cut, against 10, cut", neuron=of | uncut)
                for tau, of in taus.items()
            ),
            *(changed(small, f"conv, tau {tau:g} against 10", neuron=taus[tau]) for tau in (1.0, 1000.0)),
            changed(small, "conv, tau 1000, not cut, against 10, cut", neuron=taus[1000.0] | uncut),
        ],
        "types": [
            changed(mlp, "dense, float64 against float32", dtype="float64"),
            changed(conv, "conv, float64 against float32", dtype="float64"),
            changed(pooled, "conv and pool, float64 against float32", dtype="float64"),
        ],
        "batch": [
            *(changed(mlp, f"dense, batch {n} against 8", batch=n) for n in (7, 9)),
            *(changed(replace(conv, batch=8), f"conv, batch {n} against 8", batch=n) for n in (7, 9)),
        ],
        "T": [
            *(changed(mlp, f"dense, T {n} against 300", steps=n) for n in (299, 301)),
            *(changed(small, f"conv, T {n} against 300", steps=n) for n in (299, 301)),
        ],
    }


def compare(case: Case, seconds: float) -> dict[str, Any]:
    """Return the times of a case and its neighbour, taken in turn, and the ratio of the times per unit of work."""
    odd, smooth = Job(case.odd), Job(case.smooth)
    row: dict[str, Any] = {"case": case.name}
    for k, what in enumerate(("forward", "training")):
        times: dict[Job, list[float]] = {odd: [], smooth: []}
        until = None
        while until is None or len(times[odd]) < 5 or (time.perf_counter() < until and len(times[odd]) < 200):
            for job in (odd, smooth):
                start = time.perf_counter()
                getattr(job, what)()
                times[job].append(time.perf_counter() - start)
            if until is None:  # the first round compiles
                times, until = {odd: [], smooth: []}, time.perf_counter() + seconds / 2
        best = {job: min(times[job]) for job in times}
        row[f"{what}_ms"], row[f"neighbour_{what}_ms"] = 1e3 * best[odd], 1e3 * best[smooth]
        row[f"{what}_work"] = odd.work[k] / smooth.work[k]
        row[f"{what}_ratio"] = best[odd] / best[smooth] / row[f"{what}_work"]
    return row


def is_cliff(row: dict[str, Any]) -> bool:
    return max(row["forward_ratio"], row["training_ratio"]) > CLIFF


def line(row: dict[str, Any]) -> str:
    """Return a row as text."""
    parts = [f"{row['case']:48}"]
    for what in ("forward", "training"):
        times = f"{row[f'{what}_ms']:8.2f}{row[f'neighbour_{what}_ms']:8.2f}"
        parts.append(f"{times}{row[f'{what}_work']:7.2f}{row[f'{what}_ratio']:6.2f}")
    return "".join(parts) + ("  cliff" if is_cliff(row) else "")


def cells(row: dict[str, Any]) -> list[str]:
    """Return a row of the table of the page."""
    found = [row["case"]]
    for what in ("forward", "training"):
        ratio = f"{row[f'{what}_ratio']:.2f}"
        found += [
            f"{row[f'{what}_ms']:.1f} / {row[f'neighbour_{what}_ms']:.1f}",
            f"{row[f'{what}_work']:.2f}",
            f"**{ratio}**" if row[f"{what}_ratio"] > CLIFF else ratio,
        ]
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    groups = cases()
    parser.add_argument("--only", nargs="+", choices=groups, default=list(groups))
    parser.add_argument("--seconds", type=float, default=0.8, help="for each case")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=page.PERFORMANCE)
    options = parser.parse_args(arguments)
    cs.use("cpu")
    print(f"{'case':48}{'forward':>14}{'work':>9}{'ratio':>6}{'training':>14}{'work':>9}{'ratio':>6}")
    rows = []
    for name in options.only:
        for case in groups[name]:
            gc.collect()
            rows.append({"group": name} | compare(case, options.seconds))
            print(line(rows[-1]), flush=True)
    where = machine.describe()
    options.out.parent.mkdir(exist_ok=True, parents=True)
    options.out.write_text(json.dumps({"machine": where, "rows": rows}, indent=2) + "\n")
    heads = ["case and neighbour", "forward, ms", "work", "ratio", "training, ms", "work", "ratio"]
    count = sum(map(is_cliff, rows))
    said = f"{len(rows)} cases, {count} with a ratio above {CLIFF}."
    lines = [*page.table(heads, [cells(row) for row in rows], 1), "", said, ""]
    page.fill(options.docs, "cliffs", [*lines, machine.said(where, "python benchmarks/cliffs.py")], None, "")


if __name__ == "__main__":
    main()
