"""Draw how the measured works became faster: each figure of benchmarks/results/peers.json that was ever committed.

    python benchmarks/trend.py

It needs the whole history of the checkout. A point is how many times as long a training step of snnTorch takes, which
is in all works, in the run of that commit: so runs on different machines can be compared. Writes
benchmarks/results/trend.png.
"""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path

import common
from comparison.report import TITLES, fastest
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure

FILE = "benchmarks/results/peers.json"
Points = list[tuple[datetime.datetime, float]]


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=common.ROOT, capture_output=True, text=True, check=True).stdout


def trend(name: str, history: list[tuple[datetime.datetime, dict]]) -> Points:
    """Return snnTorch's time over cuslayer's in a work, wherever it changed."""
    points: Points = []
    for date, works in history:
        row = fastest(works[name], "snntorch") if name in works else None
        if row and (not points or points[-1][1] != row["times"]):
            points.append((date, row["times"]))
    return points


def draw(path: Path, history: list[tuple[datetime.datetime, dict]]) -> None:
    figure = Figure((9, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for number, (name, title) in enumerate(TITLES.items()):
        points = trend(name, history)
        if len(points) > 1:
            axes.plot(*zip(*points, strict=True), marker="os^Dv<>PX"[number % 9], label=title)
    axes.set_yscale("log")
    axes.set_yticks([1, 2, 5, 10, 20, 40], ["1", "2", "5", "10", "20", "40"])
    axes.set_yticks([], minor=True)
    axes.set_ylim(0.9, 40)
    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.set_ylabel("time of snnTorch / time of cuslayer")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside right upper", frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def main(arguments: list[str] | None = None) -> None:
    options = common.parser(__doc__).parse_args(arguments)
    commits = git("log", "--reverse", "--format=%H %ct", "--", FILE).splitlines()
    history = []
    for line in commits:
        commit, seconds = line.split()
        works = json.loads(git("show", f"{commit}:{FILE}"))["works"]
        history.append((datetime.datetime.fromtimestamp(int(seconds), datetime.timezone.utc), works))
    options.out.mkdir(parents=True, exist_ok=True)
    draw(options.out / "trend.png", history)
    print(f"{len(history)} commits; benchmarks/results/trend.png")


if __name__ == "__main__":
    main()
