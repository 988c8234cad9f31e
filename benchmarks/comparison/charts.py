"""What was found as pictures: all works by library, a network on a card, and times against activity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from comparison.report import HEADS, TITLES, fastest, timed
from comparison.works import NAMES, PEERS, SWEEPS, TRAINING
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

# Okabe and Ito's colours, which people who do not see red or green tell apart, each with a mark of its own.
_MARKS = {
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
# Published seconds of 20 epochs on one NVIDIA T4, in the README of jaxpike 0.1.4: SHD in 128 channels, 128-128-128-20,
# 256 steps, batch 256. 8,156 recordings are 31 batches.
CARD_SECONDS = {
    "SpikingJelly, CuPy": 6.02,
    "jaxpike": 8.12,
    "Norse": 252.21,
    "SpikingJelly, torch": 260.62,
    "snnTorch": 347.18,
}
CARD_STEPS = 20 * 31


def overview(path: Path, found: dict) -> None:
    """Draw each library's step as a multiple of cuslayer's, and the same network on two cores and on a card."""
    figure = Figure((11, 6.4), layout="constrained")
    libraries, card = figure.subplots(1, 2, width_ratios=(3, 2))
    _multiples(libraries, found["works"])
    _card(card, found["works"])
    libraries.legend(loc="upper center", bbox_to_anchor=(0.35, -0.1), ncols=3, frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})


def _multiples(axes: Any, works: dict) -> None:
    names = [name for name in TITLES if name in works and len(timed(works[name])) > 1]
    rows = range(len(names))
    for peer in PEERS:
        multiples = [(fastest(works[name], peer) or {}).get("times") for name in names]
        places = [(times, row) for times, row in zip(multiples, rows, strict=True) if times]
        if places:
            color, mark = _MARKS[peer]
            axes.plot(*zip(*places, strict=True), mark, color=color, label=NAMES[peer], markeredgecolor="#555555")
    axes.axvline(1, color="black", linewidth=3)
    axes.text(1.05, -0.75, "cuslayer", fontweight="bold")
    labels = [f"{TITLES[name]}: {1e3 * fastest(works[name], 'ours')['step']:,.0f} ms" for name in names]
    axes.set_yticks(rows, labels)
    axes.set_ylim(len(names) - 0.5, -1)
    axes.set_xscale("log")
    axes.set_xlim(0.9, 50)
    axes.set_xticks([1, 2, 5, 10, 20, 50], ["1", "2", "5", "10", "20", "50"])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xlabel("times as long as cuslayer's step, two cores of a CPU")
    axes.set_title("a training step, by library (cuslayer's in ms)", loc="left", fontsize=11)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)


def _card(axes: Any, works: dict) -> None:
    bars = []
    for name, activity in (("dense256", "2 %"), ("dense256-busy", "15 %")):
        for peer in ("ours", *PEERS):
            row = fastest(works[name], peer) if name in works else None
            if row:
                color = "#000000" if peer == "ours" else "#999999"
                bars.append((f"{NAMES[peer]}, {activity}", 1e3 * row["step"], color))
    bars += [(f"T4: {name}", 1e3 * seconds / CARD_STEPS, "#009e73") for name, seconds in CARD_SECONDS.items()]
    for row, (_, ms, color) in enumerate(bars):
        axes.barh(row, ms, color=color)
        axes.text(1.08 * ms, row, f"{ms:,.0f}", va="center", fontsize=9)
    axes.set_yticks(range(len(bars)), [label for label, *_ in bars])
    axes.set_ylim(len(bars) - 0.4, -0.6)
    axes.set_xscale("log")
    axes.set_xlim(5, 3000)
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.set_xlabel("ms a training step")
    axes.set_title("128-128-128-20, batch 256: two cores; a T4", loc="right", fontsize=11)
    axes.spines[["top", "right"]].set_visible(False)


def activities(path: Path, found: dict) -> None:
    """Draw the times of steps over activities, of the fastest form of each library."""
    sweeps = [names for _, names in SWEEPS.values() if set(names) & set(found["works"])]
    figure = Figure((4.8 * max(1, len(sweeps)), 4.4), layout="constrained")
    drawn: dict[str, Any] = {}
    for number, names in enumerate(sweeps, 1):
        axes = figure.add_subplot(1, len(sweeps), number)
        there = {100 * (TRAINING[name].activity or 0): found["works"][name] for name in names if name in found["works"]}
        for peer, (colour, mark) in _MARKS.items():
            steps = [(percent, fastest(work, peer)) for percent, work in there.items()]
            points = [(percent, 1e3 * row["step"]) for percent, row in steps if row]
            if points:
                width = 3 if peer == "ours" else 1.5
                style = {"color": colour, "marker": mark, "linewidth": width, "label": NAMES[peer]}
                (line,) = axes.loglog(*zip(*points, strict=True), **style)
                drawn.setdefault(NAMES[peer], line)
        axes.set_xticks(list(there), [f"{percent:g}" for percent in there], minor=False)
        axes.set_xticks([], minor=True)
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:,.0f}")
        axes.yaxis.set_minor_formatter("")
        axes.set_xlabel("activity: % of steps in which each neuron fires")
        axes.set_ylabel("ms a training step")
        axes.set_title(HEADS[names[0].rpartition("-")[0]], fontsize=11, loc="left")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(list(drawn.values()), list(drawn), loc="outside upper center", ncols=5, frameon=False)
    figure.savefig(path, dpi=110, metadata={"Software": None})
