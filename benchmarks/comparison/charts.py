"""What was found as charts."""

from __future__ import annotations

from math import floor, log10
from pathlib import Path
from typing import Any

from comparison.report import timed
from comparison.works import MEMORY, NAMES, SWEEPS, TRAINING

_OURS, _OTHERS = "#d1495b", "#8d99ae"
# Okabe and Ito's colours, which people who do not see red or green tell apart, each with a mark of its own.
_LINES = {
    "ours": ("#000000", "o"),
    "lava": ("#999999", "v"),
    "spikingjelly": ("#e69f00", "s"),
    "snntorch": ("#56b4e9", "^"),
    "norse": ("#009e73", "D"),
    "eventprop": ("#f0e442", "P"),
    "sinabs": ("#0072b2", "X"),
    "spyx": ("#d55e00", "<"),
    "brainevent": ("#cc79a7", ">"),
}


def panels(found: dict) -> list[tuple[str, str, list[tuple[str, float, bool]]]]:
    """Return the panels of the bars: a title, a unit, and (label, value, ours) for each bar, the shortest first."""
    works = found["works"]
    there: list[tuple[str, str, list[tuple[dict, float]]]] = []
    for name, work in TRAINING.items():
        if name in works and work.activity is None:
            rows = [(row, 1e3 * row["step"]) for row in timed(works[name])]
            there.append((f"{work.title}: a training step", "ms", rows))
    for name in MEMORY:
        rows = [(row, row["bytes"] / 1e6) for row in works.get(name, {}).get("rows", ()) if "bytes" in row]
        if rows:
            there.append((f"{TRAINING[name].title}: peak memory above imports", "MB", rows))
    return [
        (title, unit, sorted(((_label(r), v, r["peer"] == "ours") for r, v in rows), key=lambda bar: bar[1]))
        for title, unit, rows in there
    ]


def _label(row: dict) -> str:
    return f"{NAMES[row['peer']]}\n{row['form']}"


def bars(path: Path, found: dict) -> Path | None:
    """Draw times and memory of the works on recordings; return where, or None where there is nothing to draw."""
    there = panels(found)
    if not there:
        return None
    from matplotlib.figure import Figure

    columns = min(2, len(there))
    lengths = [max(len(p[2]) for p in there[i : i + columns]) for i in range(0, len(there), columns)]
    figure = Figure((7.5 * columns, 0.48 * sum(lengths) + 1.1 * len(lengths)), layout="constrained")
    grid = figure.add_gridspec(len(lengths), columns, height_ratios=[n + 1 for n in lengths])
    for i, (title, unit, drawn) in enumerate(there):
        axes = figure.add_subplot(grid[i // columns, i % columns])
        values = [value for _, value, _ in drawn]
        colours = [_OURS if ours else _OTHERS for _, _, ours in drawn]
        shown = axes.barh([label for label, _, _ in drawn], values, color=colours, height=0.7)
        axes.bar_label(shown, [f"{value:,.{0 if value >= 100 else 1}f}" for value in values], padding=3, fontsize=9)
        axes.set_xscale("log")
        axes.set_xlim(10 ** floor(log10(min(values) / 1.2)), max(values) * 2)
        axes.xaxis.set_major_formatter("{x:,.0f}")
        axes.xaxis.set_minor_formatter("")
        axes.invert_yaxis()
        axes.set_xlabel(unit)
        axes.set_title(title, fontsize=11, loc="left")
        axes.tick_params(axis="y", labelsize=8)
        axes.spines[["top", "right"]].set_visible(False)
    return _saved(figure, path)


def lines(found: dict, sweep: str) -> dict[str, list[tuple[float, float]]]:
    """Return for each library the points (activity in %, milliseconds) of a sweep, of its fastest form at each."""
    points: dict[str, dict[float, float]] = {}
    for name in SWEEPS[sweep][1]:
        if name in found["works"]:
            percent = 100 * (TRAINING[name].activity or 0)
            for row in timed(found["works"][name]):
                of = points.setdefault(row["peer"], {})
                of[percent] = min(of.get(percent, float("inf")), 1e3 * row["step"])
    return {peer: sorted(of.items()) for peer, of in points.items()}


def activity(path: Path, found: dict) -> Path | None:
    """Draw the times of steps over activities; return where, or None where there is nothing to draw."""
    there = {sweep: drawn for sweep in SWEEPS if (drawn := lines(found, sweep))}
    if not there:
        return None
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure((6.5 * len(there), 5), layout="constrained")
    for axes, (sweep, drawn) in zip(figure.subplots(1, len(there), squeeze=False)[0], there.items(), strict=True):
        for peer, points in drawn.items():
            colour, mark = _LINES[peer]
            width = 3 if peer == "ours" else 1.5
            axes.loglog(*zip(*points, strict=True), color=colour, marker=mark, linewidth=width, label=NAMES[peer])
        percents = sorted({percent for points in drawn.values() for percent, _ in points})
        axes.set_xticks(percents, [f"{percent:g}" for percent in percents], minor=False)
        axes.set_xticks([], minor=True)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_minor_formatter("")
        axes.set_xlabel("activity, % of steps in which each input and neuron fires")
        axes.set_ylabel("ms a training step")
        axes.set_title(SWEEPS[sweep][0], fontsize=11, loc="left")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(fontsize=8)
    return _saved(figure, path)


def _saved(figure: Any, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
