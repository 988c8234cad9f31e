"""Measure what the kernels of a training step take, against the memory that each of them reads or writes.

    python benchmarks/parts.py --data NMNISTsmall    # a folder of .bs2 recordings; without it: the embedded digits

The networks and inputs are those of `peers.py` whose aims need the most of a step. A kernel's time is that of all its
calls in a step, until the last thread is done; its memory is that of the arrays that it is given, each once in a call;
both are the least of some steps. A step takes at least as long as a copy of that much memory. Prints a table and writes
it, with versions and machine, to benchmarks/results/parts.json and into docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import machine
import numpy as np
import page
from comparison import recordings
from comparison.models import ours
from comparison.works import STEPS, TRAINING
from kernels import copy_of, seconds

from cuslayer import jit

RESULTS = Path(__file__).parent / "results" / "parts.json"
WORKS = ("cnn8", "cnn8-60", "mlp8", "mlp8-30")
# Adam is given addresses: of each weight it reads four numbers and writes three.
_ADAM, _NUMBERS = "optim.cpu: adam_pieces", 7
# Kernels that take less than this share of the kernels' time are one row.
_SMALL = 0.03


def arrays(value: Any) -> Iterator[np.ndarray]:
    """Return the arrays of an argument of a kernel."""
    if isinstance(value, np.ndarray):
        yield value
    elif isinstance(value, tuple):
        for each in value:
            yield from arrays(each)


@contextmanager
def noted(found: dict[str, list[float]]) -> Iterator[None]:
    """Add the seconds and the bytes of each kernel that runs meanwhile to those found before."""
    plain = jit.parallel_for

    def parallel_for(kernel: Callable[..., None], size: int, *arguments: Any, **options: Any) -> None:
        start = time.perf_counter()
        plain(kernel, size, *arguments, **options)
        name = kernel.__module__.removeprefix("cuslayer.kernels.") + kernel.__name__.replace("_", ": ", 1)
        found[name][0] += time.perf_counter() - start
        given = {(x.ctypes.data, x.nbytes) for x in arrays(arguments)}
        found[name][1] += sum(size for _, size in given)

    users = [m for m in list(sys.modules.values()) if isinstance(m, ModuleType) and m.__name__.startswith("cuslayer")]
    users = [module for module in users if getattr(module, "parallel_for", None) is plain]
    try:
        for module in users:
            module.parallel_for = parallel_for
        yield
    finally:
        for module in users:
            module.parallel_for = plain


def measure(name: str, data: str, steps: int, repeats: int, folder: Path) -> dict[str, Any]:
    """Return the seconds of a step, those of a copy of a byte, and the seconds and bytes of each kernel."""
    work, file = TRAINING[name], folder / "batch.npz"
    recordings.save_batch(file, data, work, steps)
    with np.load(file) as batch:
        network = ours.Network(
            {"layers": work.layers, "initial": work.initial}, "default", batch["spikes"], batch["labels"]
        )
    network.settle()
    network.step()
    x = np.ones((256, 65536), np.float32)
    copy = copy_of(x)
    copy()
    whole, of_copy, kernels = [], [], []
    for _ in range(repeats):
        whole.append(sum(network.step().values()))
        of_copy.append(seconds(copy) / (2 * x.nbytes))
        found: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
        with noted(found):
            network.step()
        kernels.append(found)
    least = {name: [min(each[name][i] for each in kernels) for i in (0, 1)] for name in kernels[0]}
    least[_ADAM][1] += _NUMBERS * sum(p.data.nbytes for p in network.net.parameters())
    return {
        "title": work.title,
        "seconds": min(whole),
        "seconds_of_a_byte": min(of_copy),
        "kernels": least,
    }


def rows_of(found: dict[str, Any]) -> list[list[str]]:
    """Return the rows of a step: its kernels, the slowest first, and what is left for all else."""
    kernels = sorted(found["kernels"].items(), key=lambda item: -item[1][0])
    total, moved = (sum(each[i] for _, each in kernels) for i in (0, 1))
    small = [each for _, each in kernels if each[0] < _SMALL * total]
    shown = [(f"`{name}`", *each) for name, each in kernels if each[0] >= _SMALL * total]
    shown.append((f"{len(small)} smaller ones", sum(each[0] for each in small), sum(each[1] for each in small)))
    shown.append(("Python, waiting", max(found["seconds"] - total, 0), 0))
    shown.append(("a step", found["seconds"], moved))

    def row(work: str, name: str, time: float, size: float) -> list[str]:
        return [work, name, f"{1e3 * time:.1f}", f"{size / 1e6:.0f}", f"{1e3 * size * found['seconds_of_a_byte']:.1f}"]

    return [row("" if number else found["title"], *each) for number, each in enumerate(shown)]


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", help="a folder of .bs2 recordings")
    parser.add_argument("--works", nargs="+", choices=list(TRAINING), default=list(WORKS))
    parser.add_argument("--steps", type=int, default=STEPS, help="of 1 ms")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=page.PERFORMANCE)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        data = recordings.folder_of(options.data, Path(folder))
        found = {name: measure(name, data, options.steps, options.repeats, Path(folder)) for name in options.works}
    heads = ["network", "kernel", "ms", "MB", "ms at a copy's speed"]
    lines = page.table(heads, [row for name in options.works for row in rows_of(found[name])], 2)
    print("\n".join(lines))
    where = machine.describe()
    options.out.parent.mkdir(exist_ok=True, parents=True)
    options.out.write_text(json.dumps({"machine": where, "works": found}, indent=2) + "\n")
    page.fill(options.docs, "parts", [*lines, "", machine.said(where, "python benchmarks/parts.py")], None, "")


if __name__ == "__main__":
    main()
