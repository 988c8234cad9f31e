"""Write the figures of README, between their marks, from benchmarks/results/; `pictures.py demo` draws its animation.

    python benchmarks/front_page.py

Run it after the results have changed; a test compares README with them.
"""

from __future__ import annotations

import textwrap

import common
from comparison import report

MLP, CNN = "MLP, batch 8: ", "34x34x2-16c5-2a-32c3-2a-64c3-10"


def figures() -> list[str]:
    """Return three figures, each with a link to its table."""
    rows = {row["what"]: row["found"] for row in report.aims(common.load("peers"))}
    # The whole part of "16.2 times".
    torch, jax = (int(float(value.split()[0])) for what, value in rows.items() if what.startswith(f"{MLP}faster"))
    runs = common.load("learning")["runs"]
    best = [max(run["test"]) for run in runs if (run["network"], run["data"]) == (CNN, "digits")]
    stream = next(value for what, value in rows.items() if "stream" in what)
    lines = (
        f"On a CPU, an MLP trains {torch} times as fast as in the fastest of five libraries on PyTorch, and {jax} times"
        " as fast as in the fastest of two on JAX ([table](docs/performance.md#results)).",
        f"The CNN of the SLAYER paper, given by its notation and nothing else, recognizes {min(best):.1f} to"
        f" {max(best):.1f} % of the test digits within five epochs ([table](docs/performance.md#learning-by-default)).",
        f"A step of 1 ms of a live source takes {stream.replace(' us', ' µs')}, from events to output spikes"
        " ([table](docs/performance.md#results)).",
    )
    return [row for line in lines for row in textwrap.wrap(f"- {line}", 120, subsequent_indent="  ")]


if __name__ == "__main__":
    common.fill(common.ROOT / "README.md", "figures", figures())
