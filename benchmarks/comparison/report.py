"""What was found as text and as a chart."""

from __future__ import annotations

from math import floor, log10
from pathlib import Path

from page import table

from comparison.works import NAMES, TRAINING, WORKS, aims

_OURS, _OTHERS = "#d1495b", "#8d99ae"


def training(name: str, found: dict) -> list[str]:
    """Return the table of a work's times, and what was not run."""
    heads = ["library", "form", "ms a step", "forward", "backward", "optimizer", "of cuslayer's", "firing, % of steps"]
    rows = []
    for row in found["rows"]:
        if "step" in row:
            times = f"{row['times']:.1f}x" if "times" in row else ""
            parts = [f"{1e3 * row[part]:.1f}" for part in ("step", "forward", "backward", "optimizer")]
            rates = " ".join(f"{100 * rate:.1f}" for rate in row["rates"])
            rows.append([NAMES[row["peer"]], row["form"], *parts, times, rates])
    check = found["gradients"]
    return [
        f"**{TRAINING[name].title}**, a training step. Gradients equal those of the plain matrix path to"
        f" {check['error']:.0e} ({check['dtype']}).",
        "",
        *table(heads, rows, 2),
        *_not_run(found["rows"]),
    ]


def memory(found: dict) -> list[str]:
    """Return the tables of the peaks of memory."""
    lines = []
    for name, peaks in found["works"].items():
        ours = next((r["bytes"] for r in peaks if r["peer"] == "ours" and "bytes" in r), None)
        rows = [
            [NAMES[r["peer"]], r["form"], f"{r['bytes'] / 1e6:.0f}", f"{r['bytes'] / ours:.1f}x" if ours else ""]
            for r in peaks
            if "bytes" in r
        ]
        lines += [f"**{TRAINING[name].title}**, peak memory above the imports.", ""]
        lines += [*table(["library", "form", "MB", "of cuslayer's"], rows, 2), *_not_run(peaks), ""]
    return lines[:-1]


def _not_run(rows: list[dict]) -> list[str]:
    gone = [f"- {NAMES[r['peer']]} ({r['form']}): not run: {r['problem']}" for r in rows if "problem" in r]
    return ["", *gone] if gone else []


def text(found: dict) -> list[str]:
    """Return all that was found, in Markdown."""
    works = found["works"]
    rows = [[row["what"], row["aim"], row["found"], "yes" if row["met"] else "no"] for row in aims(works)]
    lines = [*table(["work", "aim", "found", "met"], rows, 4), ""] if rows else []
    for name in WORKS:
        if name in works and name in TRAINING:
            lines += [*training(name, works[name]), ""]
        elif name in works and name == "memory":
            lines += [*memory(works[name]), ""]
    runs: dict[str, list[str]] = {}
    for name in WORKS:
        if name in works:
            runs.setdefault(run(**works[name]["run"]), []).append(name)
    lines += [f"- {', '.join(names)}: {said}" for said, names in runs.items()]
    versions = {name: v for work in works.values() for name, v in work["run"]["versions"].items()}
    return [*lines, "", "Versions: " + ", ".join(f"{name} {v}" for name, v in sorted(versions.items())) + "."]


def run(*, date: str, command: str, recordings: str, steps: int, threads: int, machine: dict, **_: object) -> str:
    """Return when, where and by what command works were measured."""
    where = f"{machine['processor']}, {machine['cores']} cores, {machine['system']}"
    return f"{date}, {where}; {recordings}, T = {steps}, {threads} threads; `{command}`"


def bars(found: dict) -> list[tuple[str, str, list[tuple[str, float, bool]]]]:
    """Return the panels of the chart: a title, a unit, and (label, value, ours) for each bar, the shortest first."""
    works, panels = found["works"], []
    for name in TRAINING:
        if name in works:
            rows = [(r, 1e3 * r["step"]) for r in works[name]["rows"] if "step" in r]
            panels.append((f"{TRAINING[name].title}: a training step", "ms", rows))
    for name, peaks in works.get("memory", {}).get("works", {}).items():
        rows = [(r, r["bytes"] / 1e6) for r in peaks if "bytes" in r]
        panels.append((f"{TRAINING[name].title}: peak memory above imports", "MB", rows))
    return [
        (title, unit, sorted(((_label(r), v, r["peer"] == "ours") for r, v in rows), key=lambda bar: bar[1]))
        for title, unit, rows in panels
    ]


def _label(row: dict) -> str:
    return f"{NAMES[row['peer']]}\n{row['form']}"


def draw(path: Path, found: dict) -> Path | None:
    """Draw the chart, and return where, or None where there is nothing to draw."""
    panels = bars(found)
    if not panels:
        return None
    from matplotlib.figure import Figure

    columns = min(2, len(panels))
    lengths = [max(len(p[2]) for p in panels[i : i + columns]) for i in range(0, len(panels), columns)]
    figure = Figure((7.5 * columns, 0.48 * sum(lengths) + 1.1 * len(lengths)), layout="constrained")
    grid = figure.add_gridspec(len(lengths), columns, height_ratios=[n + 1 for n in lengths])
    for i, (title, unit, drawn) in enumerate(panels):
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
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    return path
