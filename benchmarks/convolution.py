"""Compare convolutions of numbers with oneDNN's, which PyTorch calls on a CPU: forward and both gradients.

    python benchmarks/convolution.py        # two minutes on two cores

The shapes are the layers of the networks of images in peers.py: a batch of 64 images at 4 steps. cuslayer and PyTorch,
in a process of its own, take turns; PyTorch's time is the faster of its two orders of memory. Results are compared. The
figures go to benchmarks/results/convolution.json and docs/performance.md.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import common
import numpy as np
from comparison import process

from cuslayer.kernels import cpu
from cuslayer.kernels.constants import Window

REPEATS = 9
# Images, height and width, channels, outputs; windows of 3 x 3 with a padding of 1.
SHAPES = [
    (64, 28, 1, 32),
    (256, 28, 1, 32),
    (256, 14, 32, 32),
    (256, 14, 32, 64),
    (256, 14, 64, 64),
    (256, 7, 128, 128),
]
PASSES = {"forward": "forward", "input": "gradient of the input", "weight": "gradient of the weight"}
ORDERS = "channels first", "channels last"
# How far results may be from PyTorch's, relative to their norm: the gradient of a weight sums 200,000 products.
TOLERANCE = 1e-5


def passes(x: np.ndarray, w: np.ndarray, g: np.ndarray) -> dict[str, Callable[[], np.ndarray]]:
    """Return cuslayer's convolution and its gradients as functions of nothing."""
    window = Window.of((3, 3), 1, 1, 1)
    return {
        "forward": lambda: cpu.conv.forward(x, w, window, 1),
        "input": lambda: cpu.conv.input_adjoint(g, w, x.shape[1:3], window, 1),
        "weight": lambda: cpu.conv.weight_adjoint(x, g, window, 1),
    }


def compare(torch: process.Process, scratch: Path, shape: tuple[int, int, int, int]) -> list[dict[str, Any]]:
    """Return the times of a shape in ms, a row for each pass."""
    images, side, channels, outputs = shape
    rng = np.random.default_rng(0)
    sizes = {"x": (images, side, side, channels), "w": (3, 3, channels, outputs), "g": (images, side, side, outputs)}
    arrays = {name: rng.standard_normal(size, np.float32) for name, size in sizes.items()}
    np.savez(scratch / "arrays.npz", **arrays)
    paths = {"path": str(scratch / "arrays.npz"), "results": str(scratch / "results.npz")}
    torch.request({"do": "arrays", "padding": 1, **paths})
    rows = []
    with np.load(scratch / "results.npz") as results:
        for name, run in passes(**arrays).items():
            error = np.linalg.norm(run() - results[name]) / np.linalg.norm(results[name])
            if not error <= TOLERANCE:
                raise SystemExit(f"convolution: {name} of {shape} differs from oneDNN's by {error:.1e}")
            ours: list[float] = []
            theirs: dict[str, list[float]] = {order: [] for order in ORDERS}
            for _ in range(REPEATS):
                run()
                start = time.perf_counter()
                run()
                ours.append(time.perf_counter() - start)
                for order in ORDERS:
                    theirs[order].append(torch.request({"do": "time", "order": order, "pass": name})["seconds"])
            fastest = min(median(seconds) for seconds in theirs.values())
            rows.append({"shape": shape, "pass": name, "ours": 1e3 * median(ours), "onednn": 1e3 * fastest})
    return rows


def lines(results: dict[str, Any]) -> list[str]:
    """Return the table, a row for each shape."""
    heads = ["images, channels -> outputs", *(f"{text}: cuslayer, oneDNN, ms" for text in PASSES.values())]
    cells = []
    for shape in SHAPES:
        images, side, channels, outputs = shape
        of_shape = {row["pass"]: row for row in results["rows"] if tuple(row["shape"]) == shape}
        times = [f"{of_shape[name]['ours']:.1f}, {of_shape[name]['onednn']:.1f}" for name in PASSES]
        cells.append([f"{images} x {side} x {side}, {channels} -> {outputs}", *times])
    source = common.said(results["machine"], "python benchmarks/convolution.py")
    return [*common.table(heads, cells, 1), "", f"torch {results['versions']['torch']}; {source}"]


def main() -> None:
    parser = common.parser(__doc__)
    parser.add_argument("--env", type=Path, default=process.FOLDER, help="the peers' environment")
    options = parser.parse_args()
    problems = process.install(options.env, ["spikingjelly"])
    if problems:
        raise SystemExit(f"convolution: {problems}")
    machine = common.describe()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [str(process.python_of(options.env)), "-m", "comparison.onednn"]
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        with common.Process(command, environment, scratch / "torch.log") as torch:
            hello = torch.request({"do": "hello", "threads": machine["cores"]})
            if not hello["onednn"]:
                raise SystemExit("convolution: this PyTorch has no oneDNN")
            rows = [row for shape in SHAPES for row in compare(torch, scratch, shape)]
    results = {"machine": machine, "versions": hello["versions"], "rows": rows}
    common.save("convolution", results, options.out)
    common.show(options.out, "performance", "convolution", lines(results))


if __name__ == "__main__":
    main()
