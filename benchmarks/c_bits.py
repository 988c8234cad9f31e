"""Networks as C against Python: drawn networks of all layers and neurons, compilers and optimization levels.

    python benchmarks/c_bits.py                          # 200 networks, gcc and clang at four levels: half an hour
    python benchmarks/c_bits.py --networks 20 --steps 200 --compilers gcc

Each network, and its integer twin where it has one, is written with a recording, compiled by each compiler at each
level with all warnings as errors, and runs its self-test: checksums of all potentials and spikes of Python at each
step. Every other network has only stages with integers. A twin has weights and states of drawn widths, and half of the
twins have their scales from a weaker recording, so that they saturate. The script counts neuron-steps and the twins
with stages of each kind, and ends with an error if a build differs. The figures go to benchmarks/results/c_bits.json.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import common
import numpy as np

import cuslayer as cs
from cuslayer import layers, neurons
from cuslayer.interchange import export_c, quantize
from cuslayer.interchange.integers.layers import Counts, GlobalCounts, IntegerJoin, Rounded
from cuslayer.interchange.integers.neurons import IntegerNeurons

WARNINGS = ["-std=c99", "-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"]
LEVELS = "-O0", "-O1", "-O2", "-O3"
MAIN = """#include "net.h"

int main(void)
{
    return net_selftest() != 0;
}
"""
# Weights of a dense layer at most: C files stay small.
MOST_WEIGHTS = 40_000


def drawn_neurons(rng: np.random.Generator, channels: int, whole: bool) -> Any:
    """Return neurons of a kind, some with constants for each channel; `whole` leaves out those without integers."""
    tau = float(rng.uniform(2, 30))
    taus: Any = rng.uniform(2, 30, channels) if rng.random() < 0.4 else tau
    kinds: list[Callable[[], Any]] = [
        lambda: cs.SRM(tau_sr=tau, tau_ref=float(rng.uniform(0.5, 4)), theta=float(rng.uniform(1, 10))),
        lambda: cs.LIF(tau=taus),
        lambda: cs.LIF(tau=tau, reset="subtract"),
        lambda: cs.CUBA(tau_i=taus, tau_v=tau),
        cs.AdaptiveLIF,
        lambda: cs.AdLIF(theta=0.2),
        neurons.ResonateAndFire,
        neurons.BalancedResonateAndFire,
        lambda: neurons.NormalizedALIF(theta=0.2),
        cs.Loihi,
        lambda: neurons.SampledSRM(
            np.exp(-np.arange(rng.integers(1, 20)) / 5.0),
            [0.0, *-rng.uniform(0, 5, rng.integers(0, 6))],
            theta=float(rng.uniform(0.5, 3)),
        ),
        lambda: neurons.SigmaDelta(theta=0.3),
    ]
    return kinds[rng.integers(len(kinds) - 3 * whole)]()


class Drawing:
    """A network while it is drawn."""

    def __init__(self, rng: np.random.Generator, whole: bool) -> None:
        self.rng = rng
        self.whole = whole
        self.stages: list[Any] = []
        images = rng.random() < 0.5
        sizes = rng.integers(4, 17), rng.integers(4, 17), rng.integers(1, 4)
        self.shape = tuple(map(int, sizes)) if images else (int(rng.integers(1, 200)),)
        self.input_shape = self.shape
        self.spikes = bool(rng.random() < 0.75)
        self.of_spikes = self.spikes
        for _ in range(int(rng.integers(1, 4))):
            self.block()
        self.end()

    def add(self, stage: Any, *, spikes: bool = False) -> None:
        """Add a stage."""
        shape = stage.output_shape(self.shape) if hasattr(stage, "output_shape") else self.shape
        if min(shape) < 1:
            raise ValueError("an empty map")
        self.stages.append(stage)
        self.shape, self.spikes = shape, spikes

    @property
    def scale(self) -> float:
        """A scale of initial weights."""
        return float(self.rng.uniform(2, 40))

    def block(self) -> None:
        """Add synapses and neurons, with what may stand before and after them."""
        rng = self.rng
        if self.spikes and rng.random() < 0.2:
            features = self.shape if rng.random() < 0.5 else self.shape[-1]
            mode = "floor" if self.whole else str(rng.choice(["floor", "linear"]))
            delay = layers.Delay(features, dt=1.0, max_delay=9.0, initial=9.0, mode=mode)
            self.add(delay, spikes=mode == "floor")
        if len(self.shape) == 3 and rng.random() < 0.5:
            self.pool()
        self.synapses()
        if rng.random() < 0.3:
            self.add(self.norm())
        if rng.random() < 0.15 and not self.whole:
            self.add(layers.KWinners(max(1, int(np.prod(self.shape)) // 3)))
        if rng.random() < 0.1 and not self.whole:
            self.add(layers.FilterBank(2, 5) if rng.random() < 0.5 else layers.TemporalFilter(cs.SRM(tau_sr=2.0)))
        own = drawn_neurons(rng, self.shape[-1], self.whole)
        if rng.random() < 0.3 and own.step_by_step is not None:
            own = self.recurrent(own)
        self.add(own, spikes=not isinstance(own, neurons.SigmaDelta))
        if self.spikes and rng.random() < 0.3:
            self.branch()

    def pool(self) -> None:
        rng = self.rng
        size = int(rng.integers(1, 3))
        kind = rng.integers(5)
        if kind == 0:
            self.add(layers.MaxPool(size), spikes=self.spikes)
        elif kind in (1, 2):
            self.add(layers.AvgPool(size + 1, stride=size, padding=int(rng.integers(0, 2))))
        elif kind == 3:
            self.add(layers.SumPool(size + 1, gain=1.1, stride=size, padding=int(rng.integers(0, 2))))
        else:
            self.add(layers.Unpool(2, gain=float(rng.uniform(0.5, 2)), stride=size))
        if kind and rng.random() < 0.5:
            self.add(cs.LIF(tau=5.0), spikes=True)

    def synapses(self) -> None:
        rng = self.rng
        if rng.random() < 0.15:
            self.sums()
            return
        options: dict[str, Any] = {"weight_scale": self.scale}
        if len(self.shape) < 3 or rng.random() < 0.3:
            options |= {"bias": True} if rng.random() < 0.3 else {}
            options |= {"delays": layers.SynapticDelays(float(rng.integers(0, 6)))} if rng.random() < 0.25 else {}
            most = max(2, min(200, MOST_WEIGHTS // int(np.prod(self.shape))))
            self.add(cs.Dense(self.shape, int(rng.integers(1, most)), **options))
            return
        groups = int(rng.choice([1, self.shape[2]]))
        window = int(rng.integers(1, 4)), int(rng.integers(1, 4))
        outputs = groups * int(rng.integers(1, 5))
        options |= {"stride": int(rng.integers(1, 3)), "padding": int(rng.integers(0, 2)), "groups": groups}
        if rng.random() < 0.25 and self.spikes:
            self.add(cs.ConvTranspose(self.shape[2], outputs, window, **options))
            return
        options |= {"dilation": int(rng.integers(1, 3))}
        options |= {"bias": True} if rng.random() < 0.3 else {}
        options |= {"delays": layers.SynapticDelays(float(rng.integers(0, 6)))} if rng.random() < 0.25 else {}
        self.add(cs.Conv(self.shape[2], outputs, window, **options))

    def sums(self) -> None:
        """Add two layers whose outputs are added."""
        outputs = int(self.rng.integers(1, 9))
        if len(self.shape) == 3:
            wide = cs.Conv(self.shape[2], outputs, 3, padding=1, weight_scale=self.scale, bias=True)
            self.add(cs.Parallel(wide, cs.Conv(self.shape[2], outputs, 1, weight_scale=self.scale)))
        else:
            layers_of_sum = (cs.Dense(self.shape, outputs, weight_scale=self.scale) for _ in range(2))
            self.add(cs.Parallel(*layers_of_sum))

    def norm(self) -> Any:
        rng = self.rng
        norm = cs.BatchNorm(self.shape[-1], trained=bool(rng.random() < 0.5), center=bool(rng.random() < 0.6))
        norm.mean.data[...] = rng.normal(size=norm.mean.shape) if norm.center else 0.0
        norm.var.data[...] = rng.uniform(0.1, 3, norm.var.shape)
        return norm

    def recurrent(self, own: Any) -> Any:
        rng = self.rng
        size = int(np.prod(self.shape))
        if len(self.shape) == 3 and (size**2 > MOST_WEIGHTS or rng.random() < 0.5):
            layer: Any = cs.Conv(self.shape[2], self.shape[2], 3, padding=1, weight_scale=self.scale)
        else:
            delays = {"delays": layers.SynapticDelays(4.0)} if rng.random() < 0.3 else {}
            layer = cs.Dense(self.shape, size, weight_scale=self.scale, **delays)
        return cs.Recurrent(layer, own, delay=float(rng.integers(1, 4)))

    def branch(self) -> None:
        rng = self.rng
        channels = self.shape[-1]
        if len(self.shape) == 3:
            inner: list[Any] = [cs.Conv(channels, channels, 3, padding=1, weight_scale=self.scale), cs.LIF(tau=4.0)]
        else:
            inner = [cs.Dense(channels, channels, weight_scale=self.scale), cs.LIF(tau=4.0)]
        how = str(rng.choice(["add", "and", "iand", "concatenate"]))
        if how == "concatenate":
            self.add(cs.Parallel(cs.Sequential(*inner), cs.Sequential(cs.Dropout(0.5)), join=how), spikes=True)
        else:
            self.add(cs.Residual(*inner, join=how), spikes=how != "add")

    def end(self) -> None:
        chance = self.rng.random()
        if chance < 0.3:
            response = [{}, {"neuron": cs.SRM()}, {"neuron": neurons.SampledSRM(np.exp(-np.arange(7) / 3.0))}]
            self.add(
                cs.ReadOut(
                    self.shape,
                    int(self.rng.integers(1, 9)),
                    weight_scale=self.scale,
                    **response[self.rng.integers(3 - self.whole)],
                )
            )
        elif chance < 0.4 and len(self.shape) == 3:
            self.add(cs.GlobalAvgPool())
        elif chance < 0.5 and self.spikes:
            self.add(layers.Average(self.shape[-1]))

    def recording(self, steps: int) -> Any:
        """Return a recording (T, 1, ...)."""
        shape = (steps, 1, *self.input_shape)
        if self.of_spikes:
            return self.rng.random(shape) < self.rng.choice([0.02, 0.2, 0.6])
        return self.rng.standard_normal(shape).astype(np.float32)


def drawn(seed: int) -> Drawing:
    """Return a network by its number; those that do not fit together are drawn again.

    Every other one has only stages with integers.
    """
    for attempt in range(100):
        cs.seed(1000 * seed + attempt)
        try:
            drawing = Drawing(np.random.default_rng((seed, attempt)), whole=seed % 2 == 1)
            cs.Sequential(*drawing.stages).output_shape(drawing.input_shape)
            return drawing
        except ValueError:
            continue
    raise RuntimeError(f"no network of number {seed} fits together")


def drawn_twin(net: Any, x: Any, seed: int) -> Any:
    """Return an integer twin of drawn widths; raise ValueError if the network has none."""
    rng = np.random.default_rng((seed, 1000))
    weaker = x & (rng.random(x.shape) < 0.2) if x.dtype == bool else x * np.float32(0.1)
    calibrating = weaker if rng.random() < 0.5 else x
    return quantize(net, calibrating, weights=int(rng.integers(2, 9)), states=int(rng.choice([16, 32])))


def kinds_in(twin: Any) -> list[str]:
    """Return which kinds of stages an integer twin has."""
    stages = [node.stage for node in twin.graph.nodes]
    delayed = [stage for stage in stages if isinstance(stage, IntegerNeurons) and stage.layer is not None]
    has = {
        "numbers as input": any(isinstance(stage, Rounded) for stage in stages),
        "mean pooling": any(isinstance(stage, (Counts, GlobalCounts)) for stage in stages),
        "sums of branches": any(isinstance(stage, IntegerJoin) and stage.how == "add" for stage in stages),
        "delays of recurrent synapses": any(stage.layer.delays is not None for stage in delayed),
    }
    return [what for what, present in has.items() if present]


def count(exported: Any) -> int:
    """Return the neurons of a C file."""
    text = exported.header.read_text()
    return int(text.split("net_neurons = ")[1].split(" ")[0])


def check(net: Any, x: Any, folder: Path, compilers: Sequence[str]) -> tuple[int, int]:
    """Return the neuron-steps of all builds of a network, and the builds that differ."""
    exported = export_c(net, folder / "net", recording=x)
    (folder / "main.c").write_text(MAIN)
    steps = differing = 0
    for compiler in compilers:
        for level in LEVELS:
            files = [exported.source, folder / "main.c", "-o", folder / "run"]
            subprocess.run([compiler, *WARNINGS, level, *map(str, files)], check=True)
            differing += subprocess.run([folder / "run"], check=False).returncode != 0
            steps += len(x) * count(exported)
    return steps, differing


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, compile and compare."""
    parser = common.parser(__doc__)
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--first", type=int, default=0, help="number of the first network")
    parser.add_argument("--compilers", nargs="+", default=["gcc", "clang"])
    options = parser.parse_args(arguments)
    missing = [compiler for compiler in options.compilers if shutil.which(compiler) is None]
    if missing:
        raise SystemExit(f"missing: {', '.join(missing)}; see --compilers")
    found: dict[str, Any] = {"networks": 0, "twins": 0, "neuron-steps": 0, "builds that differ": 0}
    with_kinds: Counter[str] = Counter()
    for seed in range(options.first, options.first + options.networks):
        drawing = drawn(seed)
        net = cs.Sequential(*drawing.stages).eval()
        x = drawing.recording(options.steps)
        nets = [net]
        with suppress(ValueError):  # some have no integers
            nets.append(drawn_twin(net, x, seed))
        for each in nets:
            with tempfile.TemporaryDirectory() as folder:
                try:
                    steps, differing = check(each, x, Path(folder), options.compilers)
                except ValueError as problem:
                    print(f"network {seed} cannot become C: {problem}", flush=True)
                    continue
            found["twins" if each is not net else "networks"] += 1
            with_kinds.update([] if each is net else kinds_in(each))
            found["neuron-steps"] += steps
            found["builds that differ"] += differing
            if differing:
                print(f"network {seed} differs: {each!r}", flush=True)
        if seed % 10 == 9:
            print(", ".join(f"{value:,} {what}" for what, value in found.items()), flush=True)
    found |= {"twins with": dict(with_kinds)}
    found |= {"compilers": options.compilers, "levels": LEVELS, "where": common.describe()}
    common.save("c_bits", found | {"command": common.command("c_bits", arguments)}, options.out)
    print(found)
    if found["builds that differ"]:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
