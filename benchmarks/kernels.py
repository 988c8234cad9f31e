"""Compare the memory bandwidth of each CPU kernel with that of a plain copy.

    python benchmarks/kernels.py
    python benchmarks/kernels.py --columns 4096 --repeats 5
    python benchmarks/kernels.py --only leaky fir      # kernels whose names have these words; nothing is written

Copy and kernels run in turn on all cores, on arrays larger than the last cache; times are medians. An element counts
once where it is read and once where it is written, as in traffic.py, but for what is said in IN_ALL; the weights that a
spike-driven kernel reads do not count. A ratio under 1 means time for arithmetic, in caches, or for fetching memory
that is only written: of kernels with much arithmetic, the last column is their multiplications and additions
(arithmetic.py), as a share of what a loop of nothing else does on this machine. Prints a table and writes it, with
versions and machine, to benchmarks/results/kernels.json and docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import arithmetic
import machine
import numpy as np
import page
import traffic

from cuslayer.jit import parallel_for
from cuslayer.kernels import cpu
from cuslayer.kernels.constants import Window
from cuslayer.kernels.recurrent.constants import LeakyProgram
from cuslayer.neurons.adaptive_lif import AdaptiveLIF
from cuslayer.neurons.lif import LIF
from cuslayer.neurons.loihi import Loihi
from cuslayer.neurons.resonate_and_fire import ResonateAndFire
from cuslayer.neurons.sampled_srm import SampledSRM
from cuslayer.neurons.sigma_delta import SigmaDelta
from cuslayer.neurons.srm import SRM

RESULTS = Path(__file__).parent / "results" / "kernels.json"
STEPS = 300


def copy_of(x: np.ndarray) -> Callable[[], None]:
    """Return a copy on every core, into memory that was used before."""
    y = np.zeros_like(x)

    def part(first: int, last: int) -> None:
        y[first:last] = x[first:last]

    return lambda: parallel_for(part, len(x), grain=1)


# Bytes of an element where this benchmark calls another function than traffic.py counts: of spikes a byte each, not of
# numbers; and both parts of clipping by the norm, which is known when all of the gradient has been read.
IN_ALL = {"filter_bank": 5, "filter_bank_weight_adjoint": 5, "shift_delay_adjoint": 5, "clip_norm": 12}


# A kernel with the bytes that it moves, and its multiplications and additions if it has many: 0 if not.
Timed = tuple[Callable[[], object], float, float]


def in_time(columns: int, most: float, steps: int = STEPS) -> dict[str, Timed]:
    """Return each kernel of traffic.py; `most` is what the machine multiplies and adds in a second."""
    generator, srm, chip = np.random.default_rng(0), SRM(), Loihi().constants
    x = generator.standard_normal((steps, columns), np.float32) * 3
    g = generator.standard_normal((steps, columns), np.float32)
    spikes = x > 6
    u, _ = cpu.srm.neuron(x, srm.filter, srm.spiking)
    taps = srm.response.astype(np.float32)
    lif, keep = LIF(theta=srm.theta, gradient="exact").spiking, np.full(1, 0.9, np.float32)
    alif = AdaptiveLIF(theta=srm.theta, gradient="exact").spiking
    sender = SigmaDelta(theta=srm.theta, gradient="exact").spiking
    resonant = ResonateAndFire(theta=srm.theta, gradient="exact").spiking
    smooth = SRM(surrogate="multi_gaussian").spiking
    sampled = SampledSRM(srm.response, srm.refractory).spiking
    delay = generator.integers(0, 20, columns)
    w, m, v, peak = (np.abs(generator.standard_normal(x.size, np.float32)) for _ in range(4))
    rates = {"betas": (0.9, 0.999), "rate_m": 1e-3, "rate_g": 0.0, "scale_v": 1.0, "eps": 1e-8, "decay": 0.0}
    calls = {
        "psp": lambda: cpu.response.psp(x, srm.filter),
        "psp_adjoint": lambda: cpu.response.psp_adjoint(g, srm.filter),
        "fir": lambda: cpu.response.fir(x, taps),
        "fir_adjoint": lambda: cpu.response.fir_adjoint(g, taps),
        "shift": lambda: cpu.response.shift(x, delay),
        "shift_spikes": lambda: cpu.response.shift_spikes(spikes, delay),
        "shift_linear": lambda: cpu.delay.shift_linear(x, delay, x[0], g[0]),
        "shift_delay_adjoint": lambda: cpu.delay.shift_delay_adjoint(g, spikes, delay),
        "filter_bank": lambda: cpu.filter_bank.forward(spikes, taps[None]),
        "filter_bank_adjoint": lambda: cpu.filter_bank.adjoint(g, taps[None]),
        "filter_bank_weight_adjoint": lambda: cpu.filter_bank.weight_adjoint(spikes, g, (1, taps.size)),
        "spike": lambda: cpu.srm.spike(x, srm.spiking),
        "spike_adjoint": lambda: cpu.srm.spike_adjoint(g, u, srm.spiking),
        "spike_adjoint_exact": lambda: cpu.srm.spike_adjoint_exact(g, u, srm.spiking),
        "surrogate_adjoint": lambda: cpu.surrogate.adjoint(g, u, smooth),
        "surrogate_adjoint_exact": lambda: cpu.surrogate.adjoint_exact(g, u, smooth),
        "neuron": lambda: cpu.srm.neuron(x, srm.filter, srm.spiking),
        "adaptive": lambda: cpu.adaptive.forward(x, (keep,) * 4, alif, None, True),
        "adaptive_adjoint": lambda: cpu.adaptive.adjoint(g, u, g, g, (keep,) * 4, alif, None, True),
        "leaky": lambda: cpu.leaky.forward(x, keep, keep, lif),
        "leaky_adjoint": lambda: cpu.leaky.adjoint(g, u, keep, keep, lif),
        "leaky_keep_adjoint": lambda: cpu.leaky.keep_adjoint(g, u, keep, keep, lif),
        "resonate": lambda: cpu.resonate.forward(x, keep, keep * 0, resonant, None, True),
        "resonate_adjoint": lambda: cpu.resonate.adjoint(g, u, g, keep, keep * 0, resonant, None, True),
        "sigma_delta": lambda: cpu.sigma_delta.forward(x, sender),
        "sigma_delta_adjoint": lambda: cpu.sigma_delta.adjoint(g, u, spikes, sender),
        "loihi": lambda: cpu.loihi.forward(x, chip),
        "sampled_spike": lambda: cpu.sampled_srm.sampled_spike(x, sampled),
        "sampled_spike_adjoint_exact": lambda: cpu.sampled_srm.sampled_spike_adjoint_exact(g, u, sampled),
        "neuron_adjoint": lambda: cpu.srm.neuron_adjoint(g, u, srm.filter, srm.spiking),
        "neuron_adjoint_exact": lambda: cpu.srm.neuron_adjoint_exact(g, u, srm.filter, srm.spiking),
        "sgd": lambda: cpu.optim.sgd(w, g.reshape(-1), v, 1e-3, 0.9, 0.0),
        "adam": lambda: cpu.optim.adam(w, g.reshape(-1), m, v, peak, **rates),
        "clip_values": lambda: cpu.optim.clip_values([g], 1.0),
        "clip_norm": lambda: cpu.optim.clip_norm([g], 1.0),
    }
    of_fir = arithmetic.filtered(steps, columns, taps.size)
    of_spikes = arithmetic.scattered(spikes, taps.size)
    of_refraction = 2 * (srm.refractory.size - 1) * x.size
    operations: dict[str, float] = {
        **{"fir": of_fir, "fir_adjoint": of_fir, "filter_bank_adjoint": of_fir},
        **{"filter_bank": of_spikes, "filter_bank_weight_adjoint": of_spikes},
        **{"sampled_spike": of_refraction, "sampled_spike_adjoint_exact": of_refraction},
        "loihi": arithmetic.LOIHI * x.size,
    }
    of_one = arithmetic.exponential(most) * x.size
    once = ("spike_adjoint", "spike_adjoint_exact", "adaptive_adjoint", "leaky_adjoint", "resonate_adjoint")
    operations |= dict.fromkeys((*once, "neuron_adjoint", "neuron_adjoint_exact"), of_one)
    # Of three bells.
    operations |= dict.fromkeys(("surrogate_adjoint", "surrogate_adjoint_exact"), 3 * of_one)
    moved = {name: IN_ALL.get(name) or traffic.bytes_per_element(name, "float32") for name in calls}
    found: dict[str, Timed] = {
        name: (call, x.size * moved[name], operations.get(name, 0)) for name, call in calls.items()
    }
    # Not in traffic.py: on a GPU it is two other kernels.
    of_response = arithmetic.filtered(steps, columns, chip.samples.size)
    return found | {"loihi_adjoint": (lambda: cpu.loihi.adjoint(g, u, chip), 3 * x.nbytes, of_response + of_one)}


def in_space(columns: int, steps: int = STEPS) -> dict[str, Timed]:
    """Return the kernels of dense, convolution and pooling; their bytes are those of input and output."""
    generator, srm = np.random.default_rng(0), SRM()
    side, channels, outputs = 16, 16, 32
    frames = max(1, steps * columns // (side * side * outputs))
    spikes = generator.random((frames, side, side, channels)) < 0.02
    window, tiles = Window.of("conv", 3, 1, 1, 1), Window.of("pool", 2, 2, 0, 1)
    w = generator.standard_normal((3, 3, channels, outputs), np.float32) * 3
    back = np.ascontiguousarray(w.swapaxes(2, 3))
    g = generator.standard_normal((frames, side, side, outputs), np.float32)
    pooled = generator.standard_normal((frames, side // 2, side // 2, outputs), np.float32)
    fires, half = g > 2, cpu.float16.store(g)
    found = cpu.spikes.synapse_input(spikes)
    rows = frames * side * side * outputs // 512
    flat = generator.random((rows, 2312)) < 0.006
    flat_found = cpu.spikes.synapse_input(flat)
    weights = generator.standard_normal((2312, 512), np.float32)
    errors = generator.standard_normal((rows, 512), np.float32)
    whole = cpu.fused.conv_kernels(found, window, 1)
    u, _ = whole.conv_neuron(found, frames, w, window, srm.filter, srm.spiking, w.dtype)
    # 128 neurons with a dense layer to themselves.
    drive = generator.standard_normal((steps, -(-columns // 128), 128), np.float32) * 3
    own, keeps = generator.standard_normal((128, 128), np.float32), (np.full(1, 0.9, np.float32),) * 2
    leaky = LeakyProgram(LIF(theta=srm.theta).spiking)
    rise, _, more = cpu.recurrent.forward(drive, own, leaky, keeps, 1)
    calls: dict[str, tuple[Callable[[], object], float]] = {
        "synapse_input": (lambda: cpu.spikes.synapse_input(flat), flat.nbytes),
        "dense": (lambda: cpu.dense.forward(flat_found, weights), errors.nbytes),
        "dense_weight_adjoint": (lambda: cpu.dense.weight_adjoint(flat_found, errors), errors.nbytes),
        "dense_input_adjoint": (lambda: cpu.dense.input_adjoint(errors, weights), errors.nbytes + 4 * flat.size),
        "conv": (lambda: cpu.conv.forward(found, w, window, 1), g.nbytes),
        "conv_weight_adjoint": (lambda: cpu.conv.weight_adjoint(found, g, window, 1), g.nbytes),
        "conv_transpose": (lambda: cpu.conv_transpose.forward(found, back, (side, side), window, 1), g.nbytes),
        "conv_transpose_weight_adjoint": (
            lambda: cpu.conv_transpose.weight_adjoint(found, g, window, 1),
            g.nbytes,
        ),
        "conv_input_adjoint": (lambda: cpu.conv.input_adjoint(g, w, (side, side), window, 1), g.nbytes * 3 // 2),
        "conv_neuron": (
            lambda: whole.conv_neuron(found, frames, w, window, srm.filter, srm.spiking, w.dtype),
            g.nbytes + g.size,
        ),
        "conv_neuron_adjoint": (
            lambda: whole.conv_neuron_adjoint(found, frames, g, u, window, srm.filter, srm.spiking, False),
            2 * g.nbytes,
        ),
        "pool": (lambda: cpu.pool.forward(fires, tiles, 11.0), fires.nbytes + pooled.nbytes),
        "pool_adjoint": (lambda: cpu.pool.adjoint(pooled, (side, side), tiles, 11.0), g.nbytes + pooled.nbytes),
        "weighted_pool": (lambda: cpu.pool.weighted_pool(g, w[:2, :2, 0, 0], tiles), g.nbytes + pooled.nbytes),
        "weighted_pool_adjoint": (
            lambda: cpu.pool.weighted_pool_adjoint(pooled, w[:2, :2, 0, 0], (side, side), tiles),
            g.nbytes + pooled.nbytes,
        ),
        "pool_weight_adjoint": (lambda: cpu.pool.weight_adjoint(g, pooled, tiles), g.nbytes + pooled.nbytes),
        "recurrent": (lambda: cpu.recurrent.forward(drive, own, leaky, keeps, 1), 2 * drive.nbytes + drive.size),
        "recurrent_adjoint": (lambda: cpu.recurrent.adjoint(drive, rise, more, own, leaky, keeps, 1), 3 * drive.nbytes),
        "store": (lambda: cpu.float16.store(g), g.nbytes * 3 // 2),
        "load": (lambda: cpu.float16.load(half, np.float32), g.nbytes * 3 // 2),
    }
    # A spike meets each tap and output channel, but for those beyond the edges of the image.
    of_conv = 2 * int(spikes.sum()) * 9 * outputs
    of_dense = 2 * int(flat.sum()) * 512
    operations = {
        **{"dense": of_dense, "dense_weight_adjoint": of_dense, "dense_input_adjoint": 2 * rows * 2312 * 512},
        **{"conv": of_conv, "conv_weight_adjoint": of_conv, "conv_neuron": of_conv, "conv_neuron_adjoint": of_conv},
        **{"conv_transpose": of_conv, "conv_transpose_weight_adjoint": of_conv},
        "conv_input_adjoint": 2 * frames * side * side * 9 * channels * outputs,
    }
    return {name: (*call, operations.get(name, 0)) for name, call in calls.items()}


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(columns: int, repeats: int, steps: int = STEPS, only: Sequence[str] = ("",)) -> list[dict]:
    """Return a row for each kernel: bytes, median time, bytes a second, and their ratio to a copy timed in turn.

    `only` has words of which a kernel's name must have one.
    """
    x = np.ones((steps, columns), np.float32)
    copy, rows, most = copy_of(x), [], arithmetic.peak()
    for make in (partial(in_time, most=most), in_space):
        for name, (call, moved, operations) in make(columns, steps=steps).items():
            if not any(word in name for word in only):
                continue
            call(), copy()
            turns = [(seconds(copy), seconds(call)) for _ in range(repeats)]
            plain, mine = (float(np.median(t)) for t in zip(*turns, strict=True))
            speed = moved / mine
            rows.append(
                {
                    "kernel": name,
                    "megabytes": moved / 1e6,
                    "milliseconds": 1e3 * mine,
                    "gigabytes_a_second": speed / 1e9,
                    "share_of_a_copy": speed / (2 * x.nbytes / plain),
                    "share_of_arithmetic": operations / mine / most if operations else None,
                }
            )
    return rows


def share(row: dict) -> str:
    """Return the share of the machine's arithmetic that a kernel reaches, or nothing."""
    found = row["share_of_arithmetic"]
    return "" if found is None else f"{found:.2f}"


