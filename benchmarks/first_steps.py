"""The first start: seconds of whole processes with no kernel compiled before, and with all.

    python benchmarks/first_steps.py               # five minutes on two cores
    python benchmarks/first_steps.py --rounds 1

The ten lines of README train for an epoch and test; three networks, those of `tools/needed_kernels.py`, are calibrated,
trained for two steps and tested. Each process imports the library. "alone" has no other processes that compile kernels.
The median of the rounds goes to benchmarks/results/first_steps.json and docs/performance.md.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from statistics import median
from typing import Any

import common

from cuslayer._base.compiling.compilers import VARIABLE

_RECORD = "import sys; sys.argv = ['', '--record', {name!r}]; import tools.needed_kernels as t; t.main()"
NETWORKS = {
    "the ten lines of README": "",
    "34x34x2-16c5-2a-32c3-2a-64c3-10": _RECORD.format(name="convolutional"),
    "images with BatchNorm, 4 steps": _RECORD.format(name="images"),
    "recurrent, AdLIF": _RECORD.format(name="recurrent AdLIF"),
}
HEADS = ["first start, s", "alone", "with other processes", "everything compiled"]


def ten_lines() -> str:
    """Return the program in README, without its page."""
    text = (common.ROOT / "README.md").read_text("utf-8")
    lines = re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0].splitlines()
    return "\n".join(line for line in lines if "write_demo" not in line)


def seconds(program: str, cache: str, **variables: str) -> float:
    """Return the time of a process that runs a program."""
    environment = os.environ | {"PYTHONPATH": str(common.ROOT), "NUMBA_CACHE_DIR": cache, "CUSLAYER_DEVICE": "cpu"}
    environment.pop(VARIABLE, None)
    command = [sys.executable, "-c", program]
    began = time.perf_counter()
    subprocess.run(command, env=environment | variables, cwd=cache, check=True, capture_output=True)
    return time.perf_counter() - began


def measure(program: str) -> list[float]:
    """Return the seconds alone, with other processes, and with everything compiled."""
    with tempfile.TemporaryDirectory() as cache:
        alone = seconds(program, cache, **{VARIABLE: "0"})
    with tempfile.TemporaryDirectory() as cache:
        return [alone, seconds(program, cache), seconds(program, cache)]


def lines(found: dict[str, Any]) -> list[str]:
    """Return the table of the results."""
    rows = [[name, *(f"{value:.1f}" for value in values)] for name, values in found["seconds"].items()]
    return [*common.table(HEADS, rows, 1), "", common.said(found["where"], found["command"])]


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the table."""
    parser = common.parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="processes of each kind; 3 by default")
    options = parser.parse_args(arguments)
    medians = {}
    for name, program in NETWORKS.items():
        rounds = [measure(program or ten_lines()) for _ in range(options.rounds)]
        medians[name] = [median(values) for values in zip(*rounds, strict=True)]
    where = common.describe()
    found = {"seconds": medians, "where": where, "command": common.command("first_steps", arguments)}
    common.save("first_steps", found, options.out)
    common.show(options.out, "performance", "first_steps", lines(found))


if __name__ == "__main__":
    main()
