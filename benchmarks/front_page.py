"""Write the figures and the table of README, between their marks: from benchmarks/results/ and docs/comparison.md.

    python benchmarks/front_page.py

Run it after the results have changed; a test compares README with them.
"""

from __future__ import annotations

import json
import textwrap
from pathlib import Path
from typing import Any

from comparison import report
from page import fill, marks

ROOT = Path(__file__).parents[1]
README, COMPARISON = ROOT / "README.md", ROOT / "docs" / "comparison.md"
RESULTS = Path(__file__).parent / "results"
MLP = "MLP 2312-512-10, batch 8: "
CNN = "34x34x2-16c5-2a-32c3-2a-64c3-10"


def found(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def figures() -> list[str]:
    """Return three figures, each with a link to its table."""
    of_peers = found("peers")
    rows = {row["what"]: row["found"] for row in report.aims(of_peers)}
    torch, jax = (value for what, value in rows.items() if what.startswith(f"{MLP}faster"))
    best = [max(run["test"]) for run in found("learning")["runs"] if _is_cnn(run)]
    stream = next(value for what, value in rows.items() if what.startswith("streaming"))
    lines = (
        f"A training step of an MLP on recordings of an event camera is {_whole(torch)} times as fast as in the fastest"
        f" of five libraries on PyTorch, {_whole(jax)} times as in the fastest of two on JAX, on a CPU"
        " ([table](docs/performance.md#results)).",
        f"The CNN of the SLAYER paper, given by its notation and nothing else, recognizes {min(best):.1f} to"
        f" {max(best):.1f} % of the test digits within five epochs ([table](docs/performance.md#learning-by-default)).",
        f"A step of 1 ms of a live source takes {stream.replace(' us', ' µs')}, from events to output spikes"
        " ([table](docs/performance.md#results)).",
    )
    return [row for line in lines for row in textwrap.wrap(f"- {line}", 120, subsequent_indent="  ")]


def _is_cnn(run: dict[str, Any]) -> bool:
    return run["network"] == CNN and run["data"] == "digits"


def _whole(times: str) -> str:
    """Return the whole part of "16.2 times"."""
    return str(int(float(times.split()[0])))


def peers() -> list[str]:
    """Return the table of docs/comparison.md."""
    begin, end = marks("peers")
    return COMPARISON.read_text(encoding="utf-8").split(begin)[1].split(end)[0].strip().splitlines()


def main() -> None:
    """Write both parts."""
    fill(README, "figures", figures(), None, "")
    fill(README, "peers", peers(), None, "")


if __name__ == "__main__":
    main()