def table(rows: list[dict]) -> str:
    """Return the rows as text."""
    lines = [f"{'kernel':30}{'MB':>9}{'ms':>9}{'GB/s':>8}{'of a copy':>11}{'of arithmetic':>15}"]
    lines += [
        f"{r['kernel']:30}{r['megabytes']:9.1f}{r['milliseconds']:9.2f}{r['gigabytes_a_second']:8.2f}"
        f"{r['share_of_a_copy']:11.2f}{share(r):>15}"
        for r in rows
    ]
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--columns", type=int, default=65536, help="signals of 300 steps; the default makes 79 MB")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--only", metavar="WORD", nargs="+", help="words of names: print these kernels, write nothing")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=page.PERFORMANCE)
    options = parser.parse_args(arguments)
    rows = measure(options.columns, options.repeats, options.steps, options.only or [""])
    print(table(rows))
    if options.only:
        return
    options.out.parent.mkdir(exist_ok=True, parents=True)
    where = machine.describe()
    options.out.write_text(json.dumps({"machine": where, "rows": rows}, indent=2) + "\n")
    heads = ["kernel", "MB moved", "ms", "GB/s", "of a copy", "of arithmetic"]
    cells = []
    for r in rows:
        numbers = [f"{r['megabytes']:.1f}", f"{r['milliseconds']:.2f}", f"{r['gigabytes_a_second']:.1f}"]
        cells.append([f"`{r['kernel']}`", *numbers, f"{r['share_of_a_copy']:.2f}", share(r)])
    lines = [*page.table(heads, cells, 1), "", machine.said(where, "python benchmarks/kernels.py")]
    page.fill(options.docs, "kernels", lines, None, "")


if __name__ == "__main__":
    main()
