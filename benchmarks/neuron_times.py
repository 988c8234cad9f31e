"""Compare the kinds of neurons in one network: the time of a training step, and the memory that it takes.

    python benchmarks/neuron_times.py                  # some minutes
    python benchmarks/neuron_times.py --rounds 4 LIF SRM

Networks are an MLP 2312-512-10 and the CNN of examples/nmnist_cnn.py, with a batch of 8 recordings of 300 steps that
are drawn with 20 Hz; layers are scaled to fire at 20 Hz. All kinds take steps in turn, in an order that rotates. "Mine"
is `LIF` written as a user writes it. Prints medians and lower quartiles, and their ratios to the first kind; and the
peak of the memory of a process that takes one step, in MB, as a ratio too.
"""

from __future__ import annotations

import argparse
import runpy
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from common import ROOT, memory, stepping

import cuslayer as cs
from cuslayer.neurons.step import flushed

STEPS, BATCH, RATE = 300, 8, 20.0


@dataclass(frozen=True, eq=False, repr=False)
class Mine(cs.StepNeuron):
    """The leaky integrate-and-fire neuron in a user's hand."""

    tau: float = 20.0

    states, decays = ("v",), {"d": "tau"}

    def step(c, d, v, x):
        u = flushed(d * v + x)
        s = u >= c.theta
        v = 0 if s else u
        return v, u, s


KINDS = {kind.__name__: kind for kind in (cs.SRM, cs.LIF, Mine, cs.CUBA, cs.ResonateAndFire, cs.AdaptiveLIF, cs.Loihi)}
CNN = runpy.run_path(str(ROOT / "examples" / "nmnist_cnn.py"))["network"]
NETWORKS = {"MLP": lambda n: cs.Sequential(cs.Dense((34, 34, 2), 512), n, cs.Dense(512, 10), n), "CNN": CNN}


def training_step(network: str, kind: str) -> Callable[[], None]:
    """Return a training step of a network of one kind of neurons."""
    cs.seed(1)
    neuron = KINDS[kind]()
    net = NETWORKS[network](neuron)
    x, labels = np.random.default_rng(0).random((STEPS, BATCH, 34, 34, 2)) < RATE / 1000, np.arange(BATCH)
    cs.calibrate(net, [(x, None)], rate=RATE)
    return stepping(net, cs.SpikeCountLoss(neuron, true=60, false=5), cs.Adam(net.parameters(), lr=1e-4), x, labels)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=list(KINDS), help="kinds of neurons, the first to compare with")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--peak", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.peak:
        step = training_step(*options.peak)
        step()
        step()
        print(memory("VmHWM") / (1 << 20))
        return
    for network in NETWORKS:
        steps = {kind: training_step(network, kind) for kind in options.kinds}
        times: dict[str, list[float]] = {kind: [] for kind in steps}
        for number in range(-1, options.rounds):  # in the round before the first, kernels are compiled
            turn = number % len(steps)
            for kind in [*steps, *steps][turn : turn + len(steps)]:
                for _ in range(2 if network == "CNN" else 6):
                    start = time.perf_counter()
                    steps[kind]()
                    if number >= 0:
                        times[kind].append(1e3 * (time.perf_counter() - start))
        command = [sys.executable, __file__, "--peak", network]
        peaks = {kind: float(subprocess.check_output([*command, kind])) for kind in steps}
        first, first_peak = times[options.kinds[0]], peaks[options.kinds[0]]
        begin, low = np.median(first), np.quantile(first, 0.25)
        for kind, each in times.items():
            half, quarter = np.median(each), np.quantile(each, 0.25)
            print(
                f"{network} {kind}: median {half:.2f} ms, {half / begin:.3f}; lower quartile {quarter:.2f} ms, "
                f"{quarter / low:.3f}; memory {peaks[kind]:.0f} MB, {peaks[kind] / first_peak:.3f}"
            )


if __name__ == "__main__":
    main()
