"""Measure at which activity walking spikes becomes slower than multiplying matrices, and what the choice costs.

    python benchmarks/crossover.py                          # minutes
    python benchmarks/crossover.py --only "512 to 10"       # works whose name has this

Each work, a layer's forward pass or the gradient of its weight, is done in both ways on random spikes of several
activities, from the boolean array on. Each activity has a time of its own, in which the ways, and what the library
does, take turns; each is called once before it is timed, so that it finds its own arrays in the caches as far as they
fit. A time is the fastest of all turns: other work on the machine only adds to one, and may add to all of a few. Where
the library takes one of the two ways as it is, that is not measured again. The crossing is the activity at which both
take the same time, between two activities on a logarithmic scale. The loss is the time of the way that the library
chooses over that of the faster one, at the worst activity. Exits with 1 where a loss is over 15 %.

Prints a table and writes it, with versions and machine, to benchmarks/results/crossover.json and docs/performance.md.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import crossover_conv
import crossover_dense
import machine
import page
from crossover_dense import Work

RESULTS = Path(__file__).parent / "results" / "crossover.json"
ACTIVITIES = [0.001, 0.005, 0.02, 0.05, 0.07, 0.1, 0.14, 0.3, 0.6]
MOST_LOSS = 0.15
# Turns of an activity, at least.
TURNS = 5
# Functions that return works, for tests of small size.
SOURCES: list[Callable[[bool], list[Work]]] = [crossover_dense.works, crossover_conv.works]


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def crossing(activities: Sequence[float], walk: Sequence[float], product: Sequence[float]) -> float | None:
    """Return the activity from which on the product is always faster; None if walking is faster at the last."""
    slower = [math.log(w / p) for w, p in zip(walk, product, strict=True)]
    if slower[-1] <= 0:
        return None
    last = max((i for i, x in enumerate(slower) if x <= 0), default=None)
    if last is None:
        return 0.0
    share = slower[last] / (slower[last] - slower[last + 1])
    return activities[last] * (activities[last + 1] / activities[last]) ** share


def fastest(calls: Sequence[Callable[[], object]], budget: float) -> list[float]:
    """Return the milliseconds of the fastest of the turns of each call that some seconds have room for."""
    best, turns, until = [math.inf] * len(calls), 0, time.perf_counter() + budget
    while turns < TURNS or time.perf_counter() < until:
        for i, call in enumerate(calls):
            call()
            best[i] = min(best[i], 1e3 * seconds(call))
        turns += 1
    return best


def measure(work: Work, activities: Sequence[float], budget: float) -> dict:
    """Return the milliseconds of both ways at each activity, the crossing, and the largest loss of the choice."""
    walk, product, busy, chosen = [], [], [], []
    for activity in activities:
        ways = work.make(activity)
        timed = [ways.walk, ways.product, *([ways.chosen] if ways.chosen else [])]
        best = fastest(timed, budget)
        walk.append(best[0])
        product.append(best[1])
        busy.append(bool(ways.busy))
        chosen.append(best[2] if ways.chosen else best[int(ways.busy)])
    losses = [c / min(w, p) - 1 for c, w, p in zip(chosen, walk, product, strict=True)]
    worst = max(range(len(losses)), key=lambda i: losses[i])
    return {
        "work": work.name,
        "activities": list(activities),
        "walk_ms": walk,
        "product_ms": product,
        "busy": busy,
        "chosen_ms": chosen,
        "crossing": crossing(activities, walk, product),
        "constant": work.constant,
        "loss": losses[worst],
        "at": activities[worst],
    }


def cells(row: dict) -> list[str]:
    """Return a row as text: both ways at the ends, crossing, constant, loss and where."""
    found = row["crossing"]
    ends = [f"{row[way][i]:.2f}" for way in ("walk_ms", "product_ms") for i in (0, -1)]
    crossed = "none" if found is None else f"{100 * found:.1f} %"
    loss = [f"{100 * row['loss']:.0f} %", f"{100 * row['at']:g} %"] if row["loss"] > 0 else ["0 %", ""]
    constant = f"{100 * row['constant']:.1f} %" if row["constant"] <= 1 else "none"
    return [row["work"], *ends, crossed, constant, *loss]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="works whose name has this")
    parser.add_argument("--small", action="store_true", help="sizes for tests")
    parser.add_argument("--seconds", type=float, default=0.4, help="for each activity")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--docs", type=Path, default=page.PERFORMANCE)
    options = parser.parse_args(arguments)
    low, high = (f"{100 * ACTIVITIES[i]:g} %" for i in (0, -1))
    walked, multiplied = ([f"{way} at {low}, ms", f"at {high}"] for way in ("walking", "product"))
    heads = ["work", *walked, *multiplied, "crossing", "in the code", "loss", "at"]
    rows = []
    for work in (work for source in SOURCES for work in source(options.small) if options.only in work.name):
        rows.append(measure(work, ACTIVITIES, options.seconds))
        print("  ".join(f"{head} {cell}" for head, cell in zip(heads, cells(rows[-1]), strict=True)), flush=True)
    where = machine.describe()
    options.out.parent.mkdir(exist_ok=True, parents=True)
    options.out.write_text(json.dumps({"machine": where, "rows": rows}, indent=2) + "\n")
    lines = [
        *page.table(heads, [cells(row) for row in rows], 1),
        "",
        machine.said(where, "python benchmarks/crossover.py"),
    ]
    page.fill(options.docs, "crossover", lines, None, "")
    return int(any(row["loss"] > MOST_LOSS for row in rows))


if __name__ == "__main__":
    raise SystemExit(main())
