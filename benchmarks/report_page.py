"""Measure the page of a report: its size, the time to open it, and the time of a click.

    python benchmarks/report_page.py                     # one recording of N-MNIST through the paper's CNN
    python benchmarks/report_page.py --steps 1000 --notation 34x34x2-512-10

Opens the page in a headless Chromium several times; the figures are medians. `first_paint` is the time of the first
paint, `drawn` that at which every raster and the first neuron are drawn, `loaded` that of the load event. A click shows
another neuron of the first layer, whose error is computed through all later layers: `first_click` and `next_click`. The
weights are untrained, so that there are more spikes than after training. Prints the figures and writes them, with
versions and machine, to benchmarks/results/report_page.json.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import machine
import numpy as np

import cuslayer as cs

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "report_page.json"
RECORDING = ROOT.parent / "shared" / "data" / "nmnist-small" / "1.bs2"
PAINTED = "performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? null"
DRAWN = "performance.getEntriesByName('drawn')[0].startTime"
LOADED = "performance.getEntriesByType('navigation')[0].loadEventEnd"
CLICK = (
    "(() => {{ const start = performance.now(); choose(1, {neuron}, {time}); return performance.now() - start; }})()"
)

sys.path.append(str(ROOT))


def spikes(path: Path, shape: tuple[int, ...], steps: int) -> np.ndarray:
    """Return one recording as (T, 1, H, W, C), or random spikes without recordings."""
    if path.is_file():
        return cs.read_events(path).to_spikes(shape, steps=steps, dt=1.0)[:, None]
    return np.random.default_rng(0).random((steps, 1, *shape)) < 0.007


def measure(notation: str, recording: Path, steps: int, repeats: int, page: Path) -> dict:
    """Return the size of the report of one sample, and the milliseconds of opening and clicks."""
    cs.seed(0)
    net = cs.Network(notation, cs.SRM())
    x = spikes(recording, net.input_shape, steps)
    with cs.no_grad(), cs.record(net) as seen:
        net(x)
    fired = [int(seen[at].spikes.sum()) for at in range(1, len(net), 2)]
    cs.report(net, x, page, target=[0])
    start = time.perf_counter()
    cs.report(net, x, page, target=[0])
    found = {
        "notation": notation,
        "recording": recording.name if recording.is_file() else "random",
        "spikes": int(x.sum()) + sum(fired),
        "megabytes": page.stat().st_size / 1e6,
        "write_ms": 1e3 * (time.perf_counter() - start),
    }
    return found | opened(page, repeats, seen[1].spikes.shape[2:])


def opened(page: Path, repeats: int, shape: tuple[int, ...]) -> dict:
    """Return the milliseconds of opening a page, and of clicks on two neurons of its first layer."""
    from tests.support.browser import Browser

    middle = int(np.prod(shape)) // 2
    rows = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, Browser(Path(folder)) as there:
        for _ in range(repeats):
            there.open(page)
            rows.append([there.run(script) for script in (PAINTED, DRAWN, LOADED)])
            rows[-1] += [there.run(CLICK.format(neuron=middle + more, time=9)) for more in (0, 1)]
        if there.said:
            raise RuntimeError(f"the page says {there.said}")
    names = ("first_paint_ms", "drawn_ms", "loaded_ms", "first_click_ms", "next_click_ms")
    columns = ([value for value in column if value is not None] for column in zip(*rows, strict=True))
    return {name: float(np.median(column)) for name, column in zip(names, columns, strict=True) if column}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--notation", default="34x34x2-16c5-2a-32c3-2a-64c3-10")
    parser.add_argument("--recording", type=Path, default=RECORDING)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--page", type=Path, help="where to leave the page")
    parser.add_argument("--out", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        page = options.page or Path(folder) / "report.html"
        found = measure(options.notation, options.recording, options.steps, options.repeats, page)
    print(json.dumps(found, indent=2))
    options.out.parent.mkdir(exist_ok=True)
    options.out.write_text(json.dumps({"machine": machine.describe(), **found}, indent=2) + "\n")


if __name__ == "__main__":
    main()
